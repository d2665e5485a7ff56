"""Which cases a run has: drawn from a profile and a seed, or as a golden lists them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from parity import specs, strategies
from parity.cases import SamplerCall
from parity.drawing import drawn
from parity.profiles import Profile
from parity.recipes import IMAGE_KINDS, Recipe, TrainingRecipe, WeightsRecipe
from parity.refusals import REFUSING
from parity.session import Session, Settings


@dataclasses.dataclass(frozen=True)
class Plan:
    """The recipes of every property. Cases that must always be there come before any drawn ones.

    Attributes:
        initialisations: architectures whose fresh weights are compared, and the seeds of each.
        localising: on which the network's faults are looked for, when it is red.
        relations: on which the port alone is asked, for what must hold without any reference.
        refusals: the entries whose bad calls are compared (``parity.refusals``).
    """

    networks: tuple[Recipe, ...] = ()
    batches: tuple[Recipe, ...] = ()
    trajectories: tuple[Recipe, ...] = ()
    noises: tuple[Recipe, ...] = ()
    states: tuple[Recipe, ...] = ()
    trainings: tuple[Recipe, ...] = ()
    initialisations: tuple[tuple[Settings, tuple[int, ...]], ...] = ()
    localising: tuple[Recipe, ...] = ()
    relations: tuple[Recipe, ...] = ()
    refusals: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many cases there are."""
        return sum(len(getattr(self, field.name)) for field in dataclasses.fields(self))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Plan:
        """The inverse of :meth:`to_dict`."""
        if absent := [f.name for f in dataclasses.fields(cls) if f.name not in plain]:
            raise ValueError(f"it has no {', '.join(absent)}; record it again")
        recipes = {name: tuple(_recipe(recipe) for recipe in plain[name]) for name in RECIPES}
        initialisations = tuple((s, tuple(seeds)) for s, seeds in plain["initialisations"])
        refusals = tuple(plain["refusals"])
        if unknown := [entry for entry in refusals if entry not in REFUSING]:
            raise ValueError(f"refusals of {unknown[0]!r}, expected some of {', '.join(REFUSING)}")
        return cls(**recipes, initialisations=initialisations, refusals=refusals)


RECIPES = tuple(
    field.name
    for field in dataclasses.fields(Plan)
    if field.name not in ("initialisations", "refusals")
)
"""The parts of a plan that are recipes of cases."""


MOST = 1 << 16
"""What a number of images or steps in a file may be at most: more is a mistake, or harm."""


def _recipe(plain: Mapping[str, Any]) -> Recipe:
    """A recipe from a file that anybody may have written.

    Raises:
        BadCall, KeyError, TypeError, ValueError: it is none.
    """
    sampler, training = plain["sampler"], plain["training"]
    recipe = Recipe(
        **{
            **plain,
            "weights": WeightsRecipe(**plain["weights"]),
            "sampler": None if sampler is None else SamplerCall(**sampler),
            "training": None if training is None else TrainingRecipe(**training),
        }
    )
    counts = {"batch": recipe.batch, "key": recipe.key, "seed": recipe.weights.seed}
    if recipe.training is not None:
        counts |= {"steps": recipe.training.steps, "buffer": recipe.training.buffer or 0}
    if recipe.sampler is not None:
        counts["steps"] = max(counts.get("steps", 0), recipe.sampler.steps)
    for name, count in counts.items():
        most = MOST if name in ("batch", "steps", "buffer") else 2**63
        if type(count) is not int or not 0 <= count <= most:
            raise ValueError(f"{name} is {count!r}, expected a whole number from 0 to {most}")
    if recipe.images not in IMAGE_KINDS:
        raise ValueError(f"images are {recipe.images!r}, expected one of {IMAGE_KINDS}")
    if not 0 < recipe.weights.scale < 1e6:
        raise ValueError(f"the weights' scale is {recipe.weights.scale!r}")
    return recipe


def possible(session: Session, plan: Plan) -> Plan:
    """The plan without what a port cannot be asked that others can.

    A port may build one architecture only, take no settings for training, or leave the gradient
    clip to its own default.
    """
    published = session.facts(None)

    def fits(recipe: Recipe) -> bool:
        clip = None if recipe.sampler is None else recipe.sampler.gradient_clip
        if clip is not None and not session.both_support("gradient_clip"):
            return False
        if recipe.settings is None or session.draws_architectures:
            return recipe.settings is None or recipe.training is None or session.trains_by_settings
        facts = session.facts(recipe.settings)
        same = (facts.shapes, facts.image_shape) == (published.shapes, published.image_shape)
        return same and recipe.training is not None and session.trains_by_settings

    recipes = {
        name: tuple(recipe for recipe in getattr(plan, name) if fits(recipe)) for name in RECIPES
    }
    initialisations = tuple(
        (settings, seeds)
        for settings, seeds in plan.initialisations
        if settings is None or session.draws_architectures
    )
    refusals = tuple(entry for entry in plan.refusals if _may_refuse(session, entry))
    return Plan(**recipes, initialisations=initialisations, refusals=refusals)


