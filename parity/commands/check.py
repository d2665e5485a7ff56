"""``parity check`` and ``parity explain``: run every property, report, and name causes if asked."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import parity
from parity.ask.progress import Tell, progress
from parity.ask.recorded import Recorded
from parity.ask.session import Session
from parity.commands import outputs, programs
from parity.commands.config import Config, apply_waivers, load_config
from parity.commands.options import at_least, pair_of, refuse_timeout
from parity.draw.plan import Plan, beside_golden, draw, possible
from parity.draw.profiles import Profile, profile_named
from parity.errors import BadCall, ParityError, PortFailed
from parity.golden import baseline, goldens
from parity.side.lines import Lines
from parity.tell.render import terminal
from parity.tell.report import Report
from parity.values.cases import Case
from parity.verdict.outcome import CheckResult

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
        if self.only:
            from parity.entries.runner import refuse_unknown

            refuse_unknown(self.only)
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
        self.outputs = outputs.Outputs(options)
        self.console = Console(highlight=False)
        self.checks: list[CheckResult] = []
        self.failing: dict[str, tuple[Case, Path]] = {}
        self.explanation: Explanation | None = None
        self.environment: dict[str, str] = {}
        self.since: baseline.Since | None = None
        self.seconds: dict[str, float] = {}
        self.remarks: list[str] = []
        self.not_declared: tuple[str, ...] = ()
        self.not_claimed: tuple[str, ...] = ()
        self.not_exercised: list[dict[str, str]] = []
        self.whole = False  # every case of the golden can be put to this port
        self.stopped: BaseException | None = None
        self.ending: BaseException | None = None
        self.told: tuple[str, ...] = ()  # what has been printed

    def run(self) -> bool:
        """Do all that was asked, and tell what is found as soon as it is; whether it is parity.

        Raises:
            Exception, KeyboardInterrupt: what ended the run, once all it had found is told.
        """
        try:
            self._run()
        except (Exception, KeyboardInterrupt) as error:
            self.stopped = self.ending = error
            if not self.checks:
                raise
        report = self._tell(last=True)
        if self.explanation is not None and self.explanation.errors:
            self.ending = self.ending or self.explanation.errors[0]
        if self.ending is not None:
            raise self.ending
        return report.green

    def _run(self) -> None:
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
        runner = importlib.import_module(
            "parity.entries.runner"
        )  # half a second, while the sides start
        try:
            opening.open()
        except PortFailed as error:
            frames = "".join(getattr(error, "__notes__", ()))
            self.checks = runner.not_opened(self.only, str(error), frames)
            raise
        with contextlib.closing(opening) as session:
            self.seconds["start"] = time.perf_counter() - self.start
            self.environment = session.environment()
            self.not_declared, self.not_claimed = session.not_declared, session.not_claimed
            try:
                with progress(Console(stderr=True)) as tell:
                    plan = self._check(session, tell)
            finally:
                self.seconds |= {check.name: check.seconds for check in self.checks}
            begun = time.perf_counter()
            red = not all(check.verdict.green for check in self.checks)
            keeps = red and self.case is None and not session.port_hung
            shrinks = keeps and self.golden is None and not options.no_shrink
            if keeps and not shrinks:
                self._keep_smallest()
            if options.explains:
                if red:
                    self._tell_table()
                with progress(Console(stderr=True)) as tell:
                    self._explain(session, plan, tell)
            if shrinks:
                self._tell(last=False)
                with progress(Console(stderr=True)) as tell:
                    self._shrink(session, tell)
            self.seconds["explain"] = time.perf_counter() - begun

    def _check(self, session: Session, tell: Tell) -> Plan:
        """Run the checks; what is found stays, whatever ends them."""
        if self.golden is None:
            plan = draw(session, self.profile, self.seed)
        else:
            plan = beside_golden(session, self.golden.plan, self.profile, self.seed)
            recorded, fits = self.golden.plan, possible(session, self.golden.plan)
            left_out = len(recorded) - len(fits)
            # Of bad calls that are not put to it, the line of what is not claimed has told.
            self.whole = not left_out and fits.refusals == recorded.refusals
            if left_out:
                self.remarks.append(
                    f"{left_out} of {len(recorded)} recorded cases cannot be put to this port, "
                    "which builds one architecture, takes no settings or takes no gradient clip, "
                    "where the reference does"
                )
        from parity.entries.runner import run_checks

        run_checks(session, plan, only=self.only, case=self.case, tell=tell, finished=self.checks)
        if not self.only and self.case is None:
            self.not_exercised = not_exercised(plan, session.never_ran())
        if self.golden is not None:
            accepted, _ = self._waived()
            self.since = baseline.since(
                self.golden, self.baseline, session, accepted, self.options.port
            )
        return plan

    def _explain(self, session: Session, plan: Plan, tell: Tell) -> None:
        from parity.explain.explain import explain

        tell("looking for causes", 0, 1)
        self.explanation = explain(session, self.checks, plan)
        tell("looking for causes", 1, 1)

    def _shrink(self, session: Session, tell: Tell) -> None:
        """Look for the smallest failing case of the first check that has one.

        What ends the search takes nothing away: the smallest case until then is kept.
        """
        from parity.entries.shrinking import smallest

        found: dict[str, Case] = {}
        try:
            for check in self.checks:
                if check.verdict.green:
                    continue

                def keep(case: Case, name: str = check.name) -> None:
                    found[name] = case

                small = smallest(session, check, self.profile, self.seed, tell, keep)
                if small is not None:
                    keep(small)
                    break
        except KeyboardInterrupt as interrupt:
            self.ending = interrupt
            self.remarks.append("the search for a smaller failing case was interrupted")
        except Exception as error:  # the verdict is known, and this does not change it
            problem = f"{type(error).__name__}: {error}"
            self.remarks.append(f"the search for a smaller failing case ended with {problem}")
        if found:
            self._keep(*next(iter(found.items())))
        else:
            self._keep_smallest()

    def _keep_smallest(self) -> None:
        """Keep the smallest failing case of those that were run."""
        from parity.entries.shrinking import smallest_recorded

        for check in self.checks:
            if (small := smallest_recorded(check)) is not None:
                self._keep(check.name, small)
                return

    def _keep(self, name: str, case: Case) -> None:
        from parity.entries.shrinking import keep

        try:
            self.failing = {name: (case, keep(case, name, self.config.root))}
        except BadCall as error:
            self.remarks.append(str(error))

    def _tell_table(self) -> None:
        """Print the table before causes are looked for, and write the files."""
        report = self.report()
        try:
            terminal.print_table(report, self.console)
            terminal.print_outlook(report, self.console)
        finally:
            self.told = ("table",)
            self.outputs.write(report, last=False)

    def _tell(self, *, last: bool) -> Report:
        """Print what has not been printed yet and, below it, the verdict; write the files.

        Args:
            last: nothing will be found after this.
        """
        report, before = self.report(), self.told
        told = ("table", "details", *report.failing, *report.remarks)
        try:
            if told != before:
                if "table" not in before:
                    terminal.print_table(report, self.console)
                if "details" not in before:
                    terminal.print_details(report, self.console)
                else:
                    terminal.print_smallest(report, self.console, before)
                terminal.print_verdict(report, self.console)
        finally:
            self.told = told
            self.outputs.write(report, last=last)
        return report

    @property
    def _asks_all(self) -> bool:
        """Whether nothing that was recorded may go unasked: it may where another port is given,
        which perhaps can be asked less."""
        everything = self.whole or self.options.port is None
        return everything and not self.only and self.case is None

    def _waived(self) -> tuple[list[CheckResult], list[str]]:
        return apply_waivers(self.checks, self.config.accept, datetime.date.today())

    def report(self) -> Report:
        """What there is to report."""
        accepted, problems = self._waived()
        if self.stopped is not None:
            problems = [f"stopped: {_in_words(self.stopped)}"]
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
            not_declared=self.not_declared,
            not_claimed=self.not_claimed,
            not_exercised=tuple(self.not_exercised),
            since=self.since,
        )


def run(options: argparse.Namespace) -> int:
    """Check, explain if asked, report; the exit status.

    Raises:
        Exception, KeyboardInterrupt: what ended the run, after what had been finished by then was
            reported.
    """
    if programs.asked(options):
        configured = load_config(Path.cwd()).pair is not None
        if not configured or not programs.needs_pair(options):
            try:
                return programs.run(options, configured=configured)
            except programs.NoPrograms:
                pass  # two declarations take the places of both sides of the configured pair
    if options.input:
        raise BadCall(
            f"--input {options.input[0]}: a pair declares its inputs; give --input with two "
            "programs, --reference SPEC --port SPEC, and no pair"
        )
    return 0 if _Run(options).run() else 1


def _in_words(error: BaseException) -> str:
    """Why a run was stopped."""
    if isinstance(error, ParityError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"parity failed with {type(error).__name__}: {error}"


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
