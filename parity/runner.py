"""Running every property of a pair over generated cases.

A property is a claim over recipes: a Hypothesis strategy draws them, a function of
``parity.checks`` asks both sides, and the outcomes of all cases are pooled per check. Cases that
must always be there (trained weights, sixty steps, clips that bind) come before any drawn ones.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from hypothesis.strategies import SearchStrategy

from parity import specs, strategies
from parity.cases import Case, SamplerCall
from parity.checks import distributions, network, preprocessing, sampler, state, training
from parity.drawing import drawn
from parity.errors import BadCall
from parity.outcome import CheckResult, Outcome, pool
from parity.profiles import Profile
from parity.recipes import Recipe, TrainingRecipe, WeightsRecipe, make_case
from parity.session import Session, Settings

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

Tell = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Property:
    """A claim, the checks it feeds, and how its cases come about.

    Attributes:
        claim: in words, for the progress display.
        checks: names of the checks that its outcomes belong to.
        needs: entries that both sides must declare.
        run: yields the outcomes of one case after another.
        expected: about how many cases there will be.
    """

    claim: str
    checks: tuple[str, ...]
    needs: tuple[str, ...]
    run: Callable[[], Iterator[list[Outcome]]]
    expected: int


def run_checks(
    session: Session,
    profile: Profile,
    seed: int = 0,
    *,
    only: Sequence[str] = (),
    case: Case | None = None,
    tell: Tell | None = None,
) -> list[CheckResult]:
    """Run every property, or those that feed the checks named in ``only``.

    Args:
        case: check this saved case alone.
        tell: told (claim, cases done, cases expected) as the work goes on.

    Raises:
        BadCall: ``only`` names no check of ours.
        ReferenceFailed: never read as the port's fault.
    """
    if unknown := [name for name in only if name not in CHECKS]:
        raise BadCall(f"unknown checks {', '.join(unknown)}; known: {', '.join(CHECKS)}")
    wanted = tuple(only) or CHECKS
    outcomes: dict[str, list[Outcome]] = {name: [] for name in wanted}
    seconds = dict.fromkeys(wanted, 0.0)
    unchecked: dict[str, str] = {}
    properties = _saved(session, case) if case is not None else _properties(session, profile, seed)
    for claim in properties:
        mine = [name for name in claim.checks if name in wanted]
        if not mine:
            continue
        lacking = next((text for n in claim.needs if (text := session.lacking(n))), None)
        if lacking is not None:
            unchecked |= dict.fromkeys(mine, lacking)
            continue
        start = time.perf_counter()
        for done, found in enumerate(claim.run(), start=1):
            for outcome in found:
                if outcome.check in outcomes:
                    outcomes[outcome.check].append(outcome)
            if tell is not None:
                tell(claim.claim, done, claim.expected)
        for name in mine:
            seconds[name] += (time.perf_counter() - start) / len(mine)
    if case is None and "samples_teacher_forced" in wanted:
        unchecked |= _clips_that_never_bound(outcomes["samples_teacher_forced"])
    tested = [name for name in wanted if case is None or outcomes[name]]
    return [
        pool(name, outcomes[name], seconds[name], unchecked=unchecked.get(name)) for name in tested
    ]


def _properties(session: Session, profile: Profile, seed: int) -> list[Property]:
    pool_of = strategies.architectures(session, profile.architectures, seed)

    def networks() -> Iterator[list[Outcome]]:
        among = strategies.networks(session, pool_of)
        for recipe in drawn_recipes(among, profile.networks, seed, _trained(session)):
            yield network.check_network(session, make_case(session, recipe))

    def batches() -> Iterator[list[Outcome]]:
        among = strategies.networks(session, pool_of).filter(lambda recipe: recipe.batch > 1)
        for recipe in drawn_recipes(among, profile.batches, seed + 1):
            yield network.check_batch_independence(session, make_case(session, recipe))

    def trajectories() -> Iterator[list[Outcome]]:
        calls = strategies.sampler_calls(session, max_steps=profile.max_steps)
        among = strategies.networks(session, pool_of, max_batch=4, sampler=calls)
        fixed = _published_trajectories(session, profile.published_steps)
        for number, recipe in enumerate(
            drawn_recipes(among, profile.trajectories, seed + 2, fixed)
        ):
            case = make_case(session, recipe)
            yield sampler.check_sampler(session, case, twice=number == 0)

    def noises() -> Iterator[list[Outcome]]:
        for number in range(profile.noises):
            noise = 0.005 * 2.0 ** (number % 5)
            recipe = Recipe(
                weights=WeightsRecipe(seed=seed),
                batch=4,
                key=seed + number,
                sampler=SamplerCall(steps=4, step_size=0.0, noise=noise),
            )
            case = make_case(session, recipe)
            zeros = dataclasses.replace(case, images=case.images * 0)
            yield distributions.check_noise(session, zeros)

    def states() -> Iterator[list[Outcome]]:
        calls = strategies.sampler_calls(session, max_steps=6)
        among = strategies.networks(session, pool_of, max_batch=4, sampler=calls)
        for recipe in drawn_recipes(among.filter(lambda r: r.batch > 1), profile.states, seed + 3):
            yield state.check_state_restored(session, make_case(session, recipe))

    def trainings() -> Iterator[list[Outcome]]:
        among = strategies.trainings(session)
        fixed = _fixed_trainings(session)
        # Without a strategy of the pair's, every case is the program's own run, which may be long.
        n_drawn = profile.trainings if session.pair.trainings is not None else int(not fixed)
        for recipe in drawn_recipes(among, n_drawn, seed + 4, fixed):
            yield training.check_training(session, make_case(session, recipe))

    def preprocessings() -> Iterator[list[Outcome]]:
        yield preprocessing.check_preprocessing(session, preprocessing.all_grey_levels())

    def initialisations() -> Iterator[list[Outcome]]:
        architectures: list[Settings] = [None, *pool_of][: profile.initialisations]
        for settings in architectures:
            seeds = [seed + n for n in range(1 if settings is None else 4)]
            yield distributions.check_initialisation(session, settings, seeds)

    both = ("model", "generate_samples")
    return [
        Property(
            "energies, gradients and activations",
            network.NETWORK_CHECKS,
            ("model",),
            networks,
            profile.networks,
        ),
        Property(
            "independence of the batch",
            ("batch_independence",),
            ("model",),
            batches,
            profile.batches,
        ),
        Property(
            "Langevin trajectories",
            sampler.SAMPLER_CHECKS,
            both,
            trajectories,
            profile.trajectories + len(_published_trajectories(session, profile.published_steps)),
        ),
        Property("the sampler's own noise", ("noise_distribution",), both, noises, profile.noises),
        Property(
            "what the sampler leaves behind", ("state_restored",), both, states, profile.states
        ),
        Property(
            "training steps",
            (*training.TRAINING_CHECKS, "draw_log"),
            ("model", "train_step", "make_optimizer"),
            trainings,
            profile.trainings + 2,
        ),
        Property("preprocessing", ("preprocessing",), ("preprocess",), preprocessings, 1),
        Property(
            "fresh weights",
            ("initialisation",),
            ("model",),
            initialisations,
            min(profile.initialisations, len(pool_of) + 1),
        ),
    ]


def _saved(session: Session, case: Case) -> list[Property]:
    """The properties of one saved case."""

    def networks() -> Iterator[list[Outcome]]:
        yield network.check_network(session, case)
        yield network.check_batch_independence(session, case)

    def trajectories() -> Iterator[list[Outcome]]:
        yield sampler.check_sampler(session, case)
        if len(case.images) > 1:
            yield state.check_state_restored(session, case)

    def trainings() -> Iterator[list[Outcome]]:
        yield training.check_training(session, case)

    if case.training is not None:
        return [
            Property(
                "the saved case: training",
                (*training.TRAINING_CHECKS, "draw_log"),
                ("model", "train_step", "make_optimizer"),
                trainings,
                1,
            )
        ]
    found = [
        Property(
            "the saved case: network",
            (*network.NETWORK_CHECKS, "batch_independence"),
            ("model",),
            networks,
            2,
        )
    ]
    if case.sampler is not None:
        found.append(
            Property(
                "the saved case: sampler",
                (*sampler.SAMPLER_CHECKS, "state_restored"),
                ("model", "generate_samples"),
                trajectories,
                2,
            )
        )
    return found


def drawn_recipes(
    strategy: SearchStrategy[Recipe], n: int, seed: int, fixed: Iterable[Recipe] = ()
) -> Iterator[Recipe]:
    """The fixed recipes, then ``n`` drawn by Hypothesis from ``seed``."""
    yield from fixed
    yield from drawn(strategy, n, seed)


def _trained(session: Session) -> list[Recipe]:
    """Every set of trained weights, on real images, noise and mixtures of the two."""
    kinds = ("uniform", "real", "mixture") if session.pair.images is not None else ("uniform",)
    return [
        Recipe(weights=WeightsRecipe(trained=name), images=kind, batch=8, key=number)
        for name in session.pair.weights
        for number, kind in enumerate(kinds)
    ]


def _published_trajectories(session: Session, steps: int) -> list[Recipe]:
    """Published steps on weights where they are not chaotic, and cases where clips bind."""
    trained = next(iter(session.pair.weights), None)
    calm = WeightsRecipe(trained=trained) if trained else WeightsRecipe(scale=1.0, seed=1)
    published = SamplerCall(steps=steps, step_size=10.0, noise=0.005)
    lively = SamplerCall(steps=6, step_size=10.0, noise=0.05)
    start = "mixture" if session.pair.images is not None else "uniform"
    return [
        Recipe(weights=calm, images=start, batch=3, key=60, sampler=published),
        Recipe(
            weights=WeightsRecipe(scale=3.0, seed=2),
            images="outside",
            batch=3,
            key=6,
            sampler=lively,
        ),
    ]


def _clips_that_never_bound(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """A clip that never changed an element was not tested, so its check is not green."""
    shares = [o.notes["clips_bound"] for o in outcomes if "clips_bound" in o.notes]
    if not shares:
        return {}
    never = [text for clip, text in CLIPS.items() if all(share[clip] == 0 for share in shares)]
    if not never:
        return {}
    return {"samples_teacher_forced": f"{' and '.join(never)} never bound in any case"}


def _fixed_trainings(session: Session) -> list[Recipe]:
    """What the pair declares; from trained weights on real images where those fit."""
    if session.pair.fixed_trainings is None:
        return []
    published = session.facts(None)
    recipes = []
    for number, (settings, n_real, steps) in enumerate(specs.entry(session.pair.fixed_trainings)()):
        facts = session.facts(settings)
        fits = (facts.shapes, facts.image_shape) == (published.shapes, published.image_shape)
        trained = next(iter(session.pair.weights), None) if fits else None
        recipes.append(
            Recipe(
                weights=WeightsRecipe(trained=trained),
                images="real" if fits and session.pair.images is not None else "uniform",
                batch=n_real,
                settings=settings,
                key=number,
                training=TrainingRecipe(steps=steps),
            )
        )
    return recipes
