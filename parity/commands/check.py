"""``parity check`` and ``parity explain``: run every property, report, and name causes if asked."""

from __future__ import annotations

import argparse
import datetime
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import parity
from parity import baseline, goldens
from parity.cases import Case
from parity.commands import outputs
from parity.commands.options import at_least, pair_of, refuse_timeout
from parity.config import Config, apply_waivers, load_config
from parity.errors import BadCall, ReferenceFailed
from parity.lines import Lines
from parity.outcome import CheckResult
from parity.plan import Plan, beside_golden, draw, possible
from parity.profiles import Profile, profile_named
from parity.progress import Tell, progress
from parity.recorded import Recorded
from parity.render.terminal import print_report
from parity.report import Report
from parity.session import Session

if TYPE_CHECKING:
    from parity.explain.causes import Explanation


class _Run:
    """One run, from its options to its report; each part that finishes stays, whatever ends it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.start = time.perf_counter()
        self.config: Config = load_config(Path.cwd())
        self.pair = pair_of(options.pair, self.config.pair)
        self.seed = options.seed or 0
        at_least("--seed", self.seed, 0)
        refuse_timeout(options.timeout)
        self.profile: Profile = profile_named(options.profile or "quick")
        outputs.refuse(options)
        self.case = None if options.case is None else Case.load(options.case)
        self.only = tuple(name for names in options.only for name in names.split(",") if name)
        self.golden = None if options.golden is None else _golden(options, self.config, self.pair)
        self.baseline = None if self.golden is None else baseline.load(self.golden)
        if options.strict and self.baseline is None:
            what = "give --golden DIR" if self.golden is None else f"{options.golden} has none"
            raise BadCall(
                f"--strict holds margins against recorded ones: {what} ('parity record' records "
                "those of a green port beside the golden)"
            )
        self.recorded = None
        if self.golden is not None:
            name = f"the golden {self.golden.folder}"
            self.recorded = Recorded(self.golden.answers, name)
        self.checks: Sequence[CheckResult] = ()
        self.failing: dict[str, tuple[Case, Path]] = {}
        self.explanation: Explanation | None = None
        self.environment: dict[str, str] = {}
        self.since: baseline.Since | None = None
        self.seconds: dict[str, float] = {}
        self.remarks: list[str] = []
        self.not_exercised: list[dict[str, str]] = []
        self.whole = False  # every case of the golden can be put to this port

    def run(self) -> None:
        """Open both sides and do all that was asked."""
        options = self.options
        opening = Session(
            self.pair,
            reference=options.reference,
            port=options.port,
            in_process=options.in_process,
            timeout=options.timeout,
            twins=True,
            recorded=self.recorded,
            root=self.config.root,
            mark=not self.options.in_process and not self.only and self.case is None,
        )
        importlib.import_module("parity.runner")  # half a second, while the sides start
        with opening as session, progress(Console(stderr=True)) as tell:
            self.seconds["start"] = time.perf_counter() - self.start
            self.environment = session.environment()
            try:
                self._ask(session, tell)
            except ReferenceFailed as error:
                self.checks = self.checks or error.finished
                raise
            finally:
                self.seconds |= {check.name: check.seconds for check in self.checks}

    def _ask(self, session: Session, tell: Tell) -> None:
        if self.golden is None:
            plan = draw(session, self.profile, self.seed)
        else:
            plan = beside_golden(session, self.golden.plan, self.profile, self.seed)
            recorded = len(self.golden.plan)
            left_out = recorded - len(possible(session, self.golden.plan))
            self.whole = left_out == 0
            if left_out:
                self.remarks.append(
                    f"{left_out} of {recorded} recorded cases cannot be put to this port, which "
                    "builds one architecture, takes no settings or takes no gradient clip, where "
                    "the reference does"
                )
        from parity.runner import run_checks

        self.checks = run_checks(session, plan, only=self.only, case=self.case, tell=tell)
        if not self.only and self.case is None:
            self.not_exercised = not_exercised(plan, session.never_ran())
        begun = time.perf_counter()
        if self.golden is not None:
            accepted, _ = self._waived()
            self.since = baseline.since(
                self.golden, self.baseline, session, accepted, self.options.port
            )
        if self.case is None and not session.port_hung:
            self.failing = _kept(session, self, tell)
        if self.options.explains:
            from parity.explain.explain import explain

            tell("looking for causes", 0, 1)
            self.explanation = explain(session, self.checks, plan)
            tell("looking for causes", 1, 1)
        self.seconds["explain"] = time.perf_counter() - begun

    @property
    def _asks_all(self) -> bool:
        """Whether nothing that was recorded may go unasked: it may where another port is given,
        which perhaps can be asked less."""
        everything = self.whole or self.options.port is None
        return everything and not self.only and self.case is None

    def _waived(self) -> tuple[list[CheckResult], list[str]]:
        return apply_waivers(self.checks, self.config.accept, datetime.date.today())

    def report(self, stopped: ReferenceFailed | None) -> Report:
        """What there is to report.

        Args:
            stopped: why the run did not come to its end, if it did not.
        """
        accepted, problems = self._waived()
        if stopped is not None:
            problems = [f"stopped: {stopped}"]
        elif self.golden is not None and self._asks_all:
            problems += _unused(self.golden, self.recorded, self.checks)
        margins = () if self.since is None else self.since.margins
        if self.options.strict:
            problems += [margin.in_words() for margin in margins if margin.worse]
        return Report(
            pair=self.pair,
            profile=self.profile.name,
            seed=self.seed,
            checks=tuple(accepted),
            environment={
                "parity": parity.__version__,
                "python": sys.version.split()[0],
                **self.environment,
            },
            seconds={**self.seconds, "total": time.perf_counter() - self.start},
            explanation=self.explanation,
            failing=self.failing,
            port=self.options.port,
            reference=self.options.reference,
            golden=None if self.golden is None else str(self.options.golden),
            narrowed=self.only,
            problems=tuple(problems),
            remarks=tuple(self.remarks),
            not_exercised=tuple(self.not_exercised),
            since=self.since,
        )


def run(options: argparse.Namespace) -> int:
    """Check, explain if asked, report; the exit status.

    Raises:
        ReferenceFailed: after what had been finished by then was reported.
    """
    this = _Run(options)
    stopped = None
    try:
        this.run()
    except ReferenceFailed as error:
        stopped = error
    if stopped is not None and not this.checks:
        raise stopped
    report = this.report(stopped)
    print_report(report, Console(highlight=False))
    outputs.write(report, options)
    if stopped is not None:
        raise stopped
    return 0 if report.green else 1


NEVER_RAN = "never ran under the checks"


def not_exercised(plan: Plan, never_ran: Sequence[Lines] | None) -> list[dict[str, str]]:
    """What the run says nothing about, by name: values that no case had, lines that never ran.

    Args:
        never_ran: None if that is not known, which is said too.
    """
    found = [
        {"what": value.in_words(), "where": value.among or "any case"}
        for value in plan.not_exercised
    ]
    if never_ran is None:
        return [*found, {"what": "which lines ran is not known", "where": "the port"}]
    return [*found, *({"what": NEVER_RAN, "where": str(lines)} for lines in never_ran)]


def _golden(options: argparse.Namespace, config: Config, pair: str) -> goldens.Golden:
    """The golden named on the command line, in place of a reference."""
    if options.reference is not None:
        raise BadCall(
            "--golden and --reference exclude each other: a golden is a recorded reference"
        )
    return goldens.load(options.golden, config.root, pair)


def _unused(
    golden: goldens.Golden, recorded: Recorded | None, checks: Sequence[CheckResult]
) -> list[str]:
    """Files of a golden that no check asked for, though all checks are green."""
    if recorded is None or not all(check.verdict.green for check in checks):
        return []
    needless = [n for n in golden.unused(recorded.asked) if not n.startswith("explanation")]
    return [
        f"{golden.folder / name} was not used by any check: the port declares less than when the "
        "golden was recorded, or record it again"
        for name in needless
    ]


def _kept(session: Session, this: _Run, tell: Tell) -> dict[str, tuple[Case, Path]]:
    """The smallest failing case of the first check that has one, kept in a file."""
    from parity.shrinking import keep, smallest, smallest_recorded

    for check in this.checks:
        if check.verdict.green:
            continue
        if this.golden is None:
            small = smallest(session, check, this.profile, this.seed, tell)
        else:
            small = smallest_recorded(check)
        if small is not None:
            return {check.name: (small, keep(small, check.name, session.root))}
    return {}
