"""What a port's sampler does otherwise than the reference's, read off its behaviour on the probe.

The reference's own rule is found first, and then the fewest departures from it that reproduce the
port (``sampler_search``); this module says them in words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.cases import Case
from parity.explain.causes import Cause, Unexplained, verified
from parity.explain.events import from_exception, told_of
from parity.explain.probe import NAMES
from parity.explain.sampler_draws import FAMILIES, differently, drawn_by
from parity.explain.sampler_fits import limits_in
from parity.explain.sampler_rules import (
    RANGES,
    SIZES,
    Fitted,
    Place,
    Rule,
    Uniform,
    clipped,
    departures,
    gradient,
)
from parity.explain.sampler_search import BOUND, Found, Observed, followed, places_of, search
from parity.randomness import Draw
from parity.traces import Trace

BOUND32 = 64 * float(np.finfo(np.float32).eps) * 4
"""The bound of a port that computes in float32."""

FAULTS: Mapping[tuple[str, Any], str] = {
    ("noise", "after"): "noise-after-update",
    ("draws", "never"): "noise-missing",
    ("draws", "first"): "noise-missing",
    ("draws", "same"): "noise-reused",
    ("first_clip", None): "clip-missing",
    ("last_clip", None): "clip-missing",
    ("reduction", "mean"): "gradient-mean",
    ("sign", -1): "update-sign",
    ("gradient_clip", "none"): "gradient-clip-missing",
    **{("gradient_clip", how): "gradient-clip-range" for how in RANGES},
}
BY_FIELD = {
    "distribution": "noise-distribution",
    "shape": "noise-distribution",
    "noise_scale": "noise-scale",
    "first_clip": "clip-range",
    "last_clip": "clip-range",
    "point": "gradient-point",
    "accumulate": "gradient-accumulated",
    "gradient_clip": "gradient-clip-norm",
    "step": "step-size",
    "ending": "clip-missing",
    "start": "clip-range",
    "noise": "noise-after-update",
    "draws": "noise-missing",
    "reduction": "gradient-mean",
    "sign": "update-sign",
}
PLACES = {
    "start": "before the loop",
    "noise": "the noise",
    "distribution": "the noise",
    "shape": "the noise",
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
    "ending": "the clip after the update",
}
PARTS = {
    "start": "noise clip",
    "noise": "noise",
    "distribution": "noise",
    "shape": "noise",
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
    "ending": "update clip",
}
"""The part of ``generate_samples`` that a field of a rule is about (``torch_side.places``)."""

WORDS = {
    "noise": "the noise is added",
    "distribution": "the noise is",
    "shape": "a number of its own is drawn for",
    "draws": "the noise is drawn",
    "noise_scale": "the noise's scale is",
    "start": "before the first step images are clipped to",
    "first_clip": "the clip after the noise is",
    "point": "the gradient is taken at the images that are",
    "reduction": "scores are reduced by",
    "sign": "the update has the sign",
    "accumulate": "gradients are added up",
    "gradient_clip": "the gradient clip is",
    "step": "the step's size is",
    "last_clip": "the clip after the update is",
    "ending": "the last clip comes",
}
ARGUMENTS = {"noise_scale": "noise", "step": "step_size", "gradient_clip": "gradient_clip"}


def explain_sampler(
    reference: Trace, port: Trace, case: Case
) -> tuple[list[Cause], list[Unexplained]]:
    """What the port's sampler does otherwise than the reference's, on the probe.

    Args:
        reference, port: answers to the ``probe`` request (``parity.probing``).
        case: of the request.
    """
    causes, unexplained = _raised(port)
    if reference.notes["raised"] is not None:
        evidence = f"the reference cannot be run on a probe energy: {reference.notes['raised']}"
        return causes, [*unexplained, Unexplained("generate_samples", evidence)]
    if port.array("float64", f"{NAMES[-1]}/last") is None:
        return causes, unexplained
    bound = BOUND
    if port.notes.get("not_float64"):
        operations = ", ".join(port.notes["not_float64"])
        evidence = f"in a float64 run it computes in float32 at {operations}"
        causes.append(
            Cause("dtype", "generate_samples", evidence=evidence, part="generate_samples/dtype")
        )
        bound = BOUND32
    causes += _aliased(port)
    places = places_of(case)
    steps = min(len(_last(port, place)) for place in places)
    for place in places:
        ours, theirs = _last(port, place).shape[1:], _last(reference, place).shape[1:]
        if ours != theirs:
            evidence = f"its samples have shape {ours}, the reference's {theirs}"
            unexplained.append(Unexplained("generate_samples", evidence, "generate_samples"))
            return causes, unexplained
    found, left = _Comparison(reference, port, places, steps, bound).explained()
    return causes + found, unexplained + left


def _raised(port: Trace) -> tuple[list[Cause], list[Unexplained]]:
    raised = port.notes["raised"]
    if raised is None:
        return [], []
    cause = from_exception(raised, port.notes["evaluations"])
    if cause is not None:
        return [cause], []
    when = port.notes.get("raised_when", "")
    evidence = f"on the probe energy it raises {raised}{when}{told_of(raised)}"
    return [], [Unexplained("generate_samples", evidence, "generate_samples/raised")]


def _last(trace: Trace, place: Place) -> np.ndarray:
    return trace.arrays["float64"][f"{place.call.name}/last"]


def _aliased(port: Trace) -> list[Cause]:
    trajectory = port.array("float64", "samples")
    last = port.arrays["float64"][f"{NAMES[0]}/last"]
    if trajectory is None or trajectory.shape[1:] != last.shape[1:] or len(last) < 2:
        return []
    if len(trajectory) == len(last):
        differ = any(not np.array_equal(a, b) for a, b in zip(trajectory, last, strict=True))
    else:
        differ = bool((trajectory == trajectory[-1]).all() and (last != last[-1]).any())
    if not (differ and np.array_equal(trajectory[-1], last[-1])):
        return []
    evidence = (
        "stored steps are changed by later ones: runs of fewer steps end elsewhere than the "
        "trajectory says"
    )
    return [
        Cause(
            "trajectory-aliased",
            "return_every_step",
            _relative(trajectory[: len(last)], last[: len(trajectory)]),
            0.0,
            evidence,
            part="generate_samples/stored",
        )
    ]


class _Comparison:
    """A port's sampler against the reference's, in the calls that both have made."""

    def __init__(
        self, reference: Trace, port: Trace, places: Sequence[Place], steps: int, bound: float
    ) -> None:
        self.traces = (reference, port)
        self.places, self.steps, self.bound = places, steps, bound
        self.expected, self.behaves = (
            np.concatenate([_last(trace, place)[:steps].ravel() for place in places])
            for trace in (reference, port)
        )
        self.before = _relative(self.behaves, self.expected)
        self.draws = _draws_differ(reference, port, places)

    def explained(self) -> tuple[list[Cause], list[Unexplained]]:
        if self.before <= self.bound:
            return self._only_draws(), []
        base = self._base()
        if base is None:
            evidence = "the reference's own step is none of the rules that are known"
            return [], [Unexplained("generate_samples", evidence, "generate_samples")]
        for seen, words in _ways_to_see(self.traces[1], self.places, self.steps):
            found = search(seen, base, self.bound)
            if found:
                return self._named(seen, found, base, words)
        return [], [self._unexplained(base)]

    def _only_draws(self) -> list[Cause]:
        if not self.draws:
            return []
        evidence = f"{self.draws}; what it returns is the reference's all the same"
        return [Cause("draw-order", _where("noise"), evidence=evidence, part=_part("draws"))]

    def _base(self) -> Rule | None:
        """The reference's rule; a clip that is its own default is what a port's is measured by."""
        reference = self.traces[0]
        for again in (False, True):
            for seen, words in _ways_to_see(reference, self.places, self.steps):
                found = [] if words else search(seen, Rule())
                if found:
                    base = found[0].rule
                    if again or not isinstance(base.gradient_clip, Fitted):
                        return base
                    if base.gradient_clip.kind != "value":
                        return base
                    default = base.gradient_clip.values[0]
                    self.places = [
                        dataclasses.replace(
                            p, setting=dataclasses.replace(p.setting, gradient_clip=default)
                        )
                        for p in self.places
                    ]
                    break
            else:
                return None
        return None

    def _named(
        self, seen: Observed, found: Sequence[Found], base: Rule, steps: str
    ) -> tuple[list[Cause], list[Unexplained]]:
        rule, drawn = found[0].rule, found[0].drawn
        after = self._after(seen, found[0])
        if not verified(self.before, after, self.bound):
            evidence = "a rule was found and did not hold"
            return [], [Unexplained("generate_samples", evidence, "generate_samples")]
        own = _Drawn.of(*self.traces)
        ids = tuple(_all_ids(f.rule, base, own) for f in found[1:4])
        when = self._when(base)
        proof = (
            "with this, a simulation of the step on the probe energy reproduces the port, which is "
            f"otherwise {when}"
        )
        causes: list[Cause] = []
        changed = departures(rule, base)
        reading = _reading(rule, [f.rule for f in found[1:4]], base)
        for name in changed:
            value, theirs = getattr(rule, name), getattr(base, name)
            for id_ in _ids(name, value, own):
                causes.append(
                    Cause(
                        id_,
                        _where(name),
                        self.before,
                        after,
                        f"{WORDS[name]} {_shown(value, name, self._clip_given)}, the reference's "
                        f"{_shown(theirs)}; {proof}",
                        fix=_fix(name, theirs, base),
                        reading=reading if not causes else "",
                        reading_ids=ids,
                        part=_part(name),
                    )
                )
        if steps:
            causes.append(
                Cause(
                    "step-count",
                    "generate_samples, the loop",
                    self.before,
                    after,
                    f"{steps}; {proof}",
                    part="generate_samples",
                )
            )
        if self._extra(drawn, rule):
            causes.append(
                Cause(
                    "draw-order",
                    _where("noise"),
                    self.before,
                    after,
                    f"{self.draws}, so that each step has other numbers; on the port's own draws, "
                    f"{'with what else was found, ' if changed else ''}a simulation of the step "
                    f"reproduces it",
                    part=_part("draws"),
                )
            )
        return causes, []

    def _after(self, seen: Observed, found: Found) -> float:
        """What is left once the rule is followed, on the port's own draws."""
        return _relative(seen.flat, followed(seen, found))

    @property
    def _clip_given(self) -> bool:
        """Whether the gradient clip is an argument, on both sides."""
        sampler = self.places[0].call.case.sampler
        return sampler is not None and sampler.gradient_clip is not None

    def _extra(self, drawn: Any, rule: Rule) -> bool:
        """Whether the port draws what it does not use, before what it does."""
        if not self.draws:
            return False
        if rule.draws in ("each", "first", "same") and not drawn.in_order:
            return True
        counts = [
            [d.count for d in trace.draws if d.position == 0 and not d.scalar]
            for trace in self.traces
        ]
        return sum(counts[1]) > sum(counts[0]) > 0

    def _unexplained(self, base: Rule) -> Unexplained:
        evidence = (
            f"on the probe energy it is otherwise {self._when(base)}, by {self.before:.2g} of the "
            "largest element, and no rule that is known does the same, whatever its numbers"
        )
        if self.draws:
            evidence += f"; {self.draws}"
        if not any(self.traces[1].notes["counts"][self.places[0].call.name]):
            evidence += "; it never evaluates the network"
        return Unexplained("generate_samples", evidence, "generate_samples")

    def _when(self, base: Rule) -> str:
        """From which step and which part of it two trajectories differ, in words."""
        size = self.bound * float(np.abs(self.expected).max())
        for step in range(self.steps):
            for place in self.places:
                ours, theirs = (_last(trace, place)[step] for trace in self.traces)
                points = [_points(trace, place, step) for trace in self.traces]
                told = ""
                if points[0] is not None and points[1] is not None:
                    wrong = _wrong(points[1], points[0], size)
                    if wrong.any():
                        told = _before_network(wrong, points[1], points[0], base)
                    elif _wrong(ours, theirs, size).any():
                        told = _behind_network(_wrong(ours, theirs, size), points[0], place, base)
                elif _wrong(ours, theirs, size).any():
                    told = "where it evaluates the network cannot be told"
                if told:
                    where = "" if place.number == 0 else f" of the {place.call.name} probe"
                    return f"from step {step + 1}{where} on, first at {told}"
        return "in no step"


