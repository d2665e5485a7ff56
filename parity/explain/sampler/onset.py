"""From which step on, and in which part of it, two samplers' trajectories differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.explain.sampler.fits import limits_in
from parity.explain.sampler.observed import last
from parity.explain.sampler.rules import SIZES, Place, Rule, clipped, gradient
from parity.values.traces import Trace


def onset(
    reference: Trace, port: Trace, places: Sequence[Place], steps: int, base: Rule, size: float
) -> str:
    """In words; elements count as the same up to ``size``.

    Args:
        places: the calls of the probe.
        steps: how many were made in both.
        base: the reference's rule.
    """
    traces = (reference, port)
    for step in range(steps):
        for place in places:
            ours, theirs = (last(trace, place)[step] for trace in traces)
            points = [_points(trace, place, step) for trace in traces]
            told = ""
            if points[0] is not None and points[1] is not None:
                wrong = _wrong(points[1], points[0], size)
                if wrong.any():
                    told = _before_network(wrong, points[1], points[0], base)
                elif _wrong(ours, theirs, size).any():
                    told = _behind_network(_wrong(ours, theirs, size), points[0], place, base)
            elif _wrong(ours, theirs, size).any():
                told = "where it evaluates the network cannot be told"
            if told:
                where = "" if place.number == 0 else f" of the {place.call.name} probe"
                return f"from step {step + 1}{where} on, first at {told}"
    return "in no step"


def _wrong(ours: np.ndarray, theirs: np.ndarray, size: float) -> np.ndarray:
    return np.asarray(~(np.abs(ours - theirs) <= size))


def _points(trace: Trace, place: Place, step: int) -> np.ndarray | None:
    points = trace.array("float64", f"{place.call.name}/points")
    counts = trace.notes["counts"][place.call.name]
    if points is None or counts != [*range(1, len(counts) + 1)] or step >= len(points):
        return None
    return np.asarray(points[step])


def _before_network(wrong: np.ndarray, ours: np.ndarray, theirs: np.ndarray, base: Rule) -> str:
    low, high = base.first_clip or (-np.inf, np.inf)
    own_low, own_high = limits_in([ours]) or (-np.inf, np.inf)
    inside = (theirs > low) & (theirs < high) & (ours > own_low) & (ours < own_high)
    if (wrong & inside).any():
        return "the noise (the images that the network is given are others)"
    return "the clip after the noise"


def _behind_network(wrong: np.ndarray, point: np.ndarray, place: Place, base: Rule) -> str:
    """The part of the update whose elements are wrong and no others'."""
    g = place.probe.gradient(point)
    g = g / len(g) if base.reduction == "mean" else g
    kept, _ = gradient(base, place, point, 0.0)
    x = point + place.number_of(base.step, SIZES) * base.sign * kept
    by_clip = clipped(x, base.last_clip) != x
    steep, flat = np.abs(g)[wrong & ~by_clip], np.abs(g)[~wrong & ~by_clip]
    if not steep.size:
        return "the clip after the update"
    if flat.size and steep.min() > flat.max():
        return "the gradient clip (only steep gradients are followed otherwise)"
    return "the gradient or the update (the network is given the reference's images)"
