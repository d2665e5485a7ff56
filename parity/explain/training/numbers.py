"""What the stages of a training step are compared and solved with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.explain.causes import Unexplained

Array = np.ndarray

BOUND = 1e-11
"""Relative; a stage is a sum over at most some thousand numbers, so rounding lies far below."""

SAME_NUMBER = 1e-7
"""Relative; numbers that are solved for are known far better, and differ by more if they differ."""

SAME_IMAGE = 0.5
"""An image is taken to come from another when it is this much nearer to it than to the runner-up.
Of 128 images of 12 uniform pixels, a new one's nearest is at some 0.8 of the next."""


def apart(ours: Any, truth: Any) -> float:
    """The largest difference, relative to the largest element; infinite for other shapes."""
    ours, truth = np.asarray(ours), np.asarray(truth)
    if ours.shape != truth.shape:
        return float("inf")
    if not truth.size:
        return 0.0
    return float(np.abs(ours - truth).max() / max(np.abs(truth).max(), 1e-300))


def same(a: float, b: float) -> bool:
    """Whether two numbers that were solved for are one."""
    return abs(a - b) <= SAME_NUMBER * max(abs(a), abs(b), 1e-300)


def solve(columns: Sequence[Array], target: Array) -> Array | None:
    """The coefficients by which the columns add up to the target; None if none do, to the bound."""
    found = nearest(columns, target)
    if found is None:
        return None
    made = sum(n * column for n, column in zip(found, columns, strict=True))
    return found if apart(made, target) <= BOUND else None


def nearest(columns: Sequence[Array], target: Array) -> Array | None:
    """The coefficients by which the columns come nearest to the target, by least squares.

    None if a column is zero or not finite. A coefficient that adds nothing beyond rounding is 0.
    """
    sizes = [float(np.abs(column).max(initial=0.0)) for column in columns]
    if not all(0 < size < np.inf for size in sizes) or not np.isfinite(target).all():
        return None
    matrix = np.stack([c / size for c, size in zip(columns, sizes, strict=True)], axis=1)
    found, *_ = np.linalg.lstsq(matrix, target, rcond=None)
    found = np.where(np.abs(found) <= BOUND * np.abs(target).max(), 0.0, found)
    return np.asarray(found / np.array(sizes))


def numbers(
    where: str, part: str, pairs: Iterable[tuple[Mapping[str, float], Mapping[str, float]]]
) -> Iterator[Unexplained]:
    """Scalars that differ, where no rule is known to compute them by."""
    for truth, ours in pairs:
        size = max((abs(v) for v in truth.values()), default=1.0) or 1.0
        for name, value in truth.items():
            if abs(value - ours.get(name, np.inf)) > BOUND * size:
                text = f"{name} is {ours.get(name)}, the reference's {value:.12g}"
                yield Unexplained(where, f"{text}; nothing in the catalogue reproduces it", part)
                return


def worst(ours: Array, truth: Array) -> str:
    """In words, where two arrays differ most."""
    if ours.shape != truth.shape:
        return f"they have shape {ours.shape}, the reference's {truth.shape}"
    difference = np.abs(ours - truth)
    index = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
    return (
        f"they differ most at {list(index)}: reference {truth[index]:.12g}, port "
        f"{ours[index]:.12g}; nothing in the catalogue reproduces them"
    )


def shown(values: Mapping[str, float]) -> str:
    """Named scalars in words."""
    return ", ".join(f"{name} {value:.9g}" for name, value in values.items())
