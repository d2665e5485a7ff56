"""What a sampler was seen to do in the probe's calls, and what a rule would do there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from parity.explain.sampler.draws import Drawn, drawn_by
from parity.explain.sampler.rules import Place, Rule, simulate
from parity.side.sampler_probe import Setting, probe_calls
from parity.values.cases import Case
from parity.values.randomness import Draw
from parity.values.traces import Trace


@dataclasses.dataclass(frozen=True)
class Observed:
    """What a sampler did in the probe's calls.

    Attributes:
        places: the calls.
        states: (steps, B, H, W, C) of each: what runs of 1, 2, ... steps return.
        points: the same of the images that the network was evaluated on; None if that is not known.
        drawn: ways to tell which numbers it used at which step.
        counts: how many steps were made in each run, if not 1, 2, ...
    """

    places: Sequence[Place]
    states: Sequence[np.ndarray]
    points: Sequence[np.ndarray] | None
    drawn: Sequence[Drawn]
    counts: Sequence[int] = ()

    @property
    def steps(self) -> int:
        return max(self.counts) if self.counts else len(self.states[0])

    @property
    def flat(self) -> np.ndarray:
        """What it returned, as one array."""
        return np.concatenate([s.ravel() for s in self.states])

    @property
    def size(self) -> float:
        return float(np.abs(self.flat).max()) or 1.0


@dataclasses.dataclass(frozen=True)
class Found:
    """A rule that behaves as a sampler does, and the draws on which it does."""

    rule: Rule
    drawn: Drawn


def places_of(case: Case) -> list[Place]:
    """Of the calls that the case stands for."""
    return [Place(n, call, Setting.of(call)) for n, call in enumerate(probe_calls(case))]


def followed(seen: Observed, found: Found) -> np.ndarray:
    """What ``seen.flat`` would be if the sampler followed the rule."""
    states = []
    for place in seen.places:
        done = simulate(found.rule, place, found.drawn.noise[place.number], seen.steps)
        assert done is not None
        states.append(returned(seen, place, done[0]).ravel())
    return np.concatenate(states)


def returned(seen: Observed, place: Place, states: np.ndarray) -> np.ndarray:
    """Of the images after each step, those that the runs return."""
    if not seen.counts:
        return states
    return np.concatenate([place.images[np.newaxis], states])[[*seen.counts]]


def last(trace: Trace, place: Place) -> np.ndarray:
    """The images that runs of 1, 2, ... steps of the call return."""
    return trace.arrays["float64"][f"{place.call.name}/last"]


def ways_to_see(trace: Trace, places: Sequence[Place], steps: int) -> list[tuple[Observed, str]]:
    """How steps may be told apart by where the network was evaluated; and, if their number is
    another than was asked for, that in words."""
    counts = [trace.notes["counts"][place.call.name][:steps] for place in places]
    logs = [[Draw(*draw) for draw in trace.notes["draws"][p.call.name]] for p in places]
    states = [last(trace, place)[:steps] for place in places]
    points = [trace.array("float64", f"{place.call.name}/points") for place in places]
    cases = [place.call.case for place in places]
    asked = [*range(1, steps + 1)]
    found: list[tuple[Observed, str]] = []

    def seen(parts: Sequence[np.ndarray] | None, made: Sequence[int] = ()) -> Observed:
        drawn = drawn_by(logs, cases, max(made) if made else steps)
        return Observed(places, states, parts, drawn, made)

    own = counts[0]
    alike = all(each == own for each in counts)
    known = [p for p in points if p is not None]
    if alike and len(known) == len(points) and own:
        if own == asked:
            found.append((seen([p[:steps] for p in known]), ""))
        elif all(n % a == 0 for n, a in zip(own, asked, strict=True)) and own[0] > 0:
            every = own[0]
            if own == [every * a for a in asked]:
                # Several evaluations a step, of which one is followed.
                for first in range(every):
                    found.append((seen([p[first::every][:steps] for p in known]), ""))
        more = own[0] - 1
        if more > 0 and own == [a + more for a in asked]:
            for first in (0, more):
                found.append((seen([p[first : first + steps] for p in known]), ""))
    if alike and own and own != asked and 0 < max(own) <= 1000:
        words = f"asked for {', '.join(map(str, asked))} steps it makes {', '.join(map(str, own))}"
        parts = [p[: max(own)] for p in known] if len(known) == len(points) else None
        found.append((seen(parts, own), words))
    if not (alike and own == asked and len(known) == len(points)):
        found.append((seen(None), ""))
    return found
