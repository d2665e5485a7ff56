"""Which rules behave as a sampler does: numbers are solved for, options tried, all verified.

A step is taken apart where the network is evaluated. What comes before has to lead to the points at
which the gradient was taken; what comes after, to the images that were returned. A rule counts only
if its simulation, from the first images on, agrees with every point and every image to the bound.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from parity.explain.probe import Setting, probe_calls, probe_case
from parity.explain.sampler_draws import Drawn
from parity.explain.sampler_fits import agree, fit, fitted, fitted_uniform, limits_in, plain
from parity.explain.sampler_rules import (
    NORMS,
    OPTIONS,
    RANGES,
    SCALES,
    SIZES,
    Fitted,
    Limits,
    Place,
    Rule,
    Uniform,
    before_update,
    clipped,
    departures,
    gradient,
    near,
    noise_of,
    norms,
    simulate,
)
from parity.randomness import SharedRandomness

BLIND = 3
"""Departures up to which rules are tried where it is not known at which points a port evaluates."""

READINGS = 3
"""Departures up to which a rule is told as another reading of one with fewer."""

AFTER = ("reduction", "sign", "accumulate", "gradient_clip", "step", "last_clip", "ending")
"""What of a rule is about the update."""

PATIENCE = 8.0
"""Seconds for one search."""

BOUND = 64 * float(np.finfo(np.float64).eps) * 4
"""Relative; a rule is 20 operations a step, so correct simulations agree far below this."""


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


def places_of(case: Any = None, default_clip: float = float("nan")) -> list[Place]:
    """Of the calls that the case stands for."""
    calls = probe_calls(probe_case() if case is None else case)
    return [Place(n, call, Setting.of(call, default_clip)) for n, call in enumerate(calls)]


def in_order(places: Sequence[Place], steps: int) -> Drawn:
    """One draw for each step, and no other."""
    noise = []
    for place in places:
        stream = SharedRandomness(place.call.case.key, "NHWC")
        noise.append([stream.normal(place.images.shape, "float64") for _ in range(steps)])
    return Drawn("normal", "each element", tuple(noise), tuple(range(steps)))


def behaviour(rule: Rule, places: Sequence[Place] | None = None, steps: int = 4) -> Observed:
    """What ``rule`` does in the probe's calls."""
    places = places_of() if places is None else places
    drawn = in_order(places, steps)
    done = [simulate(rule, p, drawn.noise[p.number], steps) for p in places]
    states, points = zip(*(each for each in done if each is not None), strict=True)
    return Observed(places, states, points, [drawn])


def find(seen: Observed, base: Rule, bound: float = BOUND) -> list[Rule]:
    """The rules of :func:`search`."""
    return [found.rule for found in search(seen, base, bound)]


def search(seen: Observed, base: Rule, bound: float = BOUND) -> list[Found]:
    """The rules that behave so, fewest departures from ``base`` first, then round numbers first.

    After those with the fewest come other readings: rules with up to ``READINGS`` departures that
    behave alike and contain none of the first.
    """
    return _Search(seen, base, bound).found()


def followed(seen: Observed, found: Found) -> np.ndarray:
    """What ``seen.flat`` would be if the sampler followed the rule."""
    states = []
    for place in seen.places:
        done = simulate(found.rule, place, found.drawn.noise[place.number], seen.steps)
        assert done is not None
        states.append(_returned(seen, place, done[0]).ravel())
    return np.concatenate(states)


def _returned(seen: Observed, place: Place, states: np.ndarray) -> np.ndarray:
    """Of the images after each step, those that the runs return."""
    if not seen.counts:
        return states
    return np.concatenate([place.images[np.newaxis], states])[[*seen.counts]]


Update = tuple[np.ndarray, np.ndarray, np.ndarray]
"""What the update is added to, the update, and the noise that is added after it."""


