"""The training probe: a small analytic energy with one vector of weights, the same in both
frameworks, so that training is judged apart from the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.values.cases import Case, TrainingCall
from parity.values.randomness import generator

Evaluation = tuple[np.ndarray, bool]
"""The images (B, H, W, C) of an evaluation of the probe, and whether they required gradients."""

WEIGHT = "probe/c"
"""The name of the probe's weights, as Keras has it: of the model, then of the variable."""

PROBE_STEPS = 2

SIZE = 0.005
"""Of the probe's weights: gradients so small that a few steps hardly move an image."""

CURVATURE = 0.02


@dataclasses.dataclass(frozen=True)
class TrainingProbe:
    """f(x) = sum of c (sin(x - m) + 0.02 x^2) over an image; c, the weights, and m are (H*W*C,)."""

    c: np.ndarray
    m: np.ndarray

    @classmethod
    def drawn(cls, image_shape: Sequence[int]) -> TrainingProbe:
        rng = generator(7, "training probe")
        size = int(np.prod(image_shape))
        return cls(SIZE * rng.standard_normal(size).astype(np.float32), rng.uniform(-2, 2, size))

    def features(self, images: np.ndarray) -> np.ndarray:
        """(B, H*W*C): the gradient of each score by the weights."""
        x = images.reshape(len(images), -1)
        return np.asarray(np.sin(x - self.m) + CURVATURE * x * x)


def probe_case(
    image_shape: tuple[int, int, int],
    settings: Mapping[str, Any] | None,
    batch: int,
    *,
    steps: int,
    iterations: int = 0,
    buffer: int | None = None,
    moments: Sequence[str] = (),
    limits: tuple[float, float] = (-1.0, 1.0),
) -> Case:
    """A case that trains the probe; half of its pixels lie exactly on the limits.

    A case of one step is the first step of that of two, unless it starts from another state.
    """
    rng = generator(11, "training probe case")
    probe = TrainingProbe.drawn(image_shape)

    def drawn(n: int) -> np.ndarray:
        noise = rng.uniform(*limits, (n, *image_shape))
        on_limit = rng.choice(limits, noise.shape)
        return np.where(rng.random(noise.shape) < 0.5, on_limit, noise).astype(np.float32)

    state = {}
    if buffer is not None:
        state["buffer"] = rng.uniform(*limits, (buffer, *image_shape)).astype(np.float32)
    if iterations:
        for moment in moments:
            values = rng.normal(0.0, 0.05, probe.c.shape)
            values = values if moment == "momentum" else values**2
            state[f"{moment}/{WEIGHT}"] = values.astype(np.float32)
    return Case(
        weights={WEIGHT: probe.c},
        images=drawn(batch * PROBE_STEPS)[: batch * steps],
        key=18 if state else 19,
        settings=settings,
        training=TrainingCall(steps, iterations),
        state=state,
        origin={"probe": "training"},
    )