def _wrong(ours: np.ndarray, theirs: np.ndarray, size: float) -> np.ndarray:
    return np.asarray(~(np.abs(ours - theirs) <= size))


def _points(trace: Trace, place: Place, step: int) -> np.ndarray | None:
    points = trace.array("float64", f"{place.call.name}/points")
    counts = trace.notes["counts"][place.call.name]
    if points is None or counts != [*range(1, len(counts) + 1)] or step >= len(points):
        return None
    return np.asarray(points[step])


def _before_network(wrong: np.ndarray, ours: np.ndarray, theirs: np.ndarray, base: Rule) -> str:
    low, high = base.first_clip or (-np.inf, np.inf)
    own_low, own_high = limits_in([ours]) or (-np.inf, np.inf)
    inside = (theirs > low) & (theirs < high) & (ours > own_low) & (ours < own_high)
    if (wrong & inside).any():
        return "the noise (the images that the network is given are others)"
    return "the clip after the noise"


def _behind_network(wrong: np.ndarray, point: np.ndarray, place: Place, base: Rule) -> str:
    """The part of the update whose elements are wrong and no others'."""
    g = place.probe.gradient(point)
    g = g / len(g) if base.reduction == "mean" else g
    kept, _ = gradient(base, place, point, 0.0)
    x = point + place.number_of(base.step, SIZES) * base.sign * kept
    by_clip = clipped(x, base.last_clip) != x
    steep, flat = np.abs(g)[wrong & ~by_clip], np.abs(g)[~wrong & ~by_clip]
    if not steep.size:
        return "the clip after the update"
    if flat.size and steep.min() > flat.max():
        return "the gradient clip (only steep gradients are followed otherwise)"
    return "the gradient or the update (the network is given the reference's images)"


