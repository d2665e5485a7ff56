"""The ways to write one step of a sampler, and each simulated in NumPy.

A rule's numbers (the noise's scale, the step, the gradient clip) are either terms in a call's
arguments or, where no such term fits, read off the port's behaviour (:class:`Fitted`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.side.sampler_probe import Probe, ProbeCall, Setting

Limits = tuple[float, float]
Term = Callable[[Setting], float]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A number that was read off the port.

    Attributes:
        words: "always 10", or "0.35 * noise".
        values: the number in each call of the probe.
        kind: of a gradient clip, by "value" or by a norm.
        plain: it is a round number, or a round multiple of the argument.
    """

    words: str
    values: tuple[float, ...]
    kind: str = "value"
    plain: bool = True

    def __str__(self) -> str:
        return self.words


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Noise uniform between two numbers, in units of its scale."""

    words: str
    limits: Limits

    def __str__(self) -> str:
        return self.words


@dataclasses.dataclass(frozen=True)
class Rule:
    """One way to write the step; the defaults are the published one."""

    noise: str = "before"  # added before the gradient or after the update
    distribution: str | Uniform = "normal"
    shape: str = "each element"  # for what a number of its own is drawn
    draws: str = "each"  # at each step, only the first, once and the same at each, never
    noise_scale: str | Fitted = "noise"
    start: Limits | None = None  # a clip before the first step
    first_clip: Limits | None = (-1.0, 1.0)
    point: str = "noisy"  # noisy and clipped, noisy and unclipped, or the image before the noise
    reduction: str = "sum"
    sign: int = 1
    accumulate: str = "never"  # over steps, before or after the gradient clip
    gradient_clip: str | Fitted = "value"  # value, none, a part of it, or by a norm
    step: str | Fitted = "step_size"
    last_clip: Limits | None = (-1.0, 1.0)
    ending: str = "each step"  # or the last clip only "at the end"


SCALES: Mapping[str, Term] = {
    "noise": lambda s: s.noise,
    "noise ** 2": lambda s: s.noise**2,
    "noise ** 0.5": lambda s: s.noise**0.5,
    "1": lambda s: 1.0,
    "noise / 2": lambda s: s.noise / 2,
    "2 * noise": lambda s: 2 * s.noise,
    "noise * step_size": lambda s: s.noise * s.step_size,
    "(2 * step_size) ** 0.5": lambda s: (2 * s.step_size) ** 0.5,
    "step_size ** 0.5": lambda s: s.step_size**0.5,
}
SIZES: Mapping[str, Term] = {
    "step_size": lambda s: s.step_size,
    "step_size / 2": lambda s: s.step_size / 2,
    "2 * step_size": lambda s: 2 * s.step_size,
    "step_size ** 2": lambda s: s.step_size**2,
    "step_size / B": lambda s: s.step_size / s.batch,
    "step_size * B": lambda s: s.step_size * s.batch,
    "1": lambda s: 1.0,
}
RANGES: Mapping[str, Term] = {
    "value": lambda s: s.gradient_clip,
    "value / B": lambda s: s.gradient_clip / s.batch,
    "value * B": lambda s: s.gradient_clip * s.batch,
    "value / 2": lambda s: s.gradient_clip / 2,
    "value * 2": lambda s: s.gradient_clip * 2,
}
NORMS = ("norm", "torch norm", "image norm")

OPTIONS: Mapping[str, Sequence[Any]] = {
    "noise": ("before", "after"),
    "draws": ("each", "first", "same", "never"),
    "noise_scale": tuple(SCALES),
    "start": (None, (-1.0, 1.0)),
    "first_clip": ((-1.0, 1.0), None, (0.0, 1.0)),
    "point": ("noisy", "unclipped", "clean"),
    "reduction": ("sum", "mean"),
    "sign": (1, -1),
    "accumulate": ("never", "before the clip", "after the clip"),
    "gradient_clip": (
        "value",
        "none",
        "value / B",
        "value * B",
        "value / 2",
        "value * 2",
        *NORMS,
    ),
    "step": tuple(SIZES),
    "last_clip": ((-1.0, 1.0), None, (0.0, 1.0)),
    "ending": ("each step", "at the end"),
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A call of the probe, as a rule is simulated there.

    Attributes:
        number: of the call; of a fitted number's values, the one that holds here.
    """

    number: int
    call: ProbeCall
    setting: Setting

    @functools.cached_property
    def probe(self) -> Probe:
        return self.call.probe

    @functools.cached_property
    def images(self) -> np.ndarray:
        return self.call.case.images.astype(np.float64)

    def number_of(self, option: str | Fitted, terms: Mapping[str, Term]) -> float:
        if isinstance(option, Fitted):
            return option.values[self.number]
        return terms[option](self.setting)


