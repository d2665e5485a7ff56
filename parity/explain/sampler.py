"""Which update rule a sampler follows, read off its behaviour on a probe energy.

The probe is a small analytic energy, the same in both frameworks, so that a sampler is judged apart
from the network. Its gradients lie on both sides of the gradient clip, the states on both sides of,
and exactly on, the image range. Rules are simulated in NumPy on the very noise the sampler drew;
the reference's own rule is found first, and then the fewest departures from it that reproduce the
port.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.cases import Case, SamplerCall
from parity.explain.causes import Cause, Unexplained, verified
from parity.explain.events import from_exception
from parity.randomness import SharedRandomness, generator
from parity.traces import Trace

STEPS = 4
SHAPE = (3, 6, 5, 1)
NOISE, STEP_SIZE, GRADIENT_CLIP = 0.2, 10.0, 0.03
CURVATURE = 0.02
KEY = 41
LIVELY, QUIET = 0.1, 5e-5
"""Sizes of the two probes: gradients on both sides of the clip; and far below it, also in norm."""

MOST_DEPARTURES = 4
TABLED = 3  # departures up to which every rule is simulated once and kept
BOUND = 64 * float(np.finfo(np.float64).eps) * STEPS
"""Relative; a rule is 20 operations a step, so correct simulations agree far below this."""

BOUND32 = 64 * float(np.finfo(np.float32).eps) * STEPS
"""The same for a port that computes in float32."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """f(x) = sum of c sin(x - m) + 0.02 c x^2 over an image; c and m are (H, W, C)."""

    c: np.ndarray
    m: np.ndarray

    @classmethod
    def drawn(cls, size: float = LIVELY) -> Probe:
        rng = generator(KEY, "probe")
        return cls(size * rng.standard_normal(SHAPE[1:]), rng.uniform(-2, 2, SHAPE[1:]))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.c * np.cos(x - self.m) + 2 * CURVATURE * self.c * x)


def probe_case(low: float = -1.0, high: float = 1.0) -> Case:
    """States inside, outside and exactly on the image range."""
    rng = generator(KEY, "probe images")
    images = rng.uniform(1.4 * low, 1.4 * high, SHAPE)
    images = np.where(rng.random(SHAPE) < 0.2, rng.choice([low, high], SHAPE), images)
    call = SamplerCall(STEPS, STEP_SIZE, NOISE)
    return Case(weights={}, images=images.astype(np.float32), key=KEY, sampler=call)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One way to write the step; the defaults are the published one."""

    noise: str = "before"  # added before the gradient or after the update
    draws: str = "each"  # at each step, only the first, once and the same at each, never
    noise_scale: str = "noise"
    first_clip: tuple[float, float] | None = (-1.0, 1.0)
    point: str = "noisy"  # noisy and clipped, noisy and unclipped, or the image before the noise
    reduction: str = "sum"
    sign: int = 1
    accumulate: str = "never"  # over steps, before or after the gradient clip
    gradient_clip: str = "value"  # value, none, over or times B, by norm, by each image's norm
    step: str = "step_size"
    last_clip: tuple[float, float] | None = (-1.0, 1.0)


SCALES = {
    "noise": NOISE,
    "noise ** 2": NOISE**2,
    "noise ** 0.5": NOISE**0.5,
    "1": 1.0,
    "noise / 2": NOISE / 2,
    "2 * noise": 2 * NOISE,
    "noise * step_size": NOISE * STEP_SIZE,
    "(2 * step_size) ** 0.5": (2 * STEP_SIZE) ** 0.5,
}
SIZES = {
    "step_size": STEP_SIZE,
    "step_size / 2": STEP_SIZE / 2,
    "2 * step_size": 2 * STEP_SIZE,
    "step_size ** 2": STEP_SIZE**2,
    "step_size / B": STEP_SIZE / SHAPE[0],
    "step_size * B": STEP_SIZE * SHAPE[0],
    "1": 1.0,
}

RANGES = {
    "value": 1.0,
    "value / B": 1 / SHAPE[0],
    "value * B": float(SHAPE[0]),
    "value / 2": 0.5,
    "value * 2": 2.0,
}