def _ways_to_see(trace: Trace, places: Sequence[Place], steps: int) -> list[tuple[Observed, str]]:
    """How steps may be told apart by where the network was evaluated; and, if their number is
    another than was asked for, that in words."""
    counts = [trace.notes["counts"][place.call.name][:steps] for place in places]
    logs = [[Draw(*draw) for draw in trace.notes["draws"][p.call.name]] for p in places]
    states = [_last(trace, place)[:steps] for place in places]
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


def _draws_differ(reference: Trace, port: Trace, places: Sequence[Place]) -> str:
    name = places[0].call.name
    if len({len(trace.notes["counts"][name]) for trace in (reference, port)}) > 1:
        return ""  # logs are of the longest run, and the port's was cut short
    logs = [[Draw(*d) for d in trace.notes["draws"][name]] for trace in (port, reference)]
    return differently(logs[0], logs[1])


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """What a port draws whose samples have no noise.

    Attributes:
        any: it draws.
        less: less often than the reference.
        later: after the network was evaluated, where the reference draws before.
        others: of another family than the reference.
    """

    any: bool
    less: bool
    later: bool
    others: bool

    @classmethod
    def of(cls, reference: Trace, port: Trace) -> _Drawn:
        expected, ours = (
            [draw.position for draw in trace.draws if draw.family in FAMILIES]
            for trace in (reference, port)
        )
        families = [{d.family for d in t.draws if d.family in FAMILIES} for t in (reference, port)]
        less, later = len(ours) < len(expected), ours[:1] > expected[:1]
        return cls(bool(ours), less, later, families[0] != families[1])