Noise = Sequence[np.ndarray | None]
"""What is drawn for each step, before it is scaled; None where nothing was."""


def simulate(
    rule: Rule, place: Place, noise: Noise, steps: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """What calls of 1, 2, ... ``steps`` steps return, and the points where gradients are taken.

    Returns:
        Both (steps, B, H, W, C); None if the rule needs noise that was not drawn.
    """
    carried: Carried | None = Carried(clipped(place.images, rule.start))
    states, points = [], []
    for step in range(steps):
        assert carried is not None
        added = noise_of(rule, place, noise, step)
        if added is None:
            return None
        y, point = before_update(rule, carried.x, added)
        points.append(point)
        g, carried.total = gradient(rule, place, point, carried.total)
        x = y + place.number_of(rule.step, SIZES) * rule.sign * g
        if rule.noise == "after":
            x = x + added
        states.append(clipped(x, rule.last_clip))
        carried.x = states[-1] if rule.ending == "each step" else x
    return np.stack(states), np.stack(points)


@dataclasses.dataclass
class Carried:
    """What goes from one step to the next."""

    x: np.ndarray
    total: np.ndarray | float = 0.0


def noise_of(rule: Rule, place: Place, noise: Noise, step: int) -> np.ndarray | None:
    """What the rule adds at a step; None if that was not drawn."""
    if rule.draws == "never" or (rule.draws == "first" and step > 0):
        return np.zeros(1)
    z = noise[step if rule.draws == "each" else 0]
    if z is None:
        return None
    if isinstance(rule.distribution, Uniform):
        low, high = rule.distribution.limits
        z = low + (high - low) * z
    return np.asarray(z * place.number_of(rule.noise_scale, SCALES))


def before_update(rule: Rule, x: np.ndarray, added: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images that the update is added to, and those at which the gradient is taken."""
    noisy = x + added if rule.noise == "before" else x
    y = clipped(noisy, rule.first_clip)
    return y, {"noisy": y, "unclipped": noisy, "clean": x}[rule.point]


def gradient(
    rule: Rule, place: Place, point: np.ndarray, total: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray | float]:
    """The gradient that is followed, without its sign, and what is kept of it for the next step.

    The sign comes with the update; a clip is the same on both sides of zero.
    """
    g = place.probe.gradient(point)
    if rule.reduction == "mean":
        g = g / len(point)
    if rule.accumulate != "never":
        g = total = total + g
    g = gradient_clipped(g, rule.gradient_clip, place)
    return g, g if rule.accumulate == "after the clip" else total


def clipped(x: np.ndarray, limits: Limits | None) -> np.ndarray:
    return x if limits is None else np.asarray(np.clip(x, limits[0], limits[1]))


def gradient_clipped(g: np.ndarray, how: str | Fitted, place: Place) -> np.ndarray:
    if how == "none":
        return g
    kind, limit = "value", place.setting.gradient_clip
    if isinstance(how, Fitted):
        kind, limit = how.kind, how.values[place.number]
    elif how in RANGES:
        limit = RANGES[how](place.setting)
    else:
        kind = how
    if kind == "value":
        return np.asarray(np.clip(g, -limit, limit))
    return np.asarray(g * np.minimum(1.0, limit / norms(g, kind)))


def norms(g: np.ndarray, kind: str) -> np.ndarray:
    """By what a clip by norm divides: of all, as ``clip_grad_norm_`` has it, or of each image."""
    if kind == "image norm":
        return np.asarray(np.sqrt((g**2).sum(axis=(1, 2, 3), keepdims=True)))
    return np.asarray(np.linalg.norm(g) + (1e-6 if kind == "torch norm" else 0.0))


def departures(rule: Rule, from_rule: Rule) -> list[str]:
    """The fields in which two rules differ."""
    names = [field.name for field in dataclasses.fields(Rule)]
    return [name for name in names if getattr(rule, name) != getattr(from_rule, name)]


def near(base: Rule, count: int, fields: Sequence[str] = tuple(OPTIONS)) -> Iterator[Rule]:
    """Every rule with exactly ``count`` departures from ``base``, in these fields."""
    for names in itertools.combinations(fields, count):
        others = [[o for o in OPTIONS[name] if o != getattr(base, name)] for name in names]
        for chosen in itertools.product(*others):
            yield dataclasses.replace(base, **dict(zip(names, chosen, strict=True)))
