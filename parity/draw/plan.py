"""Which cases a run has: drawn from a profile and a seed, or as a golden lists them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypothesis.strategies import SearchStrategy

from parity.ask.session import Session, Settings
from parity.declare import specs
from parity.declare.refusals import REFUSING
from parity.draw import strategies
from parity.draw.drawing import drawn
from parity.draw.exercised import Chosen, Found, Value, choose, found_in
from parity.draw.profiles import Profile
from parity.draw.recipes import IMAGE_KINDS, Recipe, TrainingRecipe, WeightsRecipe
from parity.values.cases import SamplerCall


@dataclasses.dataclass(frozen=True)
class Plan:
    """The recipes of every property. Cases that must always be there come before any drawn ones.

    Attributes:
        initialisations: architectures whose fresh weights are compared, and the seeds of each.
        localising: on which the network's faults are looked for, when it is red.
        relations: on which the port alone is asked, for what must hold without any reference.
        refusals: the entries whose bad calls are compared (``parity.declare.refusals``).
        enumerated: every value that is to be in one of the cases.
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
    enumerated: tuple[Value, ...] = ()

    def __len__(self) -> int:
        """How many cases there are."""
        return sum(len(getattr(self, name)) for name in (*RECIPES, "initialisations"))

    @property
    def not_exercised(self) -> list[Value]:
        """What is enumerated and in no case that is put to both sides."""
        found = _found(**{name: getattr(self, name) for name in ASKED})
        return [value for value in self.enumerated if not value.is_among(found)]

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
        enumerated = tuple(
            Value(**{**value, "beside": tuple(value["beside"])}) for value in plain["enumerated"]
        )
        return cls(
            **recipes,
            initialisations=initialisations,
            refusals=refusals,
            enumerated=enumerated,
        )


ASKED = ("networks", "batches", "trajectories", "trainings")
"""The fields whose cases are put to both sides, and drawn from all that a pair declares."""


def _found(**recipes: Iterable[Recipe]) -> dict[str, list[Found]]:
    return {name: [found_in(recipe.about()) for recipe in some] for name, some in recipes.items()}


RECIPES = (*ASKED, "noises", "states", "localising", "relations")
"""The fields of a plan that hold recipes."""


NOISES = 4096
"""Numbers that each step of a noise's case draws at least: as many as tell a distribution."""

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
    if type(recipe.view) is not bool:
        raise ValueError(f"view is {recipe.view!r}, expected true or false")
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
    return dataclasses.replace(plan, **recipes, initialisations=initialisations, refusals=refusals)


def _may_refuse(session: Session, entry: str) -> bool:
    """Whether bad calls of ``entry`` are compared: it is claimed, and both take it alike."""
    settings = session.pair.fixed_trainings is None or session.trains_by_settings
    trains = entry not in ("train_step", "validate") or (settings and session.has("make_optimizer"))
    return session.has(entry) and session.claims("refusals", entry) and trains


