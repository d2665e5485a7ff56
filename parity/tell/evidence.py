"""The evidence of a report: every array by name, and the exhibits most worth a look.

Plain values, part of the JSON report, from which every page and summary is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from parity.tell.messages import case_in_words
from parity.values.exhibits import (
    DrawLogs,
    Exhibit,
    GradientMaps,
    TrainingCurves,
    Trajectory,
    number,
)
from parity.verdict.comparison import Comparison, Verdict, ratio
from parity.verdict.outcome import CheckResult, Outcome

MOST_SHOWN = 3
MOST_TRAJECTORIES = 2

E = TypeVar("E", bound=Exhibit)


def evidence(checks: Sequence[CheckResult]) -> dict[str, Any]:
    """All that there is to see of a run.

    Returns:
        ``arrays``, one entry for each array of each check, in order of computation; ``gradients``,
        the worst images' gradient maps; ``trajectories``; ``training``; ``draws``.
    """
    return {
        "arrays": [entry for check in checks for entry in _arrays(check)],
        "gradients": [
            _of(outcome) | maps.to_dict()
            for outcome, maps in _worst(_exhibits(checks, "energy_gradients", GradientMaps))
        ],
        "trajectories": list(_trajectories(checks)),
        "training": [
            _of(outcome) | {"curves": curves.to_dict()}
            for outcome, curves in sorted(
                _exhibits(checks, "losses", TrainingCurves), key=lambda pair: -pair[1].length
            )[:MOST_SHOWN]
        ],
        "draws": [
            _of(outcome) | logs.to_dict()
            for outcome, logs in sorted(
                _exhibits(checks, "draw_log", DrawLogs),
                key=lambda pair: pair[1].first_difference is None,
            )[:MOST_SHOWN]
        ],
    }


def _arrays(check: CheckResult) -> Iterator[dict[str, Any]]:
    """The worst of each array over all cases and steps: most floors, greatest error ratio."""
    groups: dict[str, list[Comparison]] = {}
    for outcome in check.outcomes:
        for comparison in outcome.comparisons:
            name = re.sub(r"\[\d+\]$", "", comparison.array)
            groups.setdefault(name, []).append(comparison)
    for name, comparisons in groups.items():
        verdicts = [c.verdict for c in comparisons if c.verdict is not Verdict.UNCHECKED]
        measured = [c for c in comparisons if c.worst is not None]
        worst = max(measured, key=lambda c: c.floors, default=None)
        ratios = [c.error_ratio for c in measured if c.error_ratio is not None]
        yield {
            "check": check.name,
            "array": name,
            "verdict": str(Verdict.worst(verdicts)),
            "compared": len(measured),
            "residual": None if worst is None else number(ratio(worst.residual, worst.scale)),
            "floor": None if worst is None else number(ratio(worst.floor, worst.scale)),
            "floors": None if worst is None else number(worst.floors),
            "error_ratio": number(max(ratios)) if ratios else None,
            "problem": next((c.problem for c in comparisons if c.problem), None),
        }


def _trajectories(checks: Sequence[CheckResult]) -> Iterator[dict[str, Any]]:
    """The first, which every profile has, and the worst of the others."""
    free = _exhibits(checks, "samples_free_running", Trajectory)
    forced = _exhibits(checks, "samples_teacher_forced", Trajectory)
    others = sorted(free[1:], key=lambda pair: -pair[1].worst)
    for outcome, trajectory in [*free[:1], *others][:MOST_TRAJECTORIES]:
        teacher = next((t for o, t in forced if _origin(o) == _origin(outcome)), None)
        yield _of(outcome) | {
            "free_running": trajectory.to_dict(),
            "teacher_forced": None if teacher is None else teacher.to_dict(),
        }


def _exhibits(checks: Sequence[CheckResult], name: str, kind: type[E]) -> list[tuple[Outcome, E]]:
    return [
        (outcome, outcome.exhibit)
        for check in checks
        if check.name == name
        for outcome in check.outcomes
        if isinstance(outcome.exhibit, kind)
    ]


def _worst(found: list[tuple[Outcome, GradientMaps]]) -> list[tuple[Outcome, GradientMaps]]:
    return sorted(found, key=lambda pair: -pair[1].floors)[:MOST_SHOWN]


def _origin(outcome: Outcome) -> Any:
    """How its case was drawn, whichever way it is run."""
    origin = {} if outcome.case is None else dict(outcome.case.origin)
    origin.pop("teacher_forced", None)
    return origin


def _of(outcome: Outcome) -> dict[str, Any]:
    assert outcome.case is not None
    return {"case": outcome.case.digest, "title": case_in_words(outcome.case)}
