"""What a sampler does once it has the gradient: the gradient clip, the update and its clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from parity.explain.sampler.draws import Drawn
from parity.explain.sampler.first_step import FirstStep
from parity.explain.sampler.fits import agree, fit, fitted
from parity.explain.sampler.rules import (
    NORMS,
    OPTIONS,
    RANGES,
    SIZES,
    Fitted,
    Limits,
    Place,
    Rule,
    before_update,
    clipped,
    gradient,
    noise_of,
    norms,
)

Update = tuple[np.ndarray, np.ndarray, np.ndarray]
"""What the update is added to, the update, and the noise that is added after it."""


class AfterNetwork:
    """The rules that lead from the first step's points to its images."""

    def __init__(self, first: FirstStep) -> None:
        self.first = first

    def rules(self, rule: Rule, drawn: Drawn) -> Iterator[Rule]:
        """Those that do before the network what ``rule`` does, on these draws."""
        updates = []
        factors: list[float | None] = []
        for place in self.first.seen.places:
            y, added = self.at_update(rule, drawn, place)
            moved = self.first.state(place) - y - added
            g = place.probe.gradient(self.first.point(place))
            found = fit([g], moved, self.first.inside(self.first.state(place)))
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
        settings = [place.setting for place in self.first.seen.places]
        clips = self.first.clips("last_clip")
        for reduction in OPTIONS["reduction"]:
            batch = [s.batch if reduction == "mean" else 1 for s in settings]
            steps: list[str | Fitted] = list(SIZES)
            if isinstance(self.first.base.step, Fitted):
                steps.append(self.first.base.step)
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
            for place, (y, _, added) in zip(self.first.seen.places, updates, strict=True):
                g, _ = gradient(rule, place, self.first.point(place), 0.0)
                x = y + place.number_of(rule.step, SIZES) * sign * g + added
                state = self.first.state(place)
                left = [clip for clip in left if self.first.same(clipped(x, clip), state)]
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
        if isinstance(self.first.base.gradient_clip, Fitted):
            found.append(self.first.base.gradient_clip)
        settings = [place.setting for place in self.first.seen.places]
        limits: list[float | None] = []
        by_norm: dict[str, list[float | None]] = {kind: [] for kind in NORMS}
        for place, (_, moved, _), factor in zip(
            self.first.seen.places, updates, factors, strict=True
        ):
            size = place.number_of(rule.step, SIZES)
            g = place.probe.gradient(self.first.point(place))
            g = g / len(g) if rule.reduction == "mean" else g
            if size == 0 or not np.isfinite(size):
                return found
            u = np.abs(moved / size)[self.first.inside(self.first.state(place))]
            own = np.abs(g)[self.first.inside(self.first.state(place))]
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
        inside = self.first.inside(self.first.state(place))
        lengths = []
        for own, shrunk, at in zip(g, u, inside, strict=True):
            share = fit([own], shrunk, at)
            if share is None or abs(share[0]) > 1 - 1e-6:
                return np.zeros(0)
            lengths.append(abs(float(share[0])) * float(np.linalg.norm(own)))
        return np.array(lengths)

    def at_update(self, rule: Rule, drawn: Drawn, place: Place) -> tuple[np.ndarray, np.ndarray]:
        """What the update is added to, and the noise that is added after it."""
        added = noise_of(rule, place, drawn.noise[place.number], 0)
        assert added is not None
        y, _ = before_update(rule, clipped(place.images, rule.start), added)
        return y, added if rule.noise == "after" else np.zeros(1)
