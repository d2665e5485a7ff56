"""How the port takes its inputs: which argument is which, and in which order of axes.

Told by names, by what runs and by the port's shapes, never by the values that are judged.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.errors import BadCall
from parity.programs.inputs import InputSpec

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Given:
    """What the port is given.

    Attributes:
        order: names of the reference's inputs, in the order of the port's arguments.
        channels_first: those that it takes with channels before space.
    """

    order: tuple[str, ...]
    channels_first: frozenset[str]

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


def given_to(
    inputs: Sequence[InputSpec],
    arguments: Sequence[Mapping[str, Any]],
    accepts: Callable[[Arrays], str | None],
    values: Arrays,
) -> Given:
    """The first way in which the port runs: by names before by order, channels first before last.

    Raises:
        BadCall: it runs in none; shows both sides.
    """
    names = [spec.name for spec in inputs]
    said = [argument["name"] for argument in arguments]
    orders: list[tuple[str, ...]] = []
    if set(names) <= set(said):
        orders.append(tuple(n for n in said if n in names))
    else:
        orders.append(tuple(names))
        if len(names) <= 3:
            orders += [o for o in itertools.permutations(names) if o not in orders]
    spatial = [spec.name for spec in inputs if len(spec.shape) >= 2 and not spec.integer]
    problems = []
    for order in orders:
        for chosen in _subsets(spatial):
            way = Given(order, frozenset(chosen))
            problem = accepts(way.given(values))
            if problem is None:
                return way
            problems.append(f"{[tuple(a.shape) for a in way.given(values).values()]}: {problem}")
    raise BadCall(
        "the port does not run on the reference's inputs "
        + ", ".join(f"{spec.name} {spec.shape}" for spec in inputs)
        + f"; tried {'; '.join(problems[:4])}"
    )


def _subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All of them first, then fewer."""
    sizes = range(len(names), -1, -1)
    return [subset for size in sizes for subset in itertools.combinations(names, size)]
