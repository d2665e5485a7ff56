"""Tables: every tensor that a side computed for a case, told by a fingerprint.

Two programs that are the same have the same values inside, whatever they call them and however
they lay them out. A *fingerprint* is of a tensor's values alone: no order of axes changes it, and
neither do zeros, so that a port that pads by itself has the operand of a reference whose
convolution pads. Values that are all equal, and single ones, are no evidence and have none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

CLOSE = 1e-6
"""How near two fingerprints are that are the same, relative: below what a fault does, above what a
constant that one side holds in float32 does. It finds what to compare; it decides no verdict."""

Fingerprint = tuple[float, ...]


def fingerprint(values: np.ndarray) -> Fingerprint | None:
    """What is told of a tensor: scale and moments of the scaled values, None for no evidence.

    Args:
        values: of any shape and dtype.

    Returns:
        Logarithm of the greatest magnitude m, and of the values divided by m: their sum, and those
        of their squares, magnitudes and cubes; the greatest, and the greatest negated. Sums and
        not means, for zeros must not count.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    if flat.size < 2:
        return None
    low, high = float(flat.min()), float(flat.max())
    if low == high or not (math.isfinite(low) and math.isfinite(high)):
        return None
    scale = max(-low, high)
    scaled = flat / scale
    squares = scaled * scaled
    return (
        math.log(scale),
        float(scaled.sum()),
        float(squares.sum()),
        float(np.abs(scaled).sum()),
        float((squares * scaled).sum()),
        max(high, 0.0) / scale,
        max(-low, 0.0) / scale,
    )


def alike(one: Fingerprint | None, other: Fingerprint | None, close: float = CLOSE) -> bool:
    """Whether both are of the same values, in whatever order and among however many zeros."""
    if one is None or other is None:
        return False
    sums = 1.0 + max(one[3], other[3])
    if abs(one[0] - other[0]) > close:
        return False
    if any(abs(a - b) > close * sums for a, b in zip(one[1:5], other[1:5], strict=True)):
        return False
    return all(abs(a - b) <= close for a, b in zip(one[5:], other[5:], strict=True))


@dataclasses.dataclass(frozen=True)
class Use:
    """An operation that was given a weight, or a part of it, and values that are none.

    Attributes:
        weight: the name of the weight.
        operation: the framework's name of it.
        operands: fingerprints of its other arguments.
        result: fingerprint of what it gave.
        transposed: whether the weight, a matrix, was given as its transpose; None if it is none.
    """

    weight: str
    operation: str
    operands: tuple[Fingerprint, ...]
    result: Fingerprint | None
    transposed: bool | None = None


@dataclasses.dataclass(frozen=True)
class Called:
    """A layer or module that ran.

    Attributes:
        path: its path in the model.
        kind: its class.
        given, result: fingerprints of the tensors that it was given and gave.
        config: of a layer, what it was built with, as far as that is plain.
    """

    path: str
    kind: str
    given: tuple[Fingerprint, ...]
    result: tuple[Fingerprint, ...]
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation that ran.

    Attributes:
        name: the framework's.
        arguments: those that are plain: numbers, words, lists of numbers.
        given, result: fingerprints of tensors.
        line: of the program's source, "port.py:31"; of an operation of a module of the framework's
            own, where that is made. Empty if it is not known.
        called: the line that was running.
    """

    name: str
    arguments: Mapping[str, Any]
    given: tuple[Fingerprint, ...]
    result: tuple[Fingerprint, ...]
    line: str
    called: str


@dataclasses.dataclass(frozen=True)
class Table:
    """What one side computed for a case, in order.

    Attributes:
        tensors: fingerprints of all that was computed.
        uses: of weights.
        calls: of layers or modules, in the order in which they began.
        stopped: what it raised half-way, if it did.
        operations: all of a port's.
    """

    tensors: tuple[Fingerprint, ...]
    uses: tuple[Use, ...]
    calls: tuple[Called, ...]
    stopped: str | None = None
    operations: tuple[Operation, ...] = ()

    def index(self) -> Index:
        """The tensors, to be looked up."""
        return Index(self.tensors)

    def to_plain(self) -> dict[str, object]:
        """As plain values, which cross a pipe."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Table:
        """The inverse of :meth:`to_plain`."""
        return cls(
            tuple(_tuple(f) for f in plain["tensors"]),
            tuple(
                Use(
                    weight=str(use["weight"]),
                    operation=str(use["operation"]),
                    operands=_tuples(use["operands"]),
                    result=None if use["result"] is None else _tuple(use["result"]),
                    transposed=use["transposed"],
                )
                for use in plain["uses"]
            ),
            tuple(
                Called(
                    str(call["path"]),
                    str(call["kind"]),
                    _tuples(call["given"]),
                    _tuples(call["result"]),
                    dict(call["config"]),
                )
                for call in plain["calls"]
            ),
            plain.get("stopped"),
            tuple(
                Operation(
                    str(operation["name"]),
                    dict(operation["arguments"]),
                    _tuples(operation["given"]),
                    _tuples(operation["result"]),
                    str(operation["line"]),
                    str(operation["called"]),
                )
                for operation in plain["operations"]
            ),
        )


def _tuple(value: Any) -> Fingerprint:
    return tuple(value)


def _tuples(values: Iterable[Any]) -> tuple[Fingerprint, ...]:
    return tuple(_tuple(value) for value in values)


class Index:
    """Fingerprints sorted by scale, so that one is found without looking at all."""

    def __init__(self, fingerprints: Iterable[Fingerprint]) -> None:
        self._sorted = sorted(fingerprints)
        self._scales = np.array([f[0] for f in self._sorted])

    def __contains__(self, wanted: Fingerprint | None) -> bool:
        return any(True for _ in self.like(wanted))

    def like(self, wanted: Fingerprint | None) -> Iterator[Fingerprint]:
        """Those that are of the same values."""
        if wanted is None:
            return
        start = int(np.searchsorted(self._scales, wanted[0] - 2 * CLOSE))
        for found in self._sorted[start:]:
            if found[0] > wanted[0] + 2 * CLOSE:
                return
            if alike(found, wanted):
                yield found


def meet(some: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> bool:
    """Whether any of some is alike any of the others."""
    return any(alike(one, other) for one in some for other in others)
