"""A run's report and its JSON form, schema 1 (docs/report.schema.json)."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.explain.causes import Explanation
from parity.golden.baseline import Since
from parity.tell.evidence import evidence
from parity.tell.messages import (
    acceptance,
    case_in_words,
    command,
    failure_lines,
    headline,
)
from parity.values.cases import Case
from parity.values.frames import place_in
from parity.verdict.comparison import Verdict
from parity.verdict.outcome import CheckResult, Outcome

SCHEMA = 1

WAIVED_FOR = datetime.timedelta(days=90)
"""How long the entry lasts that a message offers."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything a run found.

    Attributes:
        pair: SPEC of the pair.
        port: SPEC of a port that replaced the pair's own, or None; likewise ``reference``.
        golden: folder of the golden that stood for the reference, if one did.
        narrowed: the checks the run was narrowed to with ``--only``; empty for all.
        inputs: what was said of the inputs of two programs that no pair declares.
        remarks: what else a reader has to know, such as cases that this port cannot be asked.
        explanation: what ``parity explain`` found; None for ``parity check``.
        problems: what makes the run not green besides its checks, such as an unused waiver.
        failing: check -> its smallest failing case, and that case's file relative to the project.
        not_exercised: what no case had, or never ran: ``what``, and ``where``. It decides nothing.
        since: what changed since the golden was recorded; None without one.
        not_declared: the entries that neither side declares, which are not asked for.
        not_claimed: what the pair could claim and does not, likewise.
        mutants: what became of each mutant of the port; None but for ``parity mutants``.
        correspondence: which parameter holds which weight; None where a pair declares it.
    """

    pair: str
    profile: str
    seed: int
    checks: tuple[CheckResult, ...]
    environment: Mapping[str, str]
    seconds: Mapping[str, float]
    port: str | None = None
    reference: str | None = None
    golden: str | None = None
    narrowed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    not_declared: tuple[str, ...] = ()
    not_claimed: tuple[str, ...] = ()
    explanation: Explanation | None = None
    failing: Mapping[str, tuple[Case, Path]] = dataclasses.field(default_factory=dict)
    not_exercised: tuple[Mapping[str, str], ...] = ()
    since: Since | None = None
    mutants: tuple[Mapping[str, Any], ...] | None = None
    correspondence: tuple[Mapping[str, Any], ...] | None = None
    inputs: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks'; a waived check does not count."""
        return Verdict.worst(check.verdict for check in self.checks if check.accepted is None)

    @property
    def green(self) -> bool:
        return self.verdict.green and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The documented object; infinities and NaN, which JSON has not, become strings."""
        explanation = self.explanation or Explanation()
        since = self.since or Since()
        report = {
            "schema": SCHEMA,
            "pair": self.pair or f"{self.reference} and {self.port}",
            "port": self.port,
            "reference": self.reference,
            "golden": self.golden,
            "profile": self.profile,
            "seed": self.seed,
            "narrowed": list(self.narrowed),
            "verdict": str(self.verdict),
            "problems": list(self.problems),
            "remarks": list(self.remarks),
            "not_declared": list(self.not_declared),
            "not_claimed": list(self.not_claimed),
            "not_exercised": [dict(each) for each in self.not_exercised],
            "environment": dict(self.environment),
            "checks": [
                _check(check)
                | {
                    "failing_case": self._failing(check.name),
                    "reproduction": self.reproduction(check),
                    "accept": self.acceptance(check),
                }
                for check in self.checks
            ],
            "causes": [cause.to_dict() for cause in explanation.causes],
            "unexplained": [left.to_dict() for left in explanation.unexplained],
            "environment_differences": [dataclasses.asdict(d) for d in since.differences],
            "attribution": since.attribution,
            "margins": [margin.to_dict() for margin in since.margins],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }
        report = {name: _finite(value) for name, value in report.items()}
        if self.correspondence is not None:
            report["correspondence"] = [dict(row) for row in self.correspondence]
        if self.mutants is not None:
            report["mutants"] = [dict(mutant) for mutant in self.mutants]
        else:
            report["evidence"] = evidence(self.checks)
        return report

    def reproduction(self, check: CheckResult) -> list[str]:
        """How to run a check that is not green again; its smallest case, in lines of Python."""
        if check.verdict.green or check.verdict is Verdict.UNCHECKED:
            return []
        options = [
            ("--port", self.port),
            ("--reference", self.reference),
            ("--golden", self.golden),
            *(("--input", text) for text in self.inputs),
            ("--profile", self.profile),
            ("--seed", str(self.seed)),
        ]
        return [
            f"reproduce: {command(self.pair, options, check.name)}",
            *self.smallest_case(check),
        ]

    def smallest_case(self, check: CheckResult) -> list[str]:
        """How to run the smallest failing case of a check, if one is known."""
        if check.name not in self.failing:
            return []
        case, path = self.failing[check.name]
        arguments = [self.pair, path.as_posix(), check.name]
        sides = {"port": self.port, "reference": self.reference, "golden": self.golden}
        given = [repr(argument) for argument in arguments]
        given += [f"{side}={spec!r}" for side, spec in sides.items() if spec is not None]
        return [
            f"or its smallest case ({case_in_words(case)}), the port where a debugger stops in it:",
            "    from parity.testing import reproduce",
            f"    reproduce({', '.join(given)})",
        ]

    def acceptance(self, check: CheckResult) -> list[str]:
        """How to waive a check that is not green, if it can be."""
        if check.verdict.green or check.accepted is not None or not self.pair:
            return []
        entry = acceptance(check, datetime.date.today() + WAIVED_FOR)
        if entry is None:
            return []
        return [f"accept it knowingly, in pyproject.toml: [tool.parity] accept = [{entry}]"]

    def _failing(self, check: str) -> str | None:
        return self.failing[check][1].as_posix() if check in self.failing else None


def _finite(value: Any) -> Any:
    """The value without numbers that JSON has not: those become strings."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return _number(value) if isinstance(value, float) else value


