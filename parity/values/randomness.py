"""Shared randomness: one stream of numbers per family, served to both sides from a key.

Neither side knows it is being tested. Each draws through its own framework's API; what intercepts
the draws there (``parity.frameworks``) asks this module for the numbers. They are served element by
element in canonical order (batch first, channels last), so that one draw of 8 images and 8 draws of
one image see the same numbers, and they lie on a grid that float32 holds exactly, so that both
precisions see the same numbers too.

The key alone reproduces everything; goldens store the key, not the noise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

FAMILIES = ("normal", "uniform", "integers", "permutation")

_NORMAL_GRID = 2.0**20  # |z| < 16 on a grid of 2**-20 fits the 24 bits of a float32
_UNIFORM_GRID = 2**24
_COARSE_GRIDS = {"float16": 2**11, "bfloat16": 2**8}  # so that no uniform is rounded up to 1


@dataclasses.dataclass(frozen=True)
class Draw:
    """One draw of the side's own code, as the draw log holds it.

    Attributes:
        family: one of FAMILIES, or the framework's name of an operation that could not be served.
        count: how many elements were drawn.
        dtype: the dtype the code asked for, "float32" say.
        position: how many evaluations of the network came before it.
        served: False for a draw that the harness saw but had no shared numbers for.
        scalar: a draw of a single element of rank 0, as DataLoaders make for themselves.
    """

    family: str
    count: int
    dtype: str
    position: int
    served: bool = True
    scalar: bool = False


class SharedRandomness:
    """Serves the shared streams of one key to one side and keeps its draw log.

    Args:
        key: names the streams; the same key gives the same numbers everywhere.
        layout: how this side lays out images, "NHWC" or "NCHW". It decides the order in which the
            elements of a draw of rank 3 or more are filled; shapes are never guessed from.
    """

    def __init__(self, key: int, layout: str) -> None:
        if layout not in ("NHWC", "NCHW"):
            raise ValueError(f"layout must be 'NHWC' or 'NCHW', got {layout!r}")
        self.key = key
        self.layout = layout
        self.log: list[Draw] = []
        self.evaluations = 0
        self._generators: dict[str, np.random.Generator] = {}

    def normal(self, shape: Sequence[int], dtype: str) -> np.ndarray:
        """Standard normals of ``shape``, float64 values that float32 holds exactly."""
        values = self._generator("normal").standard_normal(math.prod(shape))
        self._record("normal", shape, dtype)
        return self._laid_out(np.rint(values * _NORMAL_GRID) / _NORMAL_GRID, shape)

    def uniform(self, shape: Sequence[int], dtype: str) -> np.ndarray:
        """Uniforms on [0, 1) of ``shape``, float64 values that float32 holds exactly."""
        values = self._generator("uniform").integers(0, _UNIFORM_GRID, math.prod(shape))
        self._record("uniform", shape, dtype)
        grid = _COARSE_GRIDS.get(dtype, _UNIFORM_GRID)
        return self._laid_out(values // (_UNIFORM_GRID // grid) / grid, shape)

    def integers(self, low: int, high: int, shape: Sequence[int], dtype: str) -> np.ndarray:
        """Integers in [low, high) of ``shape``, int64."""
        if high <= low:
            raise ValueError(f"integers need low < high, got low={low}, high={high}")
        values = self._generator("integers").integers(0, 2**62, math.prod(shape))
        self._record("integers", shape, dtype)
        return self._laid_out(low + values % (high - low), shape)

    def permutation(self, n: int, dtype: str) -> np.ndarray:
        """A permutation of range(n), int64."""
        self._record("permutation", (n,), dtype)
        return self._generator("permutation").permutation(n)

    def not_served(self, operation: str, shape: Sequence[int], dtype: str) -> None:
        """Log a draw for which there is no shared stream; its numbers are the framework's own."""
        self._record(operation, shape, dtype, served=False)

    def bookmark(self) -> dict[str, Any]:
        """Where each stream stands, for :meth:`replaying`."""
        return {family: g.bit_generator.state for family, g in self._generators.items()}

    @contextlib.contextmanager
    def replaying(self, bookmark: Mapping[str, Any]) -> Iterator[None]:
        """Serve what was served from ``bookmark`` on once more, unlogged, and then go on as before.

        For code that a framework runs a second time to save memory: it is one draw, not two.
        """
        generators, log = self._generators, self.log
        self._generators, self.log = {}, []
        for family, state in bookmark.items():
            self._generator(family).bit_generator.state = state
        try:
            yield
        finally:
            self._generators, self.log = generators, log

    def _record(self, family: str, shape: Sequence[int], dtype: str, served: bool = True) -> None:
        count, scalar = math.prod(shape), len(shape) == 0
        self.log.append(Draw(family, count, dtype, self.evaluations, served, scalar))

    def _generator(self, family: str) -> np.random.Generator:
        if family not in self._generators:
            self._generators[family] = generator(self.key, family)
        return self._generators[family]

    def _laid_out(self, values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        shape = tuple(shape)
        if self.layout == "NHWC" or len(shape) < 3:
            return values.reshape(shape)
        *batch, channels, height, width = shape
        canonical = values.reshape(*batch, height, width, channels)
        return np.ascontiguousarray(np.moveaxis(canonical, -1, -3))


def generator(key: int, purpose: str) -> np.random.Generator:
    """A NumPy generator of its own for each (key, purpose): Philox, keyed by their SHA-256."""
    sha = hashlib.sha256(f"{key}/{purpose}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(sha[:16], "little")))


_HOST_SEEDS: list[tuple[int, int]] = []


def host_seeds() -> tuple[int, int] | None:
    """What :func:`host_generators_seeded` has seeded Python's and NumPy's global generators with;
    None outside it."""
    return _HOST_SEEDS[-1] if _HOST_SEEDS else None


@contextlib.contextmanager
def host_generators_seeded(key: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators from ``key``, and put them back afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    seeds = generator(key, "host").integers(0, 2**32, 2)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    _HOST_SEEDS.append((int(seeds[0]), int(seeds[1])))
    try:
        yield
    finally:
        _HOST_SEEDS.pop()
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def compared(log: Sequence[Draw]) -> list[Draw]:
    """The log as the two sides are compared by it.

    Draws of one family and dtype between the same two evaluations of the network count as one,
    because split, merged and flat draws see the same numbers. Single integers are left out: a
    ``DataLoader`` draws one to seed itself.
    """
    merged: list[Draw] = []
    for draw in log:
        if draw.count == 0 or (draw.scalar and draw.family == "integers"):
            continue
        last = merged[-1] if merged else None
        if (
            last is not None
            and dataclasses.replace(draw, count=last.count, scalar=last.scalar) == last
        ):
            merged[-1] = dataclasses.replace(last, count=last.count + draw.count)
        else:
            merged.append(dataclasses.replace(draw, scalar=False))
    return merged


def stretches(log: Sequence[Draw]) -> list[Draw]:
    """The log with each position as the number of the stretch it lies in.

    A stretch lies between evaluations of the network that have something drawn between them: how
    many evaluations follow one another without a draw is no question of randomness, so that one
    pass over real and fake images is the same as one for each. Nothing is drawn in stretch 0 if the
    first draw comes after an evaluation.
    """
    found: list[Draw] = []
    stretch, before = 0, 0
    for draw in log:
        stretch += draw.position > before
        before = draw.position
        found.append(dataclasses.replace(draw, position=stretch))
    return found
