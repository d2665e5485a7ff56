"""How a weight of the reference is laid out as a parameter of the port, there and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
    """Axes split, blocks put in order, axes permuted, axes merged: all without arithmetic.

    Attributes:
        split: the shape in which the weight is looked at.
        axes: the order in which those axes come in the parameter.
        shape: the parameter's.
        blocks: (axis of ``split``, order): gates that come in another order.
        words: for people, "in out -> out in".
    """

    split: tuple[int, ...]
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    words: str
    blocks: tuple[int, tuple[int, ...]] | None = None

    def apply(self, weight: np.ndarray) -> np.ndarray:
        """The parameter that holds ``weight``."""
        array = weight.reshape(self.split)
        if self.blocks is not None:
            axis, order = self.blocks
            array = array.take(order, axis)
        return np.ascontiguousarray(array.transpose(self.axes)).reshape(self.shape)

    def invert(self, parameter: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The weight, of ``shape``, that ``parameter`` holds."""
        array = parameter.reshape([self.split[axis] for axis in self.axes])
        array = array.transpose(np.argsort(self.axes))
        if self.blocks is not None:
            axis, order = self.blocks
            array = array.take(np.argsort(order), axis)
        return np.ascontiguousarray(array).reshape(tuple(shape))


def permuted(
    shape: Sequence[int], axes: Sequence[int], target: Sequence[int], words: str
) -> Layout | None:
    """The layout that permutes axes, if it gives ``target`` but for axes of length 1."""
    shape, axes, target = tuple(shape), tuple(axes), tuple(target)
    if _long(shape[axis] for axis in axes) != _long(target):
        return None
    return Layout(shape, axes, target, words)


def matrix(
    inputs: int, outputs: int, target: Sequence[int], words: str, *, turned: bool = True
) -> Layout | None:
    """(inputs, outputs) as ``target``, (outputs, inputs, 1, ...) if ``turned``."""
    axes = (1, 0) if turned else (0, 1)
    return permuted((inputs, outputs), axes, target, words)


def full_map(inputs: int, outputs: int, target: Sequence[int]) -> Layout | None:
    """A dense kernel over a flattened (..., channels) map as a convolution of that whole map."""
    outer, channels, *spatial = target
    if outer != outputs or math.prod(target[1:]) != inputs or not spatial:
        return None
    n = len(spatial)
    axes = (n + 1, n, *range(n))
    return Layout((*spatial, channels, outer), axes, tuple(target), "(... c) out -> out c ...")


def _long(shape: Iterable[int]) -> list[int]:
    return [n for n in shape if n != 1]