class _Search:
    def __init__(self, seen: Observed, base: Rule, bound: float) -> None:
        self.seen, self.base, self.bound = seen, base, bound
        self.limit = bound * seen.size
        self.ends = time.monotonic() + PATIENCE
        self._late: dict[tuple[Limits | None, int], list[np.ndarray | None]] = {}

    def found(self) -> list[Found]:
        if self.seen.points is None:
            tried = self._blindly()
        else:
            tried = self._half_blindly() if self.seen.counts else self._candidates()
        found: dict[Rule, Found] = {}
        for rule, drawn in tried:
            if time.monotonic() > self.ends:
                break
            if rule not in found and self.agrees(rule, drawn):
                found[rule] = Found(rule, drawn)
        return self._readings(sorted(found.values(), key=self._cost))

    def agrees(self, rule: Rule, drawn: Drawn) -> bool:
        """Whether a simulation has every point and every image."""
        for place in self.seen.places:
            done = simulate(rule, place, drawn.noise[place.number], self.seen.steps)
            if done is None:
                return False
            if not self._same(_returned(self.seen, place, done[0]), self._states(place)):
                return False
            points = self.seen.points
            if points is not None and not self._same(done[1], points[place.number]):
                return False
        return True

    def _states(self, place: Place) -> np.ndarray:
        return self.seen.states[place.number]

    def _same(self, ours: np.ndarray, theirs: np.ndarray) -> bool:
        return bool((np.abs(ours - theirs) <= self.limit).all())

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
                if time.monotonic() > self.ends:
                    return
            if some:
                return

    def _half_blindly(self) -> Iterator[tuple[Rule, Drawn]]:
        """Without the images after the first step: what leads to its points, and few departures
        in the rest."""
        before = list(self._before())
        for count in range(BLIND):
            some = False
            for rule, drawn in before:
                for each in near(rule, count, AFTER):
                    if self._begins(each, drawn):
                        some = True
                        yield each, drawn
                    if time.monotonic() > self.ends:
                        return
            if some:
                return

    def _begins(self, rule: Rule, drawn: Drawn) -> bool:
        """Whether the first run of the first call is as the rule has it."""
        place, steps = self.seen.places[0], self.seen.counts[0] if self.seen.counts else 1
        if steps == 0:
            return True
        done = simulate(rule, place, drawn.noise[0], steps)
        return done is not None and self._same(done[0][-1], self._state(place))

    def _candidates(self) -> Iterator[tuple[Rule, Drawn]]:
        """Rules that have the first step's points and images."""
        before = list(self._before())
        followed: dict[tuple[bytes, ...], list[Rule]] = {}
        for rule, drawn in before:
            arrays = [a for p in self.seen.places for a in self._at_update(rule, drawn, p)]
            key = tuple(np.ascontiguousarray(a).tobytes() for a in arrays)
            key = (*key, rule.noise.encode())
            if key not in followed:
                followed[key] = list(self._after(rule, drawn))
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

    # Before the network is evaluated.

    def _before(self) -> Iterator[tuple[Rule, Drawn]]:
        """Rules that lead to the first step's points, whatever comes after."""
        assert self.seen.points is not None
        clips = self._clips("first_clip")
        for drawn, start in itertools.product(self.seen.drawn, (self.base.start, *self._starts())):
            rule = dataclasses.replace(self.base, start=start, shape=drawn.shape)
            for noise, draws in itertools.product(OPTIONS["noise"], OPTIONS["draws"]):
                if draws == "never" and (
                    noise != self.base.noise or drawn is not self.seen.drawn[0]
                ):
                    continue
                if draws != "never" and drawn.noise[0][0] is None:
                    continue
                if draws == "each" and None in drawn.used:
                    continue
                rule = dataclasses.replace(rule, noise=noise, draws=draws)
                for scaled in self._scales(rule, drawn):
                    for clip, point in itertools.product(clips, OPTIONS["point"]):
                        tried = dataclasses.replace(scaled, first_clip=clip, point=point)
                        if all(self._has_point(tried, drawn, p) for p in self.seen.places):
                            yield tried, drawn

    def _starts(self) -> list[Limits]:
        return [clip for clip in self._clips("last_clip") if clip is not None]

    def _clips(self, name: str) -> list[Limits | None]:
        """The base's, those of others, and what extreme values say that occur again."""
        found: list[Limits | None] = [getattr(self.base, name), *OPTIONS[name]]
        for arrays in (self.seen.points, self.seen.states):
            if arrays is not None:
                found.append(limits_in([array[0] for array in arrays]))
                found.append(limits_in(arrays))
        return list(dict.fromkeys(found))

    def _scales(self, rule: Rule, drawn: Drawn) -> Iterator[Rule]:
        """With every scale that the noise may have; if it comes late, every one that it seems to
        have, for then it shows in the images alone."""
        if rule.draws == "never":
            yield rule
            return
        unknown = bool(self.seen.counts)  # the images after the first step are
        late = rule.noise == "after" or all(
            self._same(self._point(p), clipped(p.images, rule.start)) for p in self.seen.places
        )
        solved: list[np.ndarray | None] = [None] * len(self.seen.places)
        if not late:
            solved = self._early_noise(rule, drawn)
        elif not unknown:
            solved = self._late_noise(rule.start, drawn)
        if drawn.family == "normal":
            for scale in SCALES:
                if not late or all(
                    s is None or abs(p.number_of(scale, SCALES) - abs(s[-1])) <= 1e-6 * abs(s[-1])
                    for p, s in zip(self.seen.places, solved, strict=True)
                ):
                    yield dataclasses.replace(rule, noise_scale=scale)
            if isinstance(self.base.noise_scale, Fitted):
                yield rule
        yield from self._with_noise(rule, drawn, solved)

    def _early_noise(self, rule: Rule, drawn: Drawn) -> list[np.ndarray | None]:
        """The noise in the points, in terms of what was drawn."""
        solved = []
        for place in self.seen.places:
            target = self._point(place) - clipped(place.images, rule.start)
            columns = self._noise_columns(drawn, place)
            solved.append(fit(columns, target, self._inside(self._point(place))))
        return solved

    def _late_noise(self, start: Limits | None, drawn: Drawn) -> list[np.ndarray | None]:
        """The noise in the images, where the gradient is the only other thing that is added."""
        key = (start, id(drawn))
        if key not in self._late:
            self._late[key] = []
            for place in self.seen.places:
                g = place.probe.gradient(self._point(place))
                target = self._state(place) - clipped(place.images, start)
                columns = [g, *self._noise_columns(drawn, place)]
                self._late[key].append(fit(columns, target, self._inside(self._state(place))))
        return self._late[key]

    @staticmethod
    def _noise_columns(drawn: Drawn, place: Place) -> list[np.ndarray]:
        z = drawn.noise[place.number][0]
        assert z is not None
        return [z] if drawn.family == "normal" else [np.ones(1), z]

    def _with_noise(
        self, rule: Rule, drawn: Drawn, solved: Sequence[np.ndarray | None]
    ) -> Iterator[Rule]:
        settings = [place.setting for place in self.seen.places]
        if drawn.family == "normal":
            values = [None if s is None else float(s[-1]) for s in solved]
            scale = fitted(values, "noise", settings, SCALES)
            if scale is not None:
                yield dataclasses.replace(rule, noise_scale=scale)
        elif all(s is not None for s in solved):
            pairs = [(float(s[-2]), float(s[-2] + s[-1])) for s in solved if s is not None]
            uniform = fitted_uniform(pairs, settings, SCALES)
            if uniform is not None:
                yield dataclasses.replace(rule, distribution=uniform[0], noise_scale=uniform[1])

    def _inside(self, values: np.ndarray) -> np.ndarray:
        """Which elements lie on no clip's limit."""
        limits = limits_in([values])
        on = np.zeros(values.shape, bool)
        for limit in limits or ():
            on |= values == limit
        return ~on

    def _point(self, place: Place) -> np.ndarray:
        assert self.seen.points is not None
        points: np.ndarray = self.seen.points[place.number][0]
        return points

    def _state(self, place: Place) -> np.ndarray:
        state: np.ndarray = self.seen.states[place.number][0]
        return state

    def _has_point(self, rule: Rule, drawn: Drawn, place: Place) -> bool:
        added = noise_of(rule, place, drawn.noise[place.number], 0) if rule.noise == "before" else 0
        if added is None:
            return False
        images = clipped(place.images, rule.start)
        _, point = before_update(rule, images, np.asarray(added))
        return self._same(point, self._point(place))

    def _at_update(self, rule: Rule, drawn: Drawn, place: Place) -> tuple[np.ndarray, np.ndarray]:
        """What the update is added to, and the noise that is added after it."""
        added = noise_of(rule, place, drawn.noise[place.number], 0)
        assert added is not None
        y, _ = before_update(rule, clipped(place.images, rule.start), added)
        return y, added if rule.noise == "after" else np.zeros(1)

    # After it.

    def _after(self, rule: Rule, drawn: Drawn) -> Iterator[Rule]:
        """Rules that lead from the first step's points to its images."""
        updates = []
        factors: list[float | None] = []
        for place in self.seen.places:
            y, added = self._at_update(rule, drawn, place)
            moved = self._state(place) - y - added
            g = place.probe.gradient(self._point(place))
            found = fit([g], moved, self._inside(self._state(place)))
            factors.append(None if found is None else float(found[0]))
            updates.append((y, moved, added))
        yield from self._updates(rule, updates, factors)

    def _updates(
        self,
        rule: Rule,
        updates: Sequence[Update],
        factors: Sequence[float | None],
    ) -> Iterator[Rule]:
        """Every reduction, step, sign and clip with which the update is what it is."""
        settings = [place.setting for place in self.seen.places]
        clips = self._clips("last_clip")
        for reduction in OPTIONS["reduction"]:
            batch = [s.batch if reduction == "mean" else 1 for s in settings]
            steps: list[str | Fitted] = list(SIZES)
            if isinstance(self.base.step, Fitted):
                steps.append(self.base.step)
            sizes = [None if f is None else abs(f) * n for f, n in zip(factors, batch, strict=True)]
            quiet = [None] * (len(sizes) - 1) + sizes[-1:]  # where no clip changes the factor
            for each in (
                fitted(sizes, "step_size", settings, SIZES),
                fitted(quiet, "step_size", settings, SIZES),
            ):
                if each is not None and each not in steps:
                    steps.append(each)
            for step in steps:
                sized = dataclasses.replace(rule, reduction=reduction, step=step)
                for how in self._gradient_clips(sized, updates, factors):
                    tried = dataclasses.replace(sized, gradient_clip=how)
                    yield from self._last(tried, updates, clips)

    def _last(
        self,
        rule: Rule,
        updates: Sequence[Update],
        clips: Sequence[Limits | None],
    ) -> Iterator[Rule]:
        for sign in OPTIONS["sign"]:
            left = list(clips)
            for place, (y, _, added) in zip(self.seen.places, updates, strict=True):
                g, _ = gradient(rule, place, self._point(place), 0.0)
                x = y + place.number_of(rule.step, SIZES) * sign * g + added
                state = self._state(place)
                left = [clip for clip in left if self._same(clipped(x, clip), state)]
                if not left:
                    break
            for clip in left:
                yield dataclasses.replace(rule, sign=sign, last_clip=clip)

    def _gradient_clips(
        self,
        rule: Rule,
        updates: Sequence[Update],
        factors: Sequence[float | None],
    ) -> list[str | Fitted]:
        """The known ones, and those whose limits the updates show."""
        found: list[str | Fitted] = list(OPTIONS["gradient_clip"])
        if isinstance(self.base.gradient_clip, Fitted):
            found.append(self.base.gradient_clip)
        settings = [place.setting for place in self.seen.places]
        limits: list[float | None] = []
        by_norm: dict[str, list[float | None]] = {kind: [] for kind in NORMS}
        for place, (_, moved, _), factor in zip(self.seen.places, updates, factors, strict=True):
            size = place.number_of(rule.step, SIZES)
            g = place.probe.gradient(self._point(place))
            g = g / len(g) if rule.reduction == "mean" else g
            if size == 0 or not np.isfinite(size):
                return found
            u = np.abs(moved / size)[self._inside(self._state(place))]
            own = np.abs(g)[self._inside(self._state(place))]
            smaller = np.sort(u[u < own * (1 - 1e-6)])
            limits.append(agree(smaller))
            share = (
                None
                if factor is None
                else abs(factor) * (len(g) if rule.reduction == "mean" else 1) / abs(size)
            )
            for kind in ("norm", "torch norm"):
                shrunk = share is not None and share < 1 - 1e-6
                by_norm[kind].append(
                    float(share * norms(g, kind)) if shrunk and share is not None else None
                )
            by_norm["image norm"].append(
                agree(np.sort(self._by_image(place, g, moved / size)), least=len(g))
            )
        for kind, values in (("value", limits), *by_norm.items()):
            terms = RANGES if kind == "value" else {"value": RANGES["value"]}
            each = fitted(values, "gradient_clip", settings, terms, kind=kind)
            if each is not None:
                found.append(each)
        return found

    def _by_image(self, place: Place, g: np.ndarray, u: np.ndarray) -> np.ndarray:
        """The length to which each image's gradient is shrunk; empty where one is not."""
        inside = self._inside(self._state(place))
        lengths = []
        for own, shrunk, at in zip(g, u, inside, strict=True):
            share = fit([own], shrunk, at)
            if share is None or abs(share[0]) > 1 - 1e-6:
                return np.zeros(0)
            lengths.append(abs(float(share[0])) * float(np.linalg.norm(own)))
        return np.array(lengths)
