"""From a recipe, the few numbers that Hypothesis draws and shrinks, to a whole case.

Seeds stand for weights and pixels; what matters to a port's faults (architecture, batch size, the
kind of images and weights, the sampler's arguments) is drawn openly, so that a failing recipe
shrinks to one that a person can read.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from parity.ask.session import ModelFacts, Session, Settings
from parity.errors import BadCall
from parity.values.cases import Case, SamplerCall, TrainingCall
from parity.values.randomness import generator

GRADIENT_SIZE = 1e-2

IMAGE_KINDS = ("uniform", "real", "mixture", "saturated", "outside")


@dataclasses.dataclass(frozen=True)
class WeightsRecipe:
    """Trained weights by name, or random ones.

    ``scale`` multiplies Glorot's limit: 1 is a fresh network, 2 to 3 a lively one, the sort on
    which the gradient clip binds. Biases are never zero, for zero biases hide missing ones.
    """

    trained: str | None = None
    scale: float = 1.0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class TrainingRecipe:
    """Where training starts and how far it goes.

    ``iterations`` above 0 gives the optimizer random moments, as after so many steps; 0 leaves it
    fresh. ``buffer`` images are put into the replay buffer; None leaves those it makes itself.
    """

    steps: int = 1
    iterations: int = 0
    buffer: int | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to make a case; ``batch`` is the number of images, of each step if it trains.

    ``view`` hands the images to the port as a view that is not contiguous.
    """

    weights: WeightsRecipe
    images: str = "uniform"
    batch: int = 2
    key: int = 0
    settings: Settings = None
    sampler: SamplerCall | None = None
    training: TrainingRecipe | None = None
    view: bool = False

    def about(self) -> dict[str, Any]:
        """The recipe as plain values, for reports."""
        return dataclasses.asdict(self)


def make_case(session: Session, recipe: Recipe) -> Case:
    """The case that ``recipe`` describes, of the session's pair."""
    facts = session.facts(recipe.settings)
    training = None
    if recipe.training is not None:
        training = TrainingCall(recipe.training.steps, recipe.training.iterations)
    return Case(
        weights=make_weights(session, facts, recipe),
        images=make_images(session, facts, recipe),
        key=recipe.key,
        settings=recipe.settings,
        feature_maps=facts.feature_maps,
        sampler=recipe.sampler,
        training=training,
        view=recipe.view,
        state=make_state(session, facts, recipe),
        origin=recipe.about(),
    )


def make_weights(session: Session, facts: ModelFacts, recipe: Recipe) -> dict[str, np.ndarray]:
    """Float32 weights in the reference's order."""
    if recipe.weights.trained is not None:
        if facts.names != session.facts(None).names or facts.shapes != session.facts(None).shapes:
            raise BadCall(
                "trained weights belong to the published architecture, not to a drawn one"
            )
        return session.trained_weights(recipe.weights.trained)
    rng = generator(recipe.weights.seed, "weights")
    return {
        name: _random_weight(name, shape, recipe.weights.scale, rng)
        for name, shape in zip(facts.names, facts.shapes, strict=True)
    }


def _random_weight(
    name: str, shape: tuple[int, ...], scale: float, rng: np.random.Generator
) -> np.ndarray:
    kind = name.rpartition("/")[2]
    if len(shape) >= 2:
        receptive = int(np.prod(shape[:-2], dtype=np.int64))
        limit = scale * np.sqrt(6.0 / (receptive * (shape[-2] + shape[-1])))
        values = rng.uniform(-limit, limit, shape)
    elif "variance" in kind or kind in ("gamma", "scale"):
        values = rng.uniform(0.5, 1.5, shape)
    else:
        values = rng.uniform(0.02, 0.2, shape) * rng.choice([-1.0, 1.0], shape)
    return values.astype(np.float32)


def make_images(session: Session, facts: ModelFacts, recipe: Recipe) -> np.ndarray:
    """(B, H, W, C) float32 images of the recipe's kind.

    ``saturated`` lie exactly on the limits or between them, ``outside`` on both sides of them;
    ``mixture`` holds real images, noise, and blends of the two.
    """
    low, high = session.pair.image_range
    rng = generator(recipe.weights.seed ^ recipe.key, f"images/{recipe.images}")
    batch = recipe.batch * (recipe.training.steps if recipe.training is not None else 1)
    shape = (batch, *facts.image_shape)
    noise = rng.uniform(low, high, shape)
    if recipe.images == "uniform":
        images = noise
    elif recipe.images == "saturated":
        images = np.where(rng.random(shape) < 0.7, rng.choice([low, high], shape), noise)
    elif recipe.images == "outside":
        images = noise + rng.uniform(-session.pair.unit, session.pair.unit, shape) / 2
    elif recipe.images in ("real", "mixture"):
        real = session.real_images()
        if real is None or facts.image_shape != real.shape[1:]:
            raise BadCall(f"the pair has no real images of shape {facts.image_shape}")
        images = real[rng.integers(0, len(real), batch)].astype(np.float64)
        if recipe.images == "mixture":
            share = rng.choice([0.0, 0.25, 0.5, 1.0], (batch, 1, 1, 1))
            images = share * images + (1 - share) * noise
    else:
        raise BadCall(f"images must be one of {', '.join(IMAGE_KINDS)}, got {recipe.images!r}")
    return images.astype(np.float32)


def make_state(session: Session, facts: ModelFacts, recipe: Recipe) -> dict[str, np.ndarray]:
    """Images of the replay buffer and moments of the optimizer, as the recipe says.

    Moments are of the size of the published model's gradients; a tenth are zero, as where a unit
    never was active.
    """
    state: dict[str, np.ndarray] = {}
    if recipe.training is None:
        return state
    rng = generator(recipe.weights.seed ^ recipe.key, "training state")
    if recipe.training.buffer is not None:
        low, high = session.pair.image_range
        kept = (recipe.training.buffer, *facts.image_shape)
        noise, limits = rng.uniform(low, high, kept), rng.choice([low, high], kept)
        state["buffer"] = np.where(rng.random(kept) < 0.3, limits, noise).astype(np.float32)
    if recipe.training.iterations:
        for moment in session.moments():
            for name, shape in zip(facts.names, facts.shapes, strict=True):
                values = rng.normal(0.0, GRADIENT_SIZE, shape)
                if moment not in ("momentum",):
                    values = values**2  # an average of squares
                values[rng.random(shape) < 0.1] = 0.0
                state[f"{moment}/{name}"] = values.astype(np.float32)
    return state
