"""What one check found on one case, and what it found over all of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from parity.values.cases import Case
from parity.values.exhibits import Exhibit
from parity.verdict.comparison import (
    POOLED_RATIO,
    Comparison,
    Element,
    Verdict,
    pooled_ratio,
    ratio,
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One check on one case.

    Attributes:
        check: its name.
        comparisons: array by array, or step by step, in the order of computation.
        case: the stimulus; None where there is none.
        failure: the port raised, hung or died, in its own words.
        traceback: the port's, for people.
        findings: violated properties that are not numbers, one sentence each.
        notes: numbers to report that decide nothing, such as the horizon.
        looked: it was looked at, though there are no numbers to compare.
        exhibit: what a person would like to see of it.
    """

    check: str
    comparisons: tuple[Comparison, ...] = ()
    case: Case | None = None
    failure: str | None = None
    traceback: str | None = None
    findings: tuple[Mapping[str, str], ...] = ()
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    looked: bool = False
    exhibit: Exhibit | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of what was found; arrays that prove nothing do not spoil those that do."""
        if self.failure is not None:
            return Verdict.INVALID
        if self.findings:
            return Verdict.DIVERGENT
        verdicts = [c.verdict for c in self.comparisons if c.verdict is not Verdict.UNCHECKED]
        if not verdicts and self.looked:
            return Verdict.IDENTICAL
        return Verdict.worst(verdicts)

    @property
    def first_bad(self) -> Comparison | None:
        """The first array or step that is not green, in order of computation."""
        return next((c for c in self.comparisons if _bad(c)), None)


def _bad(comparison: Comparison) -> bool:
    return not comparison.verdict.green and comparison.verdict is not Verdict.UNCHECKED


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """One check over all its cases.

    Residual and floor are relative to the largest reference element, and those of the array whose
    residual is the most floors; ``error_ratio`` is the pooled one. ``unchecked_because`` says of
    each observable that no case could judge why it is so, or why the whole check proves nothing.
    """

    name: str
    verdict: Verdict
    outcomes: tuple[Outcome, ...]
    seconds: float
    residual: float = 0.0
    floor: float = 0.0
    error_ratio: float | None = None
    worst_error_ratio: float | None = None
    worst: Element | None = None
    problem: str | None = None
    accepted: str | None = None
    unchecked_because: tuple[str, ...] = ()

    @property
    def cases(self) -> int:
        return sum(outcome.verdict is not Verdict.UNCHECKED for outcome in self.outcomes)

    @property
    def first_bad(self) -> Outcome | None:
        """The first outcome that is not green."""
        bad = (
            o for o in self.outcomes if not o.verdict.green and o.verdict is not Verdict.UNCHECKED
        )
        return next(bad, None)


def pool(
    name: str,
    outcomes: Sequence[Outcome],
    seconds: float,
    *,
    unchecked: str | None = None,
    whole: bool = True,
) -> CheckResult:
    """Put a check's outcomes together.

    Args:
        unchecked: why the check proves nothing whatever its cases came to, if so.
        whole: these are all cases of the check, so that what none of them could judge was never
            seen; not so of a single case out of many.
    """
    comparisons = [c for outcome in outcomes for c in outcome.comparisons]
    measured = [c for c in comparisons if c.worst is not None]
    checked = [o.verdict for o in outcomes if o.verdict is not Verdict.UNCHECKED]
    verdict = Verdict.worst(checked)
    problem = _problem(outcomes)
    pooled = pooled_ratio(
        (c.error32 / c.scale, c.floor32 / c.scale)
        for c in measured
        if c.scale > 0 and c.error32 is not None and c.floor32 is not None
    )
    if pooled is not None and pooled > POOLED_RATIO and verdict.green:
        verdict = Verdict.IMPRECISE
        problem = (
            f"over all cases the port's float32 error is {pooled:.1f} times the reference's own; "
            f"{POOLED_RATIO:g} is allowed"
        )
    if verdict.green and unchecked is not None:
        verdict, problem = Verdict.UNCHECKED, unchecked
    never = never_judged(outcomes) if whole else ()
    if verdict.green and never:
        verdict, problem = Verdict.UNCHECKED, "; ".join(never)
    if verdict is Verdict.UNCHECKED and problem is None:
        problem = unchecked or next((c.problem for c in comparisons if c.problem), "no cases")
    if verdict is Verdict.UNCHECKED and not never and problem is not None:
        never = (problem,)
    worst = max(measured, key=lambda c: c.floors, default=None)
    ratios = [c.error_ratio for c in measured if c.error_ratio is not None]
    return CheckResult(
        name=name,
        verdict=verdict,
        outcomes=tuple(outcomes),
        seconds=seconds,
        residual=0.0 if worst is None else ratio(worst.residual, worst.scale),
        floor=0.0 if worst is None else ratio(worst.floor, worst.scale),
        error_ratio=pooled,
        worst_error_ratio=max(ratios, default=None),
        worst=None if worst is None else worst.worst,
        problem=problem,
        unchecked_because=tuple(never),
    )


def never_judged(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Each observable that was asked for and that no case could judge, with the first reason.

    That it is zero, beyond the horizon or ill-conditioned in some cases is how cases are; one that
    shows nothing in all of them was not checked, whatever else was. In a drawn architecture the
    numbers in a layer's name are accidents: there, layers of one name are one observable.
    """
    why: dict[str, str] = {}
    why32: dict[str, str] = {}
    judged: set[str] = set()
    judged32: set[str] = set()
    for outcome in outcomes:
        drawn = outcome.case is not None and outcome.case.settings is not None
        for found in outcome.comparisons:
            names = {found.observable, _unnumbered(found.observable)}
            owed = _unnumbered(found.observable) if drawn else found.observable
            if found.verdict is Verdict.UNCHECKED:
                why.setdefault(owed, found.problem or "nothing to compare")
                continue
            judged |= names
            if found.blind32:
                why32.setdefault(owed, BLIND32)
            elif found.error32 is not None:
                judged32 |= names
    reasons = [f"{name} was judged in no case: {text}" for name, text in _left(why, judged)]
    reasons += [
        f"{name} was judged in float64 alone: {text}" for name, text in _left(why32, judged32)
    ]
    return tuple(reasons)


BLIND32 = "in float32 the reference's own error is no number, or as large as the array itself"


def _unnumbered(name: str) -> str:
    """ "activations/conv3" as "activations/conv*"."""
    return re.sub(r"\d+", "*", name)


def _left(why: Mapping[str, str], judged: set[str]) -> list[tuple[str, str]]:
    return [(name, text) for name, text in why.items() if name not in judged]


def _problem(outcomes: Sequence[Outcome]) -> str | None:
    for outcome in outcomes:
        if outcome.failure is not None:
            return outcome.failure
        if outcome.findings:
            return "; ".join(finding["message"] for finding in outcome.findings)
        if (bad := outcome.first_bad) is not None and bad.problem is not None:
            return bad.problem
    return None
