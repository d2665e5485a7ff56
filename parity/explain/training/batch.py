"""The real images of a training step: their noise and their clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from parity.explain.causes import Cause, Unexplained
from parity.explain.training.numbers import BOUND, Array, apart, same, worst
from parity.explain.training.runs import Run
from parity.values.randomness import SharedRandomness

WHERE = "train_step, the real images"
NOISE, CLIP = "train_step/noise", "train_step/clip"


@dataclasses.dataclass(frozen=True)
class Noised:
    """How images were made of given ones: ``clip(given + scale * noise, low, high)``.

    ``low`` and ``high`` are infinite where nothing was seen to be clipped.
    """

    scale: float
    low: float
    high: float

    @property
    def clipped(self) -> bool:
        return bool(np.isfinite(self.low) or np.isfinite(self.high))

    @property
    def limits(self) -> str:
        return f"[{self.low:.6g}, {self.high:.6g}]" if self.clipped else "nothing"


def real_images(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """Noise and clip of the real images, read off those that the loss is computed on.

    The first step's only: later ones draw after a sampler, which may draw more or fewer.
    """
    for reference, port in runs:
        truth, ours = reference.steps[0], port.steps[0]
        n, given = len(truth.real), truth.real
        expected, found = truth.images[:n], ours.images[:n]
        before = apart(found, expected)
        if before <= BOUND:
            continue
        noise = SharedRandomness(reference.key, "NHWC").normal(given.shape, "float64")
        own, read = (_read(images, given, noise) for images in (expected, found))
        if own is None:  # it draws something else first: take its noise from where no clip bound
            noise, seen = expected - given, np.abs(expected) < np.abs(expected).max()
            own = Noised(1.0, float(expected.min()), float(expected.max()))
            read = _read(found, given, noise, seen)
        if read is None:
            yield Unexplained(WHERE, worst(found, expected), NOISE)
        else:
            after = apart(_made(read, given, noise), found)
            yield from _departures(own, read, before, min(after, before))
        return


def _read(images: Array, given: Array, noise: Array, seen: Array | None = None) -> Noised | None:
    """The scale of the noise, where nothing was clipped, and the limits, where something was.

    Args:
        seen: where ``noise`` is known; everywhere by default.
    """
    if images.shape != given.shape:
        return None
    low, high = (float(edge) for edge in (images.min(), images.max()))
    free = (images > low) & (images < high) & (True if seen is None else seen)
    x, y = noise[free], (images - given)[free]
    if not x.size or not np.any(x):
        return None
    scale = float(x @ y / (x @ x))
    scale = 0.0 if abs(scale) <= BOUND else scale
    # A limit is where two images at the least end at the very same value.
    bound = [int((images == edge).sum()) > 1 for edge in (low, high)]
    if scale == 0.0 and apart(given, images) <= BOUND:
        bound = [False, False]
    read = Noised(scale, low if bound[0] else -np.inf, high if bound[1] else np.inf)
    known = slice(None) if seen is None else seen
    return read if apart(_made(read, given, noise)[known], images[known]) <= BOUND else None


def _made(rule: Noised, given: Array, noise: Array) -> Array:
    return np.asarray(np.clip(given + rule.scale * noise, rule.low, rule.high))


def _departures(own: Noised, read: Noised, before: float, after: float) -> Iterator[Cause]:
    if read.scale == 0.0 and own.scale != 0.0:
        yield Cause(
            "noise-missing",
            WHERE,
            before,
            after,
            "the loss is computed on the real images as they were given",
            "real = real + torch.randn_like(real) * noise, then clamp, before the loss",
            part=NOISE,
        )
        return  # without noise, nothing goes beyond the limits
    if not same(own.scale, read.scale):
        yield Cause(
            "noise-scale",
            WHERE,
            before,
            after,
            f"the noise has standard deviation {read.scale:.9g}, the reference's {own.scale:.9g}; "
            f"with this, the port's images are reproduced",
            f"real = real + torch.randn_like(real) * {own.scale:.9g}",
            part=NOISE,
        )
    mend = f"real = real.clamp({own.low:g}, {own.high:g}) after the noise"
    if own.clipped and not read.clipped:
        text = "real images are not clipped after the noise"
        yield Cause("clip-missing", WHERE, before, after, text, mend, part=CLIP)
    elif not (_alike(own.low, read.low) and _alike(own.high, read.high)):
        text = f"real images are clipped to {read.limits}, the reference's to {own.limits}"
        yield Cause("clip-range", WHERE, before, after, text, mend, part=CLIP)


def _alike(a: float, b: float) -> bool:
    return a == b or same(a, b)
