"""Hypothesis strategies for the recipes of cases."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from parity.ask.session import Session, Settings
from parity.declare import specs
from parity.draw.exercised import SETTINGS, Chosen, Pools, choose
from parity.draw.recipes import IMAGE_KINDS, Recipe, TrainingRecipe, WeightsRecipe
from parity.values.cases import SamplerCall

KEYS = st.integers(0, 2**31 - 1)

_POOLS: weakref.WeakKeyDictionary[Session, Pools[Settings]] = weakref.WeakKeyDictionary()
"""Architectures that were drawn for one purpose, for the next: drawing a pool takes most of a
second."""


def architectures(session: Session, n: int, seed: int, *, more: int = 0) -> Chosen[Settings]:
    """``n`` architectures of the pair's, drawn once so that each is built once; or up to ``more``
    besides, if it takes them to have every value that is enumerated.

    The published one is not among them. None if either side builds only that one.
    """
    if not session.draws_architectures or n == 0:
        return Chosen((), ())
    with specs.declaration("architectures"):
        return choose(
            specs.entry(session.pair.architectures)(),
            n,
            seed,
            plain=lambda settings: {SETTINGS: settings},
            more=more,
            pools=_POOLS.setdefault(session, {}),
        )


@st.composite
def networks(
    draw: DrawFn,
    session: Session,
    pool: Sequence[Settings] = (),
    *,
    max_batch: int = 8,
    sampler: SearchStrategy[SamplerCall] | None = None,
    scales: Sequence[float] = (0.5, 1.0, 2.0, 3.0),
) -> Recipe:
    """Recipes over published and drawn architectures, trained and random weights, all images.

    Args:
        session: supplies what trained weights and real images there are.
        pool: drawn architectures to choose from besides the published one, which comes first
            unless it is listed.
        max_batch: the largest batch; 1 is drawn too, though reductions are invisible there.
        sampler: draws the sampler's arguments; None for cases of the network alone.
        scales: weights' scale in units of Glorot's limit.
    """
    among = pool if None in pool else [None, *pool]
    settings = draw(st.sampled_from(among)) if pool else None
    trained = sorted(session.pair.weights) if settings is None else []
    name = draw(st.sampled_from([None, *trained])) if trained else None
    weights = WeightsRecipe(trained=name)
    if name is None:
        weights = WeightsRecipe(scale=draw(st.sampled_from(list(scales))), seed=draw(KEYS))
    has_real = settings is None and session.pair.images is not None
    kinds = IMAGE_KINDS if has_real else [k for k in IMAGE_KINDS if k not in ("real", "mixture")]
    return Recipe(
        weights=weights,
        images=draw(st.sampled_from(list(kinds))),
        batch=draw(st.integers(1, max_batch)),
        key=draw(KEYS),
        settings=settings,
        sampler=None if sampler is None else draw(sampler),
        view=draw(st.booleans()),
    )


@st.composite
def sampler_calls(draw: DrawFn, session: Session, *, max_steps: int = 12) -> SamplerCall:
    """Arguments of ``generate_samples``: step sizes and noise over three decades, clips that bind.

    Steps and noise are in units of the images' range, so that clips to it bind whatever it is.
    ``gradient_clip`` is drawn where both sides take it, and otherwise left to their defaults.
    """
    clip, unit = None, session.pair.unit
    if session.both_support("gradient_clip"):
        clip = draw(st.sampled_from([None, 0.001, 0.01, 0.03, 0.3]))
    return SamplerCall(
        steps=draw(st.integers(1, max_steps)),
        step_size=unit * draw(st.sampled_from([0.1, 1.0, 3.0, 10.0, 40.0])),
        noise=unit * draw(st.sampled_from([0.0, 0.001, 0.005, 0.05, 0.3])),
        gradient_clip=clip,
    )


@st.composite
def trainings(draw: DrawFn, session: Session, *, max_steps: int = 1) -> Recipe:
    """Recipes of training: any state of weights, moments and buffer, and what the pair draws.

    Args:
        max_steps: the most steps; a case of one is teacher-forced.
    """
    settings, batch = None, draw(st.integers(2, 4))
    if session.draws_trainings:
        with specs.declaration("trainings"):
            settings, batch = draw(specs.entry(session.pair.trainings)())
    scale = draw(st.sampled_from([0.5, 1.0, 2.0]))
    buffer = (
        draw(st.one_of(st.none(), st.integers(1, 12))) if session.has("replay_buffer") else None
    )
    return Recipe(
        weights=WeightsRecipe(scale=scale, seed=draw(KEYS)),
        images=draw(st.sampled_from(["uniform", "saturated"])),
        batch=batch,
        key=draw(KEYS),
        settings=settings,
        training=TrainingRecipe(
            steps=draw(st.integers(1, max_steps)),
            iterations=draw(st.sampled_from([0, 1, 10, 1000])),
            buffer=buffer,
        ),
        view=draw(st.booleans()),
    )
