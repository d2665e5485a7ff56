"""What a port's sampler does otherwise than the reference's, read off its behaviour on the probe.

The reference's own rule is found first, and then the fewest departures from it that reproduce the
port (``search``); they are told as causes, with the proof.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.explain.causes import Cause, Unexplained, verified
from parity.explain.events import from_exception, told_of
from parity.explain.remembered import remembered
from parity.explain.sampler.draws import differently
from parity.explain.sampler.observed import (
    Found,
    Observed,
    followed,
    last,
    places_of,
    ways_to_see,
)
from parity.explain.sampler.onset import onset
from parity.explain.sampler.rules import Fitted, Place, Rule, departures
from parity.explain.sampler.search import BOUND, search
from parity.explain.sampler.words import (
    FIELDS,
    Drawing,
    all_ids,
    fix,
    ids,
    part,
    reading,
    shown,
    where,
)
from parity.side.sampler_probe import NAMES
from parity.values.cases import Case
from parity.values.randomness import Draw
from parity.values.traces import Trace

BOUND32 = 64 * float(np.finfo(np.float32).eps) * 4
"""The bound of a port that computes in float32."""


@remembered
def explain_sampler(
    reference: Trace, port: Trace, case: Case
) -> tuple[list[Cause], list[Unexplained]]:
    """What the port's sampler does otherwise than the reference's, on the probe.

    Args:
        reference, port: answers to the ``probe`` request (``parity.side.probing``).
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
    steps = min(len(last(port, place)) for place in places)
    for place in places:
        ours, theirs = last(port, place).shape[1:], last(reference, place).shape[1:]
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
            np.concatenate([last(trace, place)[:steps].ravel() for place in places])
            for trace in (reference, port)
        )
        self.before = _relative(self.behaves, self.expected)
        self.draws = _draws_differ(reference, port, places)

    def explained(self) -> tuple[list[Cause], list[Unexplained]]:
        if self.before <= self.bound:
            return self._only_draws(), []
        case = self.places[0].call.case
        base, self.places = _reference_rule(self.traces[0].to_bytes(), case.to_bytes(), self.steps)
        if base is None:
            evidence = "the reference's own step is none of the rules that are known"
            return [], [Unexplained("generate_samples", evidence, "generate_samples")]
        for seen, words in ways_to_see(self.traces[1], self.places, self.steps):
            found = search(seen, base, self.bound)
            if found:
                return self._named(seen, found, base, words)
        return [], [self._unexplained(base)]

    def _only_draws(self) -> list[Cause]:
        if not self.draws:
            return []
        evidence = f"{self.draws}; what it returns is the reference's all the same"
        return [Cause("draw-order", where("noise"), evidence=evidence, part=part("draws"))]

    def _named(
        self, seen: Observed, found: Sequence[Found], base: Rule, steps: str
    ) -> tuple[list[Cause], list[Unexplained]]:
        rule, drawn = found[0].rule, found[0].drawn
        after = self._after(seen, found[0])
        if not verified(self.before, after, self.bound):
            evidence = "a rule was found and did not hold"
            return [], [Unexplained("generate_samples", evidence, "generate_samples")]
        own = Drawing.of(*self.traces)
        others = tuple(all_ids(f.rule, base, own) for f in found[1:4])
        when = self._when(base)
        proof = (
            "with this, a simulation of the step on the probe energy reproduces the port, which is "
            f"otherwise {when}"
        )
        causes: list[Cause] = []
        changed = departures(rule, base)
        told = reading(rule, [f.rule for f in found[1:4]], base)
        for name in changed:
            value, theirs = getattr(rule, name), getattr(base, name)
            for id_ in ids(name, value, own):
                causes.append(
                    Cause(
                        id_,
                        where(name),
                        self.before,
                        after,
                        f"{FIELDS[name].words} {shown(value, name, self._clip_given)}, the "
                        f"reference's {shown(theirs)}; {proof}",
                        fix=fix(name, theirs, base),
                        reading=told if not causes else "",
                        reading_ids=others,
                        part=part(name),
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
                    where("noise"),
                    self.before,
                    after,
                    f"{self.draws}, so that each step has other numbers; on the port's own draws, "
                    f"{'with what else was found, ' if changed else ''}a simulation of the step "
                    f"reproduces it",
                    part=part("draws"),
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
        size = self.bound * float(np.abs(self.expected).max())
        return onset(*self.traces, self.places, self.steps, base, size)


@functools.lru_cache(maxsize=8)
def _reference_rule(trace: bytes, case: bytes, steps: int) -> tuple[Rule | None, Sequence[Place]]:
    """The reference's rule, None if it is none that is known, and the calls to measure a port in.

    Where the gradient clip is the reference's own number, and no argument, a port's is told in
    terms of it. A session asks about one reference again and again: hence bytes, and the cache.
    """
    reference, places = Trace.from_bytes(trace, "the reference"), places_of(Case.from_bytes(case))
    base = _rule_of(reference, places, steps)
    clip = None if base is None else base.gradient_clip
    if not isinstance(clip, Fitted) or clip.kind != "value":
        return base, places
    settings = [dataclasses.replace(p.setting, gradient_clip=clip.values[0]) for p in places]
    places = [dataclasses.replace(p, setting=s) for p, s in zip(places, settings, strict=True)]
    return _rule_of(reference, places, steps), places


def _rule_of(reference: Trace, places: Sequence[Place], steps: int) -> Rule | None:
    for seen, words in ways_to_see(reference, places, steps):
        if not words and (found := search(seen, Rule())):
            return found[0].rule
    return None


def _draws_differ(reference: Trace, port: Trace, places: Sequence[Place]) -> str:
    name = places[0].call.name
    if len({len(trace.notes["counts"][name]) for trace in (reference, port)}) > 1:
        return ""  # logs are of the longest run, and the port's was cut short
    logs = [[Draw(*d) for d in trace.notes["draws"][name]] for trace in (port, reference)]
    return differently(logs[0], logs[1])


def _relative(ours: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(ours - truth).max() / max(np.abs(truth).max(), 1e-300))