OPTIONS: Mapping[str, Sequence[Any]] = {
    "noise": ("before", "after"),
    "draws": ("each", "first", "same", "never"),
    "noise_scale": tuple(SCALES),
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
        "norm",
        "torch norm",
        "image norm",
    ),
    "step": tuple(SIZES),
    "last_clip": ((-1.0, 1.0), None, (0.0, 1.0)),
}


def simulate(rule: Rule, case: Case, probe: Probe) -> np.ndarray:
    """The trajectory (steps, B, H, W, C) of ``rule`` on the case's noise."""
    assert case.sampler is not None
    x = case.images.astype(np.float64)
    stream = SharedRandomness(case.key, "NHWC")
    scale, accumulated, z = SCALES[rule.noise_scale], np.zeros_like(x), np.zeros_like(x)
    states = []
    for step in range(case.sampler.steps):
        if rule.draws == "each" or (rule.draws in ("first", "same") and step == 0):
            z = stream.normal(x.shape, "float32") * scale
        added = z if rule.draws in ("each", "same") or (rule.draws == "first" and step == 0) else 0
        clean = x
        if rule.noise == "before":
            x = x + added
        noisy = x
        x = _clipped(x, rule.first_clip)
        point = {"noisy": x, "unclipped": noisy, "clean": clean}[rule.point]
        g = probe.gradient(point) * rule.sign
        if rule.reduction == "mean":
            g = g / len(x)
        if rule.accumulate != "never":
            g = accumulated = accumulated + g
        g = _gradient_clipped(g, rule.gradient_clip)
        if rule.accumulate == "after the clip":
            accumulated = g
        x = x + SIZES[rule.step] * g
        if rule.noise == "after":
            x = x + added
        x = _clipped(x, rule.last_clip)
        states.append(x)
    return np.stack(states)