def draw(session: Session, profile: Profile, seed: int) -> Plan:
    """The cases of ``profile``, as ``seed`` has them.

    Together they have every value that the strategies enumerate, as far as ``profile`` lets there
    be as many cases: see :attr:`Plan.not_exercised`.
    """

    def chosen(
        strategy: SearchStrategy[Recipe],
        among: str,
        n: int,
        part: int,
        had: Mapping[str, Sequence[Recipe]],
        more: int = profile.more,
    ) -> Chosen[Recipe]:
        return choose(
            strategy,
            n,
            seed + part,
            plain=Recipe.about,
            among=among,
            more=more,
            had=_found(**had),
        )

    architectures = strategies.architectures(
        session, profile.architectures, seed, more=profile.more
    )
    pool = architectures.cases
    trained = _trained(session)
    networks = strategies.networks(session, pool)
    asked = chosen(networks, "networks", profile.networks, 0, {"networks": trained})
    batches = networks.filter(lambda recipe: recipe.batch > 1)
    had: dict[str, Sequence[Recipe]] = {"networks": (*trained, *asked.cases)}
    published = _published_trajectories(session, profile.published_steps)
    calls = strategies.sampler_calls(session, max_steps=profile.max_steps)
    walks = strategies.networks(session, pool, max_batch=4, sampler=calls)
    had["trajectories"] = published
    walked: Chosen[Recipe] = Chosen((), ())
    if session.has("generate_samples"):
        walked = chosen(walks, "trajectories", profile.trajectories, 2, had)
    fixed = possible(session, Plan(trainings=tuple(_fixed_trainings(session)))).trainings
    # Without a strategy of the pair's, every case is the program's own run, which may be long.
    n, more = int(not fixed), 0
    if session.draws_trainings:
        n, more = profile.trainings, profile.more
    had["trainings"] = fixed
    ran: Chosen[Recipe] = Chosen((), ())
    if session.has("train_step"):
        ran = chosen(strategies.trainings(session), "trainings", n, 4, had, more)
    claimed = profile.initialisations if session.claims("initialisation") else 0
    return Plan(
        networks=(*trained, *asked.cases),
        batches=tuple(drawn(batches, profile.batches, seed + 1)),
        trajectories=(*published, *walked.cases),
        noises=tuple(_noise(session, seed, number) for number in range(profile.noises)),
        states=_states(session, pool, profile.states, seed),
        trainings=_with_a_view(
            _with_a_long_one(session, (*fixed, *ran.cases), profile.training_steps)
        ),
        initialisations=tuple(
            (settings, tuple(seed + n for n in range(2 if settings is None else 4)))
            for settings in (None, *pool)[:claimed]
        ),
        localising=localising(session, seed),
        refusals=tuple(entry for entry in REFUSING if _may_refuse(session, entry)),
        enumerated=tuple(
            dict.fromkeys(
                value for part in (architectures, asked, walked, ran) for value in part.enumerated
            )
        ),
    )


def _with_a_long_one(session: Session, recipes: Sequence[Recipe], steps: int) -> tuple[Recipe, ...]:
    """The recipes of training, the cheapest made long if none is: one with a fresh optimizer, or
    with what then is one."""
    fresh = [n for n, recipe in enumerate(recipes) if not _training(recipe).iterations]
    if not recipes or any(_training(recipes[n]).steps >= steps for n in fresh):
        return tuple(recipes)

    def work(number: int) -> tuple[bool, int]:
        recipe = recipes[number]
        shapes = session.facts(recipe.settings).shapes
        alone = recipe.batch == 1  # what a batch does does not show in it
        return alone, recipe.batch * sum(math.prod(shape) for shape in shapes)

    number = min(fresh or range(len(recipes)), key=work)
    training = dataclasses.replace(_training(recipes[number]), steps=steps, iterations=0)
    longer = dataclasses.replace(recipes[number], training=training)
    return (*recipes[:number], longer, *recipes[number + 1 :])


def _with_a_view(recipes: tuple[Recipe, ...]) -> tuple[Recipe, ...]:
    """The recipes of training, the last with real images that are a view, if none of them are."""
    if not recipes or any(recipe.view for recipe in recipes):
        return recipes
    return (*recipes[:-1], dataclasses.replace(recipes[-1], view=True))


def _training(recipe: Recipe) -> TrainingRecipe:
    assert recipe.training is not None
    return recipe.training


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
        for settings in (None, *strategies.architectures(session, 4, seed).cases)
    )


def _noise(session: Session, seed: int, number: int) -> Recipe:
    noise = session.pair.unit * 0.005 * 2.0 ** (number % 5)
    call = SamplerCall(steps=4, step_size=0.0, noise=noise)
    pixels = math.prod(session.facts(None).image_shape)
    batch = max(4, math.ceil(NOISES / pixels))
    return Recipe(WeightsRecipe(seed=seed), batch=batch, key=seed + number, sampler=call)


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
            view=True,
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
