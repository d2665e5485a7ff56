"""What a sampler does before it evaluates the network: its noise, and the clip after it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from parity.explain.sampler.draws import Drawn
from parity.explain.sampler.first_step import FirstStep
from parity.explain.sampler.fits import fit, fitted, fitted_uniform
from parity.explain.sampler.rules import (
    OPTIONS,
    SCALES,
    Fitted,
    Limits,
    Place,
    Rule,
    before_update,
    clipped,
    noise_of,
)


class BeforeNetwork:
    """The rules that lead to the first step's points."""

    def __init__(self, first: FirstStep) -> None:
        self.first = first
        # They are asked for again with every rule that starts alike and draws alike.
        self._early_noise = functools.cache(self._early_noise_of)
        self._late_noise = functools.cache(self._late_noise_of)

    def rules(self) -> Iterator[tuple[Rule, Drawn]]:
        """Rules that lead to the first step's points, whatever comes after."""
        assert self.first.seen.points is not None
        clips = self.first.clips("first_clip")
        for drawn, start in itertools.product(
            self.first.seen.drawn, (self.first.base.start, *self._starts())
        ):
            rule = dataclasses.replace(self.first.base, start=start, shape=drawn.shape)
            for noise, draws in itertools.product(OPTIONS["noise"], OPTIONS["draws"]):
                if draws == "never" and (
                    noise != self.first.base.noise or drawn is not self.first.seen.drawn[0]
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
                        if all(self._has_point(tried, drawn, p) for p in self.first.seen.places):
                            yield tried, drawn

    def _starts(self) -> list[Limits]:
        return [clip for clip in self.first.clips("last_clip") if clip is not None]

    def _scales(self, rule: Rule, drawn: Drawn) -> Iterator[Rule]:
        """With every scale that the noise may have; if it comes late, every one that it seems to
        have, for then it shows in the images alone."""
        if rule.draws == "never":
            yield rule
            return
        unknown = bool(self.first.seen.counts)  # the images after the first step are
        late = rule.noise == "after" or all(
            self.first.same(self.first.point(p), clipped(p.images, rule.start))
            for p in self.first.seen.places
        )
        solved: list[np.ndarray | None] = [None] * len(self.first.seen.places)
        if not late:
            solved = self._early_noise(rule.start, drawn)
        elif not unknown:
            solved = self._late_noise(rule.start, drawn)
        if drawn.family == "normal":
            for scale in SCALES:
                if not late or all(
                    s is None or abs(p.number_of(scale, SCALES) - abs(s[-1])) <= 1e-6 * abs(s[-1])
                    for p, s in zip(self.first.seen.places, solved, strict=True)
                ):
                    yield dataclasses.replace(rule, noise_scale=scale)
            if isinstance(self.first.base.noise_scale, Fitted):
                yield rule
        yield from self._with_noise(rule, drawn, solved)

    def _early_noise_of(self, start: Limits | None, drawn: Drawn) -> list[np.ndarray | None]:
        """The noise in the points, in terms of what was drawn."""
        solved = []
        for place in self.first.seen.places:
            point = self.first.point(place)
            columns = self._noise_columns(drawn, place)
            target = point - clipped(place.images, start)
            solved.append(fit(columns, target, self.first.inside(point)))
        return solved

    def _late_noise_of(self, start: Limits | None, drawn: Drawn) -> list[np.ndarray | None]:
        """The noise in the images, where the gradient is the only other thing that is added."""
        solved = []
        for place in self.first.seen.places:
            state = self.first.state(place)
            g = place.probe.gradient(self.first.point(place))
            columns = [g, *self._noise_columns(drawn, place)]
            target = state - clipped(place.images, start)
            solved.append(fit(columns, target, self.first.inside(state)))
        return solved

    @staticmethod
    def _noise_columns(drawn: Drawn, place: Place) -> list[np.ndarray]:
        z = drawn.noise[place.number][0]
        assert z is not None
        return [z] if drawn.family == "normal" else [np.ones(1), z]

    def _with_noise(
        self, rule: Rule, drawn: Drawn, solved: Sequence[np.ndarray | None]
    ) -> Iterator[Rule]:
        settings = [place.setting for place in self.first.seen.places]
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

    def _has_point(self, rule: Rule, drawn: Drawn, place: Place) -> bool:
        added = noise_of(rule, place, drawn.noise[place.number], 0) if rule.noise == "before" else 0
        if added is None:
            return False
        images = clipped(place.images, rule.start)
        _, point = before_update(rule, images, np.asarray(added))
        return self.first.same(point, self.first.point(place))