def _clipped(x: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    return x if limits is None else np.asarray(np.clip(x, limits[0], limits[1]))


def _gradient_clipped(g: np.ndarray, how: str) -> np.ndarray:
    if how in RANGES:
        limit = GRADIENT_CLIP * RANGES[how]
        return np.asarray(np.clip(g, -limit, limit))
    if how == "norm":
        return g * min(1.0, GRADIENT_CLIP / float(np.linalg.norm(g)))
    if how == "torch norm":
        return g * min(1.0, GRADIENT_CLIP / (float(np.linalg.norm(g)) + 1e-6))
    if how == "image norm":
        norms = np.sqrt((g**2).sum(axis=(1, 2, 3), keepdims=True))
        return np.asarray(g * np.minimum(1.0, GRADIENT_CLIP / norms))
    return g


def departures(rule: Rule, from_rule: Rule) -> list[str]:
    """The fields in which two rules differ."""
    names = [field.name for field in dataclasses.fields(Rule)]
    return [name for name in names if getattr(rule, name) != getattr(from_rule, name)]


def near(base: Rule, count: int) -> Iterator[Rule]:
    """Every rule with exactly ``count`` departures from ``base``."""
    for names in itertools.combinations(OPTIONS, count):
        others = [[o for o in OPTIONS[name] if o != getattr(base, name)] for name in names]
        for chosen in itertools.product(*others):
            yield dataclasses.replace(base, **dict(zip(names, chosen, strict=True)))


def behaviour(rule: Rule) -> np.ndarray:
    """What ``rule`` does on the lively probe and on the quiet one: both trajectories, flat."""
    case = probe_case()
    probes = (Probe.drawn(size) for size in (LIVELY, QUIET))
    return np.concatenate([simulate(rule, case, probe).ravel() for probe in probes])


def find(behaves: np.ndarray, base: Rule, bound: float = BOUND) -> list[Rule]:
    """The rules that behave so, fewest departures from ``base`` first.

    After those with the fewest come other readings: rules with up to ``TABLED`` departures that
    behave alike and contain none of the first.
    """
    limit = bound * float(np.abs(behaves).max())
    rules, known = _table(base)
    found = [rules[n] for n in np.flatnonzero(np.abs(known - behaves).max(axis=1) <= limit)]
    for count in range(TABLED + 1, MOST_DEPARTURES + 1):
        if not found:
            candidates = near(base, count)
            found = [r for r in candidates if np.abs(behaviour(r) - behaves).max() <= limit]
    return _readings(found, base)


@functools.cache
def _table(base: Rule) -> tuple[list[Rule], np.ndarray]:
    """Every rule with few departures from ``base``, and its behaviour."""
    rules = [rule for count in range(TABLED + 1) for rule in near(base, count)]
    return rules, np.stack([behaviour(rule) for rule in rules])


def _readings(found: Sequence[Rule], base: Rule) -> list[Rule]:
    """Without those that only add to another what makes no difference."""
    kept: list[Rule] = []
    for rule in found:
        mine = _changes(rule, base)
        if not any(_changes(other, base) < mine for other in kept):
            kept.append(rule)
    return kept


def _changes(rule: Rule, base: Rule) -> set[tuple[str, Any]]:
    return {(name, getattr(rule, name)) for name in departures(rule, base)}


FAULTS: Mapping[tuple[str, Any], str] = {
    ("noise", "after"): "noise-after-update",
    ("draws", "never"): "noise-missing",
    ("draws", "first"): "noise-missing",
    ("draws", "same"): "noise-reused",
    ("first_clip", None): "clip-missing",
    ("last_clip", None): "clip-missing",
    ("first_clip", (0.0, 1.0)): "clip-range",
    ("last_clip", (0.0, 1.0)): "clip-range",
    ("reduction", "mean"): "gradient-mean",
    ("sign", -1): "update-sign",
    ("gradient_clip", "none"): "gradient-clip-missing",
    **{("gradient_clip", how): "gradient-clip-range" for how in RANGES},
}
BY_FIELD = {
    "point": "gradient-point",
    "accumulate": "gradient-accumulated",
    "noise_scale": "noise-scale",
    "gradient_clip": "gradient-clip-norm",
    "step": "step-size",
}
PLACES = {
    "noise": "the noise",
    "draws": "the noise",
    "noise_scale": "the noise",
    "first_clip": "the clip after the noise",
    "point": "the gradient",
    "reduction": "the gradient",
    "sign": "the update",
    "accumulate": "the gradient",
    "gradient_clip": "the gradient clip",
    "step": "the update",
    "last_clip": "the clip after the update",
}
PARTS = {
    "noise": "noise",
    "draws": "noise",
    "noise_scale": "noise/scale",
    "first_clip": "noise clip",
    "point": "gradient/point",
    "reduction": "gradient/reduction",
    "sign": "update/sign",
    "accumulate": "gradient/accumulated",
    "gradient_clip": "gradient clip",
    "step": "update/step",
    "last_clip": "update clip",
}
"""The part of ``generate_samples`` that a field of a rule is about (``torch_side.places``)."""


def explain_sampler(reference: Trace, port: Trace) -> tuple[list[Cause], list[Unexplained]]:
    """What the port's sampler does otherwise than the reference's, on the probe.

    Args:
        reference, port: answers to the ``probe`` request: ``samples``, and ``last`` (the result of
            separate calls of 1, 2, ... steps); notes ``raised`` and ``evaluations``.
    """
    raised = port.notes.get("raised")
    if raised is not None:
        cause = from_exception(raised, port.notes["evaluations"])
        if cause is not None:
            return [cause], []
        return [], [
            Unexplained(
                "generate_samples",
                f"on the probe energy it raises {raised}",
                "generate_samples/raised",
            )
        ]
    causes: list[Cause] = []
    bound = BOUND
    if port.notes.get("not_float64"):
        operations = ", ".join(port.notes["not_float64"])
        evidence = f"in a float64 run it computes in float32 at {operations}"
        causes.append(
            Cause("dtype", "generate_samples", evidence=evidence, part="generate_samples/dtype")
        )
        bound = BOUND32
    truth, ours = reference.arrays["float64"]["last"], port.arrays["float64"]["last"]
    trajectory = port.array("float64", "samples")
    if trajectory is not None and _aliased(trajectory, ours):
        causes.append(
            Cause(
                "trajectory-aliased",
                "return_every_step",
                _relative(trajectory, ours),
                0.0,
                "stored steps are changed by later ones: runs of fewer steps end elsewhere than "
                "the trajectory says",
                part="generate_samples/stored",
            )
        )
    if ours.shape != truth.shape:
        evidence = f"its samples have shape {ours.shape[1:]}, the reference's {truth.shape[1:]}"
        return causes, [Unexplained("generate_samples", evidence, "generate_samples")]
    expected, behaves = _behaved(reference), _behaved(port)
    before = _relative(behaves, expected)
    if before <= bound:
        return causes, []
    rules = find(expected, Rule())
    if not rules:
        evidence = "the reference's own step is none of the rules that are known"
        return causes, [Unexplained("generate_samples", evidence, "generate_samples")]
    when = _when(ours, truth, bound)
    found = find(behaves, rules[0], bound)
    if not found:
        evidence = (
            f"on the probe energy it is otherwise {when}, by {before:.2g} of the largest element, "
            f"and no rule with up to {MOST_DEPARTURES} departures does the same"
        )
        return causes, [Unexplained("generate_samples", evidence, "generate_samples")]
    rule = found[0]
    after = _relative(behaves, behaviour(rule))
    if not verified(before, after, bound):
        return causes, [
            Unexplained("generate_samples", "a rule was found and did not hold", "generate_samples")
        ]
    drawn = _Drawn.of(reference, port)
    others = [(_words(r, rules[0]), _all_ids(r, rules[0], drawn)) for r in found[1:4]]
    for name in departures(rule, rules[0]):
        value, own = getattr(rule, name), getattr(rules[0], name)
        for id_ in _ids(name, value, drawn):
            causes.append(
                Cause(
                    id_,
                    f"generate_samples, {PLACES[name]}",
                    before,
                    after,
                    f"{name.replace('_', ' ')}: {_shown(value)}, the reference's {_shown(own)}; "
                    f"with this, a simulation of the step on the probe energy reproduces the port, "
                    f"which is otherwise {when}",
                    reading="; or ".join(words for words, _ in others),
                    reading_ids=tuple(ids for _, ids in others),
                    part=f"generate_samples/{PARTS[name]}",
                )
            )
    return causes, []


def _behaved(trace: Trace) -> np.ndarray:
    arrays = trace.arrays["float64"]
    return np.concatenate([arrays["last"].ravel(), arrays["quiet"].ravel()])


def _when(ours: np.ndarray, truth: np.ndarray, bound: float) -> str:
    """From which step on two trajectories differ, in words."""
    differences = np.abs(ours - truth).reshape(len(truth), -1).max(axis=1)
    wrong = ~(differences <= bound * np.abs(truth).max())
    return f"from step {int(np.argmax(wrong))} on" if wrong.any() else "where gradients are small"


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """What a port draws whose samples have no noise.

    Attributes:
        any: it draws.
        less: less often than the reference.
        later: after the network was evaluated, where the reference draws before.
    """

    any: bool
    less: bool
    later: bool

    @classmethod
    def of(cls, reference: Trace, port: Trace) -> _Drawn:
        expected, ours = (
            [draw.position for draw in trace.draws if draw.family == "normal"]
            for trace in (reference, port)
        )
        return cls(bool(ours), len(ours) < len(expected), ours[:1] > expected[:1])


def _ids(name: str, value: Any, drawn: _Drawn) -> tuple[str, ...]:
    if (name, value) == ("draws", "never") and drawn.any:
        also = ("noise-missing",) * drawn.less + ("noise-after-update",) * drawn.later
        return ("noise-discarded", *also)
    return (FAULTS.get((name, value)) or BY_FIELD[name],)


def _all_ids(rule: Rule, base: Rule, drawn: _Drawn) -> tuple[str, ...]:
    return tuple(
        id_ for name in departures(rule, base) for id_ in _ids(name, getattr(rule, name), drawn)
    )


def _words(rule: Rule, base: Rule) -> str:
    names = departures(rule, base)
    return " and ".join(f"{n.replace('_', ' ')} {_shown(getattr(rule, n))}" for n in names)


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _aliased(trajectory: np.ndarray, last: np.ndarray) -> bool:
    if trajectory.shape != last.shape or len(last) < 2:
        return False
    differ = any(not np.array_equal(a, b) for a, b in zip(trajectory, last, strict=True))
    return differ and np.array_equal(trajectory[-1], last[-1])


def _relative(ours: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(ours - truth).max() / max(np.abs(truth).max(), 1e-300))
