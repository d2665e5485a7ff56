"""Which rules behave as a sampler does: numbers are solved for, options tried, all verified.

A step is taken apart where the network is evaluated. What comes before has to lead to the points at
which the gradient was taken; what comes after, to the images that were returned. A rule counts only
if its simulation, from the first images on, agrees with every point and every image to the bound.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from parity.explain.sampler.after import AfterNetwork
from parity.explain.sampler.before import BeforeNetwork
from parity.explain.sampler.draws import Drawn
from parity.explain.sampler.first_step import Enough, FirstStep
from parity.explain.sampler.fits import plain
from parity.explain.sampler.observed import Found, Observed, returned
from parity.explain.sampler.rules import OPTIONS, Fitted, Rule, Uniform, departures, near, simulate

BLIND = 3
"""Departures up to which rules are tried where it is not known at which points a port evaluates."""

READINGS = 3
"""Departures up to which a rule is told as another reading of one with fewer."""

AFTER = ("reduction", "sign", "accumulate", "gradient_clip", "step", "last_clip", "ending")
"""What of a rule is about the update."""

BOUND = 64 * float(np.finfo(np.float64).eps) * 4
"""Relative; a rule is 20 operations a step, so correct simulations agree far below this."""


def search(seen: Observed, base: Rule, bound: float = BOUND) -> list[Found]:
    """The rules that behave so, fewest departures from ``base`` first, then round numbers first.

    After those with the fewest come other readings: rules with up to ``READINGS`` departures that
    behave alike and contain none of the first.
    """
    return _Search(seen, base, bound).found()


class _Search:
    def __init__(self, seen: Observed, base: Rule, bound: float) -> None:
        self.seen, self.base = seen, base
        self.first = FirstStep(seen, base, bound * seen.size)
        self.before, self.after = BeforeNetwork(self.first), AfterNetwork(self.first)

    def found(self) -> list[Found]:
        if self.seen.points is None:
            tried = self._blindly()
        else:
            tried = self._half_blindly() if self.seen.counts else self._candidates()
        found: dict[Rule, Found] = {}
        with contextlib.suppress(Enough):
            for rule, drawn in tried:
                if rule not in found and self.agrees(rule, drawn):
                    found[rule] = Found(rule, drawn)
        return self._readings(sorted(found.values(), key=self._cost))

    def agrees(self, rule: Rule, drawn: Drawn) -> bool:
        """Whether a simulation has every point and every image."""
        for place in self.seen.places:
            done = simulate(rule, place, drawn.noise[place.number], self.seen.steps)
            if done is None:
                return False
            if not self.first.same(
                returned(self.seen, place, done[0]), self.seen.states[place.number]
            ):
                return False
            points = self.seen.points
            if points is not None and not self.first.same(done[1], points[place.number]):
                return False
        return True

    def _cost(self, found: Found) -> tuple[int, int, bool, tuple[int, ...]]:
        changed = departures(found.rule, self.base)
        values = [getattr(found.rule, name) for name in changed]
        solved = sum(isinstance(v, (Fitted, Uniform)) for v in values)
        order = tuple(list(OPTIONS).index(name) if name in OPTIONS else -1 for name in changed)
        return len(changed) + self._odd(found.rule), solved, not found.drawn.in_order, order

    def _odd(self, rule: Rule) -> int:
        """How many numbers that were solved for are not round."""
        values = [getattr(rule, name) for name in departures(rule, self.base)]
        return sum(
            (isinstance(v, Fitted) and not v.plain)
            or (isinstance(v, tuple) and not all(np.isinf(x) or plain(x) for x in v))
            for v in values
        )

    def _readings(self, found: Sequence[Found]) -> list[Found]:
        """Without those that only add to another what makes no difference."""
        kept: list[Found] = []
        for each in found:
            mine = self._changes(each.rule)
            if kept and len(mine) > max(READINGS, len(self._changes(kept[0].rule))):
                continue
            if kept and self._odd(each.rule) > self._odd(kept[0].rule):
                continue
            if not any(self._changes(other.rule) <= mine for other in kept):
                kept.append(each)
        return kept

    def _changes(self, rule: Rule) -> set[tuple[str, Any]]:
        return {(name, getattr(rule, name)) for name in departures(rule, self.base)}

    def _blindly(self) -> Iterator[tuple[Rule, Drawn]]:
        """Without knowing the points: every rule with few departures."""
        drawn = [each for each in self.seen.drawn if each.family == "normal"]
        for count in range(BLIND + 1):
            some = False
            for rule, each in itertools.product(near(self.base, count), drawn):
                shaped = dataclasses.replace(rule, shape=each.shape)
                if self._begins(shaped, each):
                    some = True
                    yield shaped, each
            if some:
                return

    def _half_blindly(self) -> Iterator[tuple[Rule, Drawn]]:
        """Without the images after the first step: what leads to its points, and few departures
        in the rest."""
        before = list(self.before.rules())
        for count in range(BLIND):
            some = False
            for rule, drawn in before:
                for each in near(rule, count, AFTER):
                    if self._begins(each, drawn):
                        some = True
                        yield each, drawn
            if some:
                return

    def _begins(self, rule: Rule, drawn: Drawn) -> bool:
        """Whether the first run of the first call is as the rule has it."""
        place, steps = self.seen.places[0], self.seen.counts[0] if self.seen.counts else 1
        if steps == 0:
            return True
        done = simulate(rule, place, drawn.noise[0], steps)
        return done is not None and self.first.same(done[0][-1], self.first.state(place))

    def _candidates(self) -> Iterator[tuple[Rule, Drawn]]:
        """Rules that have the first step's points and images."""
        before = list(self.before.rules())
        followed: dict[tuple[bytes, ...], list[Rule]] = {}
        for rule, drawn in before:
            arrays = [a for p in self.seen.places for a in self.after.at_update(rule, drawn, p)]
            key = tuple(np.ascontiguousarray(a).tobytes() for a in arrays)
            key = (*key, rule.noise.encode())
            if key not in followed:
                followed[key] = list(self.after.rules(rule, drawn))
            for other in followed[key]:
                names = ("reduction", "sign", "gradient_clip", "step", "last_clip")
                changes: dict[str, Any] = {name: getattr(other, name) for name in names}
                joined = dataclasses.replace(rule, **changes)
                for accumulate, ending in itertools.product(
                    OPTIONS["accumulate"], OPTIONS["ending"]
                ):
                    if ending != "each step" and joined.last_clip is None:
                        continue
                    yield (
                        dataclasses.replace(joined, accumulate=accumulate, ending=ending),
                        drawn,
                    )
