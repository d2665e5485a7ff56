"""The fixed random array by which a network's outputs are multiplied before gradients are taken.

A bare sum would hide what it cannot see: a softmax sums to 1, so the gradient of its sum is noise,
and a port that halves its gradients in front of one would agree. A network whose output is one
energy for each image keeps ones, so that its gradients are the published ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.values.randomness import generator

_GRID = 2.0**20  # |z| < 16 on a grid of 2**-20 fits the 24 bits of a float32


def cotangent(
    key: int, shape: Sequence[int], batch: int, rows: Sequence[int] | None = None
) -> np.ndarray:
    """Float64 numbers for outputs of ``shape``, canonical, that float32 holds exactly.

    Args:
        key: the case's.
        shape: of the outputs, canonical, the batch first.
        batch: how many images were evaluated.
        rows: which images of the case they are, so that one has the same numbers alone or in
            another order; the first ``batch`` by default.

    Returns:
        ``shape``. Ones for (B,) and (B, 1), and where there is not one output for each image, which
        the comparison of the outputs tells.
    """
    shape = tuple(shape)
    rest = shape[1:]
    if rest in ((), (1,)) or not shape or shape[0] != batch:
        return np.ones(shape)
    chosen = list(range(batch)) if rows is None else list(rows)
    count = (max(chosen, default=-1) + 1, *rest)
    values = generator(key, "cotangent").standard_normal(count)[chosen]
    return np.asarray(np.rint(values * _GRID) / _GRID)