def to_json(document: Mapping[str, Any]) -> str:
    """The report as a file holds it; its evidence, which is mostly images, last and on one line."""
    report = dict(document)
    evidence = report.pop("evidence", None)
    text = json.dumps(report, indent=2, allow_nan=False)
    if evidence is not None:
        text = f'{text[:-2]},\n  "evidence": {json.dumps(evidence, allow_nan=False)}\n}}'
    return f"{text}\n"


def _check(check: CheckResult) -> dict[str, Any]:
    return {
        "name": check.name,
        "verdict": str(check.verdict),
        "cases": check.cases,
        "residual": _number(check.residual),
        "floor": _number(check.floor),
        "error_ratio": _number(check.error_ratio),
        "worst_error_ratio": _number(check.worst_error_ratio),
        "worst": _worst(check),
        "first_divergence": first_divergence(check),
        "headline": headline(check),
        "place": _place(check),
        "message": [] if check.verdict.green else failure_lines(check),
        "problem": check.problem,
        "unchecked_because": list(check.unchecked_because),
        "accepted": check.accepted,
        "notes": notes(check.outcomes),
    }


def _place(check: CheckResult) -> str | None:
    tracebacks = [outcome.traceback for outcome in check.outcomes if outcome.traceback]
    return place_in(tracebacks[0]) if tracebacks else None


def _worst(check: CheckResult) -> dict[str, Any] | None:
    worst = check.worst
    if worst is None:
        return None
    return {
        "index": list(worst.index),
        "reference": _number(worst.reference),
        "port": _number(worst.port),
    }


def first_divergence(check: CheckResult) -> dict[str, Any] | None:
    """The first case and array, in order of computation, that is not green; None if all are."""
    outcome = check.first_bad
    if outcome is None:
        return None
    found: dict[str, Any] = {
        "case": None if outcome.case is None else outcome.case.digest,
        "origin": {} if outcome.case is None else _plain(outcome.case.origin),
        "array": None,
        "findings": [dict(finding) for finding in outcome.findings],
    }
    bad = outcome.first_bad
    if bad is not None:
        found |= {
            "array": bad.array,
            "residual": _number(bad.residual),
            "bound": _number(bad.bound),
            "mismatched": bad.mismatched,
            "size": bad.size,
            "index": None if bad.worst is None else list(bad.worst.index),
        }
    return found


def notes(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What a check's cases add up to, besides verdicts: the horizon, what each clip changed."""
    found: dict[str, Any] = {}
    horizons = [o.notes for o in outcomes if "horizon" in o.notes]
    if horizons:
        found["steps"] = sum(note["steps"] for note in horizons)
        found["steps_within_horizon"] = sum(note["horizon"] for note in horizons)
        found["longest_horizon"] = max(note["horizon"] for note in horizons)
    most: dict[str, float] = {}
    for outcome in outcomes:
        for clip, about in outcome.notes.get("clips", {}).items():
            most[clip] = max(most.get(clip, 0.0), about["share"])
    if most:
        found["clips"] = {clip: round(share, 6) for clip, share in sorted(most.items())}
    return found


def _number(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return str(value)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
