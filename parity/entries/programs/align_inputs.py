"""How the port takes its inputs: which argument is which, and in which order of axes.

Told by names, by what runs and by the port's shapes, never by the values that are judged.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.declare.inputs import InputSpec
from parity.errors import PortFailed

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Given:
    """What the port is given.

    Attributes:
        order: names of the reference's inputs, in the order of the port's arguments.
        channels_first: those that it takes with channels before space.
        named: they are passed by keyword, for the port's arguments have their names.
    """

    order: tuple[str, ...]
    channels_first: frozenset[str]
    named: bool = False

    def given(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Canonical inputs as the port takes them."""
        return {n: first(inputs[n]) if n in self.channels_first else inputs[n] for n in self.order}

    def back(self, name: str, array: np.ndarray) -> np.ndarray:
        """An array of the shape of a given input, canonical."""
        return last(array) if name in self.channels_first else array

    @property
    def words(self) -> str:
        return ", ".join(
            f"{n} {'channels first' if n in self.channels_first else 'as it is'}"
            for n in self.order
        )


def first(array: np.ndarray) -> np.ndarray:
    """(B, ..., C) as (B, C, ...)."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def last(array: np.ndarray) -> np.ndarray:
    """(B, C, ...) as (B, ..., C)."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def ways_of_giving(
    inputs: Sequence[InputSpec],
    arguments: Sequence[Mapping[str, Any]],
    accepts: Callable[[Arrays, bool], str | None],
    values: Arrays,
) -> list[Given]:
    """The ways in which the port runs, the likeliest first: channels first before last.

    Where the port's arguments have the inputs' names and it runs so, no other order is tried.

    Args:
        accepts: why the port does not run on these inputs, passed by keyword or by position.

    Raises:
        PortFailed: it runs in none; shows both sides.
    """
    names = [spec.name for spec in inputs]
    said = [argument["name"] for argument in arguments]
    orders = [(tuple(names), False)]
    if len(names) <= 3:
        orders += [(o, False) for o in itertools.permutations(names) if o != tuple(names)]
    if set(names) <= set(said):
        orders.insert(0, (tuple(n for n in said if n in names), True))
    spatial = [spec.name for spec in inputs if len(spec.shape) >= (3 if spec.integer else 2)]
    problems = []
    for order, named in orders:
        found = []
        for chosen in _subsets(spatial):
            way = Given(order, frozenset(chosen), named)
            problem = accepts(way.given(values), named)
            if problem is None:
                found.append(way)
                continue
            problems.append(f"{[tuple(a.shape) for a in way.given(values).values()]}: {problem}")
        if found:
            return found
    raise PortFailed(
        "the port does not run on the reference's inputs "
        + ", ".join(f"{spec.name} {spec.shape}" for spec in inputs)
        + f"; tried {'; '.join(problems[:4])}"
    )


def _subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All of them first, then fewer."""
    sizes = range(len(names), -1, -1)
    return [subset for size in sizes for subset in itertools.combinations(names, size)]
