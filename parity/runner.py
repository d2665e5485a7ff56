"""Running every property of a pair over the cases of a plan.

A property is a claim over recipes: the plan has them, a function of ``parity.checks`` asks both
sides, and the outcomes of all cases are pooled per check.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from parity import refusals
from parity.cases import Case
from parity.checks import distributions, network, preprocessing, sampler, state, training
from parity.checks.refusals import check_refusals
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

PARTS = {"replay_buffer": "replay_buffer", "validation": "validate"}
"""Checks of training that need an entry of their own besides."""

REFERENCE, RUN = "the reference failed", "the run was stopped"


@dataclasses.dataclass(frozen=True)
class Property:
    """A claim, the checks it feeds, and how its cases come about.

    Attributes:
        name: for files of recorded cases.
        claim: in words, for the progress display.
        checks: names of the checks that its outcomes belong to.
        needs: entries that both sides must declare. The last is what it is about: where neither
            side declares that, it is not asked for.
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

    Returns:
        One result for each check; none for a check of entries that neither side declares.

    Raises:
        BadCall: ``only`` names no check of ours, or one of what neither side declares or the pair
            does not claim.
        ReferenceFailed: never read as the port's fault.
    """
    refuse_unknown(only)
    claims = _saved(session, case) if case is not None else properties(session, plan)
    asked = {name for claim in claims for name in _declared(session, claim)}
    if case is None and (never := [name for name in only if name not in asked]):
        raise BadCall("; ".join(_why(session, name) for name in never))
    wanted = tuple(name for name in (only or CHECKS) if name in asked)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in wanted}
    seconds = dict.fromkeys(wanted, 0.0)
    unchecked: dict[str, str] = {}
    stopped: BaseException | None = None
    why = ""
    for claim in claims:
        mine = [name for name in _declared(session, claim) if name in wanted]
        if not mine:
            continue
        if stopped is not None:
            unchecked |= dict.fromkeys(mine, why)
            continue
        lacking = {name: text for name in mine if (text := _lacking(session, claim, name))}
        unchecked |= lacking
        mine = [name for name in mine if name not in lacking]
        if not mine:
            continue
        start = time.perf_counter()
        try:
            for done, found in enumerate(claim.run(), start=1):
                for outcome in found:
                    if outcome.check in outcomes and outcome.check not in lacking:
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


def _declared(session: Session, claim: Property) -> list[str]:
    """The claim's checks, but for those of what neither side declares."""
    if session.undeclared(claim.needs[-1]):
        return []
    return [n for n in claim.checks if n not in PARTS or not session.undeclared(PARTS[n])]


def _lacking(session: Session, claim: Property, check: str) -> str | None:
    """What a side lacks, in words, of all that one of the claim's checks needs."""
    needs = (*claim.needs, *((PARTS[check],) if check in PARTS else ()))
    return next((text for entry in needs if (text := session.lacking(entry))), None)


def _why(session: Session, check: str) -> str:
    """Why nothing feeds the check."""
    if check in session.not_claimed:
        return f"{check} is not asked for: the pair does not claim it (claims=({check!r},))"
    lacking = ", ".join(session.not_declared)
    return f"{check} has nothing to check: neither side declares {lacking}"


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
            found = sampler.check_sampler(session, case, twice=number == short, last=number == 0)
            yield [*found, sampler.check_last(session, case)] if number == short else found

    def noises() -> Iterator[list[Outcome]]:
        for recipe in plan.noises:
            case = make_case(session, recipe)
            middle = np.full_like(case.images, sum(session.pair.image_range) / 2)
            yield distributions.check_noise(session, dataclasses.replace(case, images=middle))

    def states() -> Iterator[list[Outcome]]:
        for recipe in plan.states:
            yield state.check_state_restored(session, make_case(session, recipe))

    def trainings() -> Iterator[list[Outcome]]:
        for number, recipe in enumerate(plan.trainings):
            case = make_case(session, recipe)
            yield training.check_training(session, case, twice=number == 0)

    def preprocessings() -> Iterator[list[Outcome]]:
        for images in preprocessing.stimuli(session):
            yield preprocessing.check_preprocessing(session, images)

    def initialisations() -> Iterator[list[Outcome]]:
        for settings, seeds in plan.initialisations:
            yield distributions.check_initialisation(session, settings, list(seeds))

    def left_behind() -> Iterator[list[Outcome]]:
        yield state.check_left_behind(session)

    both = ("model", "generate_samples")
    found = [
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
            ("model", "make_optimizer", "train_step"),
            trainings,
            len(plan.trainings),
        ),
        Property(
            "preprocessing", "preprocessing", ("preprocessing",), ("preprocess",), preprocessings, 5
        ),
    ]
    for entry in plan.refusals:
        found.append(
            Property(
                f"refusals_{entry}",
                f"bad calls of {entry}",
                (refusals.CHECKS[entry],),
                (entry,),
                functools.partial(_refusals, session, entry),
                1,
            )
        )
    if session.claims("initialisation"):
        found.append(
            Property(
                "initialisations",
                "fresh weights",
                ("initialisation",),
                ("model",),
                initialisations,
                len(plan.initialisations),
            )
        )
    found.append(
        Property(
            "process", "what calls leave behind", ("state_restored",), ("model",), left_behind, 1
        )
    )
    return found


def _refusals(session: Session, entry: str) -> Iterator[list[Outcome]]:
    yield check_refusals(session, entry)


def _saved(session: Session, case: Case) -> list[Property]:
    """The properties of one saved case."""

    def networks() -> Iterator[list[Outcome]]:
        yield network.check_network(session, case)
        yield network.check_batch_independence(session, case)

    def relations() -> Iterator[list[Outcome]]:
        yield network.check_relations(session, case)

    def trajectories() -> Iterator[list[Outcome]]:
        found = sampler.check_sampler(session, case, last=True)
        yield [*found, sampler.check_last(session, case)]

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
                ("model", "make_optimizer", "train_step"),
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
    """A limit of the reference's that never changed an element was not tested, so its check is not
    green. Which limits there are, the reference says; it may have none."""
    most: dict[str, dict[str, float]] = {}
    for outcome in outcomes:
        for clip, about in outcome.notes.get("clips", {}).items():
            limits = most.setdefault(clip, {})
            for limit, share in about["limits"].items():
                limits[limit] = max(limits.get(limit, 0.0), share)
    never = []
    for clip, limits in most.items():
        idle = [limit for limit, share in limits.items() if share == 0]
        if len(idle) == len(limits):
            never.append(f"the reference's clip at {clip}")
        elif idle:
            never.append(f"the {' and '.join(idle)} limit of the reference's clip at {clip}")
    if not never:
        return {}
    return {"samples_teacher_forced": f"{' and '.join(never)} never bound in any case"}
