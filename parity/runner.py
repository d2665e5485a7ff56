"""Running every property of a pair over the cases of a plan.

A property is a claim over recipes: the plan has them, a function of ``parity.checks`` asks both
sides, and the outcomes of all cases are pooled per check.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

from parity.cases import Case
from parity.checks import distributions, network, preprocessing, sampler, state, training
from parity.errors import BadCall, ReferenceFailed
from parity.outcome import CheckResult, Outcome, pool
from parity.plan import Plan
from parity.progress import Tell
from parity.recipes import make_case
from parity.session import Session

CHECKS = (
    "energies",
    "energy_gradients",
    "batch_independence",
    "activations",
    "samples_teacher_forced",
    "samples_free_running",
    "draw_log",
    "noise_distribution",
    "state_restored",
    "losses",
    "parameter_gradients",
    "training_state",
    "replay_buffer",
    "validation",
    "preprocessing",
    "initialisation",
)

CLIPS = {
    "noise_clip": "the clip after the noise",
    "gradient_clip": "the gradient clip",
    "update_clip": "the clip after the update",
}

REFERENCE, RUN = "the reference failed", "the run was stopped"


@dataclasses.dataclass(frozen=True)
class Property:
    """A claim, the checks it feeds, and how its cases come about.

    Attributes:
        name: for files of recorded cases.
        claim: in words, for the progress display.
        checks: names of the checks that its outcomes belong to.
        needs: entries that both sides must declare.
        run: yields the outcomes of one case after another.
        expected: about how many cases there will be.
    """

    name: str
    claim: str
    checks: tuple[str, ...]
    needs: tuple[str, ...]
    run: Callable[[], Iterator[list[Outcome]]]
    expected: int


def run_checks(
    session: Session,
    plan: Plan,
    *,
    only: Sequence[str] = (),
    case: Case | None = None,
    tell: Tell | None = None,
    finished: list[CheckResult] | None = None,
) -> list[CheckResult]:
    """Run every property, or those that feed the checks named in ``only``.

    Args:
        case: check this saved case alone, and none of the plan's.
        tell: told (claim, cases done, cases expected) as the work goes on.
        finished: gets the results, those of a run that did not come to its end, too.

    Raises:
        BadCall: ``only`` names no check of ours.
        ReferenceFailed: never read as the port's fault.
    """
    refuse_unknown(only)
    wanted = tuple(only) or CHECKS
    outcomes: dict[str, list[Outcome]] = {name: [] for name in wanted}
    seconds = dict.fromkeys(wanted, 0.0)
    unchecked: dict[str, str] = {}
    claims = _saved(session, case) if case is not None else properties(session, plan)
    stopped: BaseException | None = None
    why = ""
    for claim in claims:
        mine = [name for name in claim.checks if name in wanted]
        if not mine:
            continue
        if stopped is not None:
            unchecked |= dict.fromkeys(mine, why)
            continue
        lacking = next((text for n in claim.needs if (text := session.lacking(n))), None)
        if lacking is not None:
            unchecked |= dict.fromkeys(mine, lacking)
            continue
        start = time.perf_counter()
        try:
            for done, found in enumerate(claim.run(), start=1):
                for outcome in found:
                    if outcome.check in outcomes:
                        outcomes[outcome.check].append(outcome)
                if tell is not None:
                    tell(claim.claim, done, claim.expected)
        except BaseException as error:  # whatever it is, what is finished by then stays
            stopped = error
            failed = isinstance(error, ReferenceFailed)
            why = f"{REFERENCE if failed else RUN} before every case was compared"
            unchecked |= dict.fromkeys(mine, why)
        for name in mine:
            seconds[name] += (time.perf_counter() - start) / len(mine)
    if "state_restored" in wanted:
        outcomes["state_restored"] += state.check_left_behind(session)
    if case is None and "samples_teacher_forced" in wanted:
        unchecked |= _clips_that_never_bound(outcomes["samples_teacher_forced"])
    tested = [name for name in wanted if case is None or outcomes[name]]
    results = [
        pool(
            name,
            outcomes[name],
            seconds[name],
            unchecked=unchecked.get(name),
            whole=case is None and stopped is None,
        )
        for name in tested
    ]
    if finished is not None:
        finished[:] = results
    if stopped is not None:
        raise stopped
    return results


def refuse_unknown(checks: Sequence[str]) -> None:
    """Refuse names that are no check's.

    Raises:
        BadCall: lists them, and those there are.
    """
    if unknown := [name for name in checks if name not in CHECKS]:
        raise BadCall(f"unknown checks {', '.join(unknown)}; known: {', '.join(CHECKS)}")


def not_opened(only: Sequence[str], why: str, traceback: str) -> list[CheckResult]:
    """What there is to say of a port that cannot be opened: every check is ``invalid``."""
    return [
        pool(name, [Outcome(name, failure=why, traceback=traceback)], 0.0)
        for name in tuple(only) or CHECKS
    ]


def properties(session: Session, plan: Plan) -> list[Property]:
    """Every property of the pair, over the cases of ``plan``."""

    def networks() -> Iterator[list[Outcome]]:
        for number, recipe in enumerate(plan.networks):
            case = make_case(session, recipe)
            yield network.check_network(session, case, twice=number == 0)

    def batches() -> Iterator[list[Outcome]]:
        for recipe in plan.batches:
            yield network.check_batch_independence(session, make_case(session, recipe))

    def relations() -> Iterator[list[Outcome]]:
        for recipe in plan.relations:
            yield network.check_relations(session, make_case(session, recipe))

    def trajectories() -> Iterator[list[Outcome]]:
        short = min(1, len(plan.trajectories) - 1)  # the first has the published 60 steps
        for number, recipe in enumerate(plan.trajectories):
            case = make_case(session, recipe)
            yield sampler.check_sampler(session, case, twice=number == short)

    def noises() -> Iterator[list[Outcome]]:
        for recipe in plan.noises:
            case = make_case(session, recipe)
            zeros = dataclasses.replace(case, images=case.images * 0)
            yield distributions.check_noise(session, zeros)

    def states() -> Iterator[list[Outcome]]:
        for recipe in plan.states:
            yield state.check_state_restored(session, make_case(session, recipe))

    def trainings() -> Iterator[list[Outcome]]:
        for number, recipe in enumerate(plan.trainings):
            case = make_case(session, recipe)
            yield training.check_training(session, case, twice=number == 0)

    def preprocessings() -> Iterator[list[Outcome]]:
        yield preprocessing.check_preprocessing(session, preprocessing.all_grey_levels())

    def initialisations() -> Iterator[list[Outcome]]:
        for settings, seeds in plan.initialisations:
            yield distributions.check_initialisation(session, settings, list(seeds))

    both = ("model", "generate_samples")
    return [
        Property(
            "networks",
            "energies, gradients and activations",
            network.NETWORK_CHECKS,
            ("model",),
            networks,
            len(plan.networks),
        ),
        Property(
            "batches",
            "independence of the batch",
            ("batch_independence",),
            ("model",),
            batches,
            len(plan.batches),
        ),
        Property(
            "relations",
            "relations within the port",
            ("batch_independence",),
            ("model",),
            relations,
            len(plan.relations),
        ),
        Property(
            "trajectories",
            "Langevin trajectories",
            sampler.SAMPLER_CHECKS,
            both,
            trajectories,
            len(plan.trajectories),
        ),
        Property(
            "noises",
            "the sampler's own noise",
            ("noise_distribution",),
            both,
            noises,
            len(plan.noises),
        ),
        Property(
            "states",
            "what the sampler leaves behind",
            ("state_restored",),
            both,
            states,
            len(plan.states),
        ),
        Property(
            "trainings",
            "training steps",
            (*training.TRAINING_CHECKS, "draw_log"),
            ("model", "train_step", "make_optimizer"),
            trainings,
            len(plan.trainings),
        ),
        Property(
            "preprocessing", "preprocessing", ("preprocessing",), ("preprocess",), preprocessings, 1
        ),
        Property(
            "initialisations",
            "fresh weights",
            ("initialisation",),
            ("model",),
            initialisations,
            len(plan.initialisations),
        ),
    ]


def _saved(session: Session, case: Case) -> list[Property]:
    """The properties of one saved case."""

    def networks() -> Iterator[list[Outcome]]:
        yield network.check_network(session, case)
        yield network.check_batch_independence(session, case)

    def relations() -> Iterator[list[Outcome]]:
        yield network.check_relations(session, case)

    def trajectories() -> Iterator[list[Outcome]]:
        yield sampler.check_sampler(session, case)

    def states() -> Iterator[list[Outcome]]:
        if len(case.images) > 1:
            yield state.check_state_restored(session, case)

    def trainings() -> Iterator[list[Outcome]]:
        yield training.check_training(session, case)

    if case.training is not None:
        return [
            Property(
                "saved",
                "the saved case: training",
                (*training.TRAINING_CHECKS, "draw_log"),
                ("model", "train_step", "make_optimizer"),
                trainings,
                1,
            )
        ]
    if case.origin.get("relation"):
        return [
            Property(
                "saved",
                "the saved case: the port alone",
                ("batch_independence",),
                ("model",),
                relations,
                1,
            )
        ]
    found = [
        Property(
            "saved",
            "the saved case: network",
            (*network.NETWORK_CHECKS, "batch_independence"),
            ("model",),
            networks,
            2,
        )
    ]
    if case.sampler is not None:
        found += [
            Property(
                "saved",
                "the saved case: sampler",
                sampler.SAMPLER_CHECKS,
                ("model", "generate_samples"),
                trajectories,
                1,
            ),
            Property(
                "saved",
                "the saved case: what the sampler leaves behind",
                ("state_restored",),
                ("model", "generate_samples"),
                states,
                1,
            ),
        ]
    return found


def _clips_that_never_bound(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """A clip that never changed an element was not tested, so its check is not green."""
    shares = [o.notes["clips_bound"] for o in outcomes if "clips_bound" in o.notes]
    if not shares:
        return {}
    never = [text for clip, text in CLIPS.items() if all(share[clip] == 0 for share in shares)]
    if not never:
        return {}
    return {"samples_teacher_forced": f"{' and '.join(never)} never bound in any case"}
