"""Numbers read off arrays of which some elements follow a law and others were clipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from parity.explain.sampler.rules import Fitted, Limits, Term, Uniform
from parity.side.sampler_probe import Setting

TIED = 3
"""So many equal numbers are no chance: a clip put them there."""

CLOSE = 1e-9
"""Relative; two numbers that were solved for are the same if they are this close."""

NOTHING = 1e-12
"""A number below is none."""

FEW, TRIALS = 20, 4000
"""How many elements, or pairs or triples of them, are solved for, at first and at most."""


def limits_in(arrays: Sequence[np.ndarray]) -> Limits | None:
    """The least and the greatest value, where each occurs again and again in one array."""
    low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
    low = low if max((a == low).sum() for a in arrays) >= TIED else -np.inf
    high = high if max((a == high).sum() for a in arrays) >= TIED else np.inf
    return None if np.isinf(low) and np.isinf(high) else (float(low), float(high))


def fit(columns: Sequence[np.ndarray], target: np.ndarray, use: np.ndarray) -> np.ndarray | None:
    """The coefficients with which most elements of ``target`` are a sum of the columns.

    As many elements as there are columns are drawn and solved for, again and again; what most of
    the others agree with is refined by least squares. None if no more agree than by chance.
    """
    rows = np.stack([np.broadcast_to(c, target.shape)[use] for c in columns], axis=-1)
    values = target[use]
    n, k = rows.shape
    if n < k + 3:
        return None
    scale = np.abs(rows).max(axis=0)
    if (scale == 0).any():
        return None
    rng = np.random.default_rng(0)
    few = rng.integers(0, n, (FEW, k))
    chosen = _agreed(rows, values, few, scale)
    if chosen.sum() <= n / 2 + k:  # otherwise no other solution has as many
        picks = np.arange(n)[:, np.newaxis] if k == 1 else rng.integers(0, n, (TRIALS, k))
        chosen = _agreed(rows, values, picks, scale)
    if chosen.sum() < k + 3:
        return None
    return np.asarray(np.linalg.lstsq(rows[chosen], values[chosen], rcond=None)[0])


def _agreed(
    rows: np.ndarray, values: np.ndarray, picks: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Which elements the best of the picked solutions holds for."""
    a, b = rows[picks], values[picks]
    good = np.abs(np.linalg.det(a / scale)) > 1e-4
    if not good.any():
        return np.zeros(len(rows), bool)
    solutions = np.linalg.solve(a[good], b[good][..., np.newaxis])[..., 0]
    residuals = np.abs(solutions @ rows.T - values)
    tolerance = CLOSE * (np.abs(solutions) @ np.abs(rows).T) + 1e-15
    inliers = residuals <= tolerance
    return np.asarray(inliers[np.argmax(inliers.sum(axis=1))])


def agree(ordered: np.ndarray, least: int = TIED) -> float | None:
    """The number that most of a sorted array are equal to, but for rounding."""
    if len(ordered) < least or least == 0:
        return None
    close = np.abs(ordered[:, np.newaxis] - ordered) <= CLOSE * np.abs(ordered)
    counts = close.sum(axis=0)
    best = int(np.argmax(counts))
    if counts[best] < least:
        return None
    return float(np.median(ordered[close[:, best]]))


def fitted(
    values: Sequence[float | None],
    argument: str,
    settings: Sequence[Setting],
    terms: Mapping[str, Term],
    kind: str = "value",
) -> Fitted | None:
    """What law a number follows that was solved for in some calls; None if in none, or a known one.

    Args:
        values: in each call, None where it did not show.
    """
    seen = [(v, s) for v, s in zip(values, settings, strict=True) if v is not None]
    if not seen or max(abs(v) for v, _ in seen) < NOTHING:
        return None
    if any(all(_close(v, term(s)) for v, s in seen) for term in terms.values()):
        return None
    by = "" if kind == "value" else f", by {kind}"
    given = [getattr(s, argument) for s in settings]
    first = _rounded(seen[0][0])
    if all(_close(v, first) for v, _ in seen):
        return Fitted(f"always {first:g}{by}", (first,) * len(values), kind, plain(first))
    ratio = _rounded(seen[0][0] / getattr(seen[0][1], argument))
    if all(_close(v, ratio * getattr(s, argument)) for v, s in seen):
        own = argument if ratio == 1 else f"{ratio:g} * {argument}"
        return Fitted(own + by, tuple(ratio * g for g in given), kind, plain(ratio))
    if len(seen) < len(values):
        return None
    words = ", ".join(
        f"{v:g} where {argument} is {g:g}" for (v, _), g in zip(seen, given, strict=True)
    )
    return Fitted(words + by, tuple(v for v, _ in seen), kind, plain=False)


def fitted_uniform(
    pairs: Sequence[Limits], settings: Sequence[Setting], terms: Mapping[str, Term]
) -> tuple[Uniform, str] | None:
    """Uniform noise, in terms of a scale, and that scale's name; the first that fits.

    Args:
        pairs: least and greatest value, as solved for in every call.
    """
    if all(high - low < NOTHING for low, high in pairs):
        return None
    for name, term in terms.items():
        units = [[end / term(s) for end in pair] for pair, s in zip(pairs, settings, strict=True)]
        low, high = (_rounded(end) for end in units[0])
        low = 0.0 if abs(low) < CLOSE else low
        if all(abs(u[0] - low) < CLOSE and abs(u[1] - high) < CLOSE for u in units):
            return Uniform(f"uniform from {low:g} to {high:g} times its scale", (low, high)), name
    return None


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= CLOSE * max(abs(a), abs(b))


def _rounded(value: float) -> float:
    """To six digits, if it is as good as that."""
    short = float(f"{value:.6g}")
    return short if _close(short, value) else value


def plain(value: float) -> bool:
    """Whether a person would have written it: three digits are enough."""
    return float(f"{value:.3g}") == value
