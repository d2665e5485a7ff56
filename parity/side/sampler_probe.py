"""The probe energy on which a sampler is run, and the calls that are made of it there.

f(x) is small and analytic, the same in both frameworks, so that a sampler is judged apart from the
network. It is called three times over, each time with other arguments and another number of images:
on two lively probes, whose gradients lie on both sides of the gradient clip, and on a quiet one,
whose gradients are far below it. No argument is anybody's default, so that a number written into a
sampler shows: it stays where the argument moves.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from parity.values.cases import Case, SamplerCall
from parity.values.randomness import generator

STEPS = 4
SHAPE = (3, 6, 5, 1)
CURVATURE = 0.02
KEY = 41
LIVELY, QUIET = 0.1, 5e-5
"""Sizes of the probes: gradients on both sides of the clip; and far below it, also in norm."""

NOISE, STEP_SIZE, GRADIENT_CLIP = (0.21, 0.13, 0.34), (7.3, 11.9, 5.7), (0.027, 0.041, 0.017)
"""Of each call."""

NAMES = ("lively", "other", "quiet")


@dataclasses.dataclass(frozen=True)
class Probe:
    """f(x) = sum of c sin(x - m) + 0.02 c x^2 over an image; c and m are (H, W, C)."""

    c: np.ndarray
    m: np.ndarray

    @classmethod
    def drawn(cls, size: float = LIVELY) -> Probe:
        rng = generator(KEY, "probe")
        return cls(size * rng.standard_normal(SHAPE[1:]), rng.uniform(-2, 2, SHAPE[1:]))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.c * np.cos(x - self.m) + 2 * CURVATURE * self.c * x)


@dataclasses.dataclass(frozen=True)
class ProbeCall:
    """One call of a sampler on a probe."""

    name: str
    size: float
    case: Case

    @property
    def probe(self) -> Probe:
        return Probe.drawn(self.size)


def probe_case(low: float = -1.0, high: float = 1.0, *, gradient_clip: bool = True) -> Case:
    """States inside, outside and exactly on the image range.

    Args:
        gradient_clip: whether the samplers take this argument.
    """
    rng = generator(KEY, "probe images")
    middle, half = (low + high) / 2, (high - low) / 2
    images = middle + half * rng.uniform(-1.4, 1.4, SHAPE)
    images = np.where(rng.random(SHAPE) < 0.2, rng.choice([low, high], SHAPE), images)
    return Case(
        weights={}, images=images.astype(np.float32), key=KEY, sampler=_call(0, gradient_clip)
    )


def probe_calls(case: Case) -> list[ProbeCall]:
    """The calls that a probe's case stands for, the first with the case itself."""
    assert case.sampler is not None
    x, clip = case.images, case.sampler.gradient_clip is not None
    images = (x, x[1:, ::-1], np.concatenate([x[:, :, ::-1], x[:1, ::-1]]))
    return [
        ProbeCall(
            name,
            QUIET if name == "quiet" else LIVELY,
            dataclasses.replace(
                case,
                images=np.ascontiguousarray(images[n]),
                key=case.key + n,
                sampler=dataclasses.replace(_call(n, clip), steps=case.sampler.steps),
            ),
        )
        for n, name in enumerate(NAMES)
    ]


def _call(n: int, clip: bool) -> SamplerCall:
    return SamplerCall(STEPS, STEP_SIZE[n], NOISE[n], GRADIENT_CLIP[n] if clip else None)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A call's arguments, by which the numbers of a rule are read."""

    noise: float
    step_size: float
    gradient_clip: float
    batch: int

    @classmethod
    def of(cls, call: ProbeCall) -> Setting:
        """The gradient clip is NaN where it is not an argument."""
        sampler = call.case.sampler
        assert sampler is not None
        clip = math.nan if sampler.gradient_clip is None else sampler.gradient_clip
        return cls(sampler.noise, sampler.step_size, clip, len(call.case.images))
