"""A sampler's first step as it was seen, taken apart where the network is evaluated."""

from __future__ import annotations

import numpy as np

from parity.explain.sampler.fits import limits_in
from parity.explain.sampler.observed import Observed
from parity.explain.sampler.rules import OPTIONS, Limits, Place, Rule

MOST = 200_000
"""Comparisons of arrays in one search, and then it ends with what it has found.

Of about 130 searches in the tests no rule needed more than 6,589; to try everything without
finding any takes 60,050 for each way to use what was drawn. All of it is some 8 s of a quiet core.
"""


class Enough(Exception):
    """A search has compared as much as it may."""


class FirstStep:
    """The images on which the network is evaluated first, and those that are returned.

    Args:
        seen: what the sampler did, its points among it.
        base: the reference's rule.
        limit: up to which numbers count as the same.
    """

    def __init__(self, seen: Observed, base: Rule, limit: float) -> None:
        self.seen, self.base, self.limit = seen, base, limit
        self.compared = 0

    def point(self, place: Place) -> np.ndarray:
        """Where the gradient is taken."""
        assert self.seen.points is not None
        points: np.ndarray = self.seen.points[place.number][0]
        return points

    def state(self, place: Place) -> np.ndarray:
        """What is returned."""
        state: np.ndarray = self.seen.states[place.number][0]
        return state

    def same(self, ours: np.ndarray, theirs: np.ndarray) -> bool:
        """Whether they agree. Whatever is tried ends here, so that this is what is counted.

        Raises:
            Enough: after ``MOST`` of them.
        """
        self.compared += 1
        if self.compared > MOST:
            raise Enough
        return bool((np.abs(ours - theirs) <= self.limit).all())

    def inside(self, values: np.ndarray) -> np.ndarray:
        """Which elements lie on no clip's limit."""
        limits = limits_in([values])
        on = np.zeros(values.shape, bool)
        for limit in limits or ():
            on |= values == limit
        return ~on

    def clips(self, name: str) -> list[Limits | None]:
        """The base's, those of others, and what extreme values say that occur again."""
        found: list[Limits | None] = [getattr(self.base, name), *OPTIONS[name]]
        for arrays in (self.seen.points, self.seen.states):
            if arrays is not None:
                found.append(limits_in([array[0] for array in arrays]))
                found.append(limits_in(arrays))
        return list(dict.fromkeys(found))