def _may_refuse(session: Session, entry: str) -> bool:
    """Whether bad calls of ``entry`` are compared: it is claimed, and both take it alike."""
    settings = session.pair.fixed_trainings is None or session.trains_by_settings
    trains = entry not in ("train_step", "validate") or (settings and session.has("make_optimizer"))
    return session.has(entry) and session.claims("refusals", entry) and trains


def draw(session: Session, profile: Profile, seed: int) -> Plan:
    """The cases of ``profile``, as ``seed`` has them."""
    pool = strategies.architectures(session, profile.architectures, seed)
    networks = strategies.networks(session, pool)
    batches = networks.filter(lambda recipe: recipe.batch > 1)
    calls = strategies.sampler_calls(session, max_steps=profile.max_steps)
    trajectories = strategies.networks(session, pool, max_batch=4, sampler=calls)
    fixed = possible(session, Plan(trainings=tuple(_fixed_trainings(session)))).trainings
    # Without a strategy of the pair's, every case is the program's own run, which may be long.
    n_trainings = profile.trainings if session.draws_trainings else int(not fixed)
    claimed = profile.initialisations if session.claims("initialisation") else 0
    architectures: list[Settings] = [None, *pool][:claimed]
    return Plan(
        networks=(*_trained(session), *drawn(networks, profile.networks, seed)),
        batches=tuple(drawn(batches, profile.batches, seed + 1)),
        trajectories=(
            *_published_trajectories(session, profile.published_steps),
            *drawn(trajectories, profile.trajectories, seed + 2),
        ),
        noises=tuple(_noise(session, seed, number) for number in range(profile.noises)),
        states=_states(session, pool, profile.states, seed),
        trainings=(*fixed, *drawn(strategies.trainings(session), n_trainings, seed + 4)),
        initialisations=tuple(
            (settings, tuple(seed + n for n in range(1 if settings is None else 4)))
            for settings in architectures
        ),
        localising=localising(session, seed),
        refusals=tuple(entry for entry in REFUSING if _may_refuse(session, entry)),
    )


def beside_golden(session: Session, recorded: Plan, profile: Profile, seed: int) -> Plan:
    """The recorded cases, and drawn ones of what must hold without any reference.

    On the architectures that the golden knows: that images of a batch are independent, and what
    the sampler leaves behind.
    """
    recorded = possible(session, recorded)
    known = {repr(recipe.settings): recipe.settings for recipe in recorded.networks}
    pool = list(known.values())
    relations = strategies.networks(session, pool).filter(lambda recipe: recipe.batch > 1)
    return dataclasses.replace(
        recorded,
        relations=tuple(drawn(relations, profile.batches, seed + 6)),
        states=(*recorded.states, *_states(session, pool, profile.states, seed)),
    )


def _states(session: Session, pool: Sequence[Settings], n: int, seed: int) -> tuple[Recipe, ...]:
    """Short calls of the sampler, for what it leaves behind."""
    short = strategies.sampler_calls(session, max_steps=6)
    states = strategies.networks(session, pool, max_batch=4, sampler=short)
    return tuple(drawn(states.filter(lambda recipe: recipe.batch > 1), n, seed + 3))


def localising(session: Session, seed: int) -> tuple[Recipe, ...]:
    """The published architecture, and drawn ones in which what that hides can be seen."""
    return tuple(
        Recipe(WeightsRecipe(scale=1.5, seed=seed + 5), batch=3, settings=settings)
        for settings in (None, *strategies.architectures(session, 4, seed))
    )


def _noise(session: Session, seed: int, number: int) -> Recipe:
    noise = session.pair.unit * 0.005 * 2.0 ** (number % 5)
    call = SamplerCall(steps=4, step_size=0.0, noise=noise)
    return Recipe(WeightsRecipe(seed=seed), batch=4, key=seed + number, sampler=call)


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
    unit = session.pair.unit
    published = SamplerCall(steps=steps, step_size=10.0 * unit, noise=0.005 * unit)
    lively = SamplerCall(steps=6, step_size=10.0 * unit, noise=0.05 * unit)
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


def _fixed_trainings(session: Session) -> list[Recipe]:
    """What the pair declares; from trained weights on real images where those fit."""
    if session.pair.fixed_trainings is None:
        return []
    published = session.facts(None)
    recipes = []
    with specs.declaration("fixed_trainings"):
        declared = [(s, n, steps) for s, n, steps in specs.entry(session.pair.fixed_trainings)()]
    for number, (settings, n_real, steps) in enumerate(declared):
        facts = session.facts(settings)
        fits = (facts.shapes, facts.image_shape) == (published.shapes, published.image_shape)
        if not (fits or session.draws_architectures):
            continue  # a port with one network of its own has no other to train
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