def _ids(name: str, value: Any, drawn: _Drawn) -> tuple[str, ...]:
    if (name, value) == ("draws", "never") and drawn.any:
        also = ("noise-missing",) * drawn.less + ("noise-after-update",) * drawn.later
        also += ("noise-distribution",) * drawn.others
        return ("noise-discarded", *also)
    if isinstance(value, Fitted) and name == "gradient_clip" and value.kind == "value":
        return ("gradient-clip-range",)
    return (FAULTS.get((name, value)) or BY_FIELD[name],)


def _all_ids(rule: Rule, base: Rule, drawn: _Drawn) -> tuple[str, ...]:
    return tuple(
        id_ for name in departures(rule, base) for id_ in _ids(name, getattr(rule, name), drawn)
    )


def _reading(rule: Rule, others: Sequence[Rule], base: Rule) -> str:
    """Which other departures behave just so, in words; empty if there are none."""
    if not others:
        return ""
    words = [
        " and ".join(f"{WORDS[n]} {_shown(getattr(r, n), n)}" for n in departures(r, base))
        for r in others
    ]
    number = len(departures(rule, base))
    what = "mend either" if number == 1 else f"in place of all {number} causes here; mend either"
    return f"{'; or '.join(words)} ({what})"


def _shown(value: Any, name: str = "", given: bool = True) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"[{value[0]:g}, {value[1]:g}]"
    if isinstance(value, Fitted) and name == "gradient_clip" and not given:
        return f"{value.values[0]:g}"
    if isinstance(value, Fitted) and name in ARGUMENTS and value.words.startswith("always"):
        return f"{value}, whatever {ARGUMENTS[name]} is given"
    if isinstance(value, Uniform):
        return f"{value}"
    return str(value)


def _fix(name: str, theirs: Any, base: Rule) -> str:
    """The line to write where the catalogue's has numbers of its own; else none."""
    if name == "start":
        return "leave the images as they are until the first noise is added"
    if name in ("first_clip", "last_clip", "ending"):
        limits = base.last_clip if name == "ending" else theirs
        if limits not in (None, (-1.0, 1.0)):
            return f"images = images.clamp({limits[0]:g}, {limits[1]:g})"
    return ""


def _where(name: str) -> str:
    return f"generate_samples, {PLACES[name]}"


def _part(name: str) -> str:
    return f"generate_samples/{PARTS[name]}"


def _relative(ours: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(ours - truth).max() / max(np.abs(truth).max(), 1e-300))
