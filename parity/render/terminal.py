"""The report on a terminal: a table of verdicts, then what is wrong, worst first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from parity.cases import Case
from parity.comparison import SINGLE_RATIO, Comparison, Verdict
from parity.explain.causes import Cause, Unexplained
from parity.outcome import CheckResult, Outcome
from parity.report import Report, bound_in_words, notes
from parity.runner import Tell

STYLES = {
    Verdict.IDENTICAL: "green",
    Verdict.ROUNDING: "green",
    Verdict.UNCHECKED: "yellow",
    Verdict.IMPRECISE: "red",
    Verdict.DIVERGENT: "bold red",
    Verdict.INVALID: "bold red",
}

RED = (Verdict.IMPRECISE, Verdict.DIVERGENT, Verdict.INVALID)


def print_report(report: Report, console: Console) -> None:
    """The whole report: failures are explained below the table."""
    console.print(_table(report))
    for line in _notes(report):
        console.print(line, style="dim", highlight=False, soft_wrap=True)
    for check in report.checks:
        if not check.verdict.green:
            console.print()
            _print_failure(check, report, console)
    if report.explanation is not None:
        _print_explanation(report, console)
    for problem in report.problems:
        console.print(f"\n{problem}", style="red", highlight=False, soft_wrap=True)
    console.print()
    narrowed = f" (only {', '.join(report.narrowed)})" if report.narrowed else ""
    word = "PARITY" if report.green else "NO PARITY"
    style = "bold green" if report.green else "bold red"
    total = report.seconds.get("total", 0.0)
    console.print(
        f"[{style}]{word}[/]: {report.verdict}{narrowed}, profile {report.profile}, "
        f"seed {report.seed}, {total:.1f} s",
        highlight=False,
        soft_wrap=True,
    )


def _print_explanation(report: Report, console: Console) -> None:
    """Each cause with its fix and evidence, then what nothing explains."""
    assert report.explanation is not None
    for number, cause in enumerate(report.explanation.causes, start=1):
        headline = f"[bold]cause {number}: {cause.id}[/], {escape(_where(cause))}"
        console.print(f"\n{headline}", soft_wrap=True)
        for line in cause_lines(cause):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    for left in report.explanation.unexplained:
        headline = f"[bold yellow]unexplained[/]: {escape(_where(left))}"
        console.print(f"\n{headline}", soft_wrap=True)
        console.print(f"  {left.evidence}", markup=False, highlight=False, soft_wrap=True)
    if report.explanation.training_waits:
        console.print("\ntraining is red too; look again once the causes above are mended")
    if not report.green and not report.explanation.causes:
        console.print("\nno cause was found in the catalogue", style="yellow")


def _where(found: Cause | Unexplained) -> str:
    return f"{found.where} ({found.place})" if found.place else found.where


def cause_lines(cause: Cause) -> list[str]:
    """What a cause says, the fix first."""
    lines = [cause.title, f"mend: {cause.fix}"]
    if cause.residual_before is not None and cause.residual_after is not None:
        lines.append(
            f"undone, the residual falls from {cause.residual_before:.2g} to "
            f"{cause.residual_after:.2g}"
        )
    if cause.evidence:
        lines.append(f"evidence: {cause.evidence}")
    if cause.reading:
        lines.append(f"or, which behaves alike here: {cause.reading}")
    return lines


def _table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("check")
    table.add_column("verdict")
    for heading in ("cases", "residual", "floor", "error ratio"):
        table.add_column(heading, justify="right")
    for check in report.checks:
        measured = check.worst is not None
        verdict = f"{check.verdict} (accepted)" if check.accepted else str(check.verdict)
        table.add_row(
            check.name,
            f"[{STYLES[check.verdict]}]{verdict}[/]",
            str(check.cases),
            f"{check.residual:.1e}" if measured else "-",
            f"{check.floor:.1e}" if measured else "-",
            f"{check.error_ratio:.2f}" if check.error_ratio is not None else "-",
        )
    return table


def _notes(report: Report) -> Iterator[str]:
    yield "residual, floor: float64, relative to the largest reference element; 64 floors allowed"
    yield "error ratio: the port's float32 error over the reference's; 4 pooled, 16 each allowed"
    for check in report.checks:
        found = notes(check.outcomes)
        if "longest_horizon" in found:
            yield (
                f"free-running: {found['steps_within_horizon']} of {found['steps']} steps lie "
                f"within the horizon, the longest is {found['longest_horizon']} steps"
            )
        bound = {k.removesuffix("_bound"): v for k, v in found.items() if k.endswith("_bound")}
        if bound:
            shares = ", ".join(f"{clip} {share:.1%}" for clip, share in bound.items())
            yield f"most elements changed by each clip in one case: {shares}"


def _print_failure(check: CheckResult, report: Report, console: Console) -> None:
    """In order: first divergence, cause, n/N, worst element, bound and its origin, reproduction."""
    style = STYLES[check.verdict]
    outcome = check.first_bad
    bad = None if outcome is None else outcome.first_bad
    where = "" if bad is None else f" first at {escape(bad.array)}"
    console.print(
        f"[{style}]{check.name}: {check.verdict}[/]{where}", highlight=False, soft_wrap=True
    )
    lines = failure_lines(check)
    if check.verdict is not Verdict.UNCHECKED:
        lines.append(f"reproduce: {_command(check, report)}")
    if check.name in report.failing:
        lines += _reproduction(check, report)
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _reproduction(check: CheckResult, report: Report) -> list[str]:
    """Python that runs the smallest failing case by itself, the port in its own process."""
    case, path = report.failing[check.name]
    arguments = [report.pair, path.as_posix(), check.name]
    sides = {"port": report.port, "reference": report.reference, "golden": report.golden}
    given = [repr(argument) for argument in arguments]
    given += [f"{side}={spec!r}" for side, spec in sides.items() if spec is not None]
    return [
        f"or its smallest case ({_described(case)}), the port where a debugger stops in it:",
        "    from parity.testing import reproduce",
        f"    reproduce({', '.join(given)})",
    ]


def failure_lines(check: CheckResult) -> list[str]:
    """What is wrong with a check that is not green, most telling first."""
    outcome = check.first_bad
    bad = None if outcome is None else outcome.first_bad
    own = None
    if outcome is not None:
        messages = "; ".join(finding["message"] for finding in outcome.findings)
        own = outcome.failure or messages or (None if bad is None else bad.problem)
    lines = [own] if own else []
    if bad is not None and bad.problem is None:
        lines += list(_numbers(bad))
    if outcome is None:
        lines += [check.problem] if check.problem else []
        return lines
    n_bad = sum(o.verdict in RED for o in check.outcomes)
    lines.append(
        f"{n_bad} of {_counted(len(check.outcomes), 'case')}; the first: {_origin(outcome)}"
    )
    if outcome.traceback:
        lines += outcome.traceback.strip().splitlines()[-8:]
    if check.problem not in (None, own):
        lines.append(f"in another case {check.problem}")
    return lines


def _numbers(bad: Comparison) -> Iterator[str]:
    yield f"{bad.mismatched} of {bad.size} elements differ by more than the bound"
    if bad.worst is not None:
        index = ", ".join(map(str, bad.worst.index))
        yield (
            f"worst at [{index}]: reference {bad.worst.reference:.17g}, port {bad.worst.port:.17g}"
            f", difference {bad.residual:.3g}"
        )
    if bad.verdict is Verdict.IMPRECISE and bad.error_ratio is not None:
        yield (
            f"float64 agrees; in float32 the port's error {bad.error32:.3g} is "
            f"{bad.error_ratio:.1f} times the reference's own {bad.floor32:.3g} "
            f"({SINGLE_RATIO:g} allowed in one case)"
        )
    else:
        yield f"allowed: {bound_in_words(bad.floor)}"


def _origin(outcome: Outcome) -> str:
    if outcome.case is None:
        return "(no case)"
    return _described(outcome.case)


def _described(case: Case) -> str:
    origin = case.origin
    weights = origin.get("weights") or {}
    name = weights.get("trained") or f"random weights (scale {weights.get('scale')})"
    parts = [
        f"{name}",
        _counted(len(case.images), f"{origin.get('images', '')} image".strip()),
    ]
    if case.settings is not None:
        parts.append(f"settings {dict(case.settings)}")
    if case.sampler is not None:
        call = case.sampler
        clip = "default" if call.gradient_clip is None else format(call.gradient_clip, "g")
        parts.append(
            f"{_counted(call.steps, 'step')} of size {call.step_size:g}, noise {call.noise:g}, "
            f"gradient clip {clip}"
        )
    return ", ".join(parts)


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _command(check: CheckResult, report: Report) -> str:
    parts = ["parity check", report.pair]
    for option, spec in (("--port", report.port), ("--reference", report.reference)):
        if spec is not None:
            parts.append(f"{option} {spec}")
    drawn = f"--profile {report.profile} --seed {report.seed}"
    parts.append(drawn if report.golden is None else f"--golden {report.golden}")
    return " ".join([*parts, f"--only {check.name}"])


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Tell]:
    """A bar per property while the run goes on; gone when it ends, and absent from logs."""
    columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        tasks = {}

        def tell(claim: str, done: int, expected: int) -> None:
            if claim not in tasks:
                tasks[claim] = bars.add_task(claim, total=expected)
            bars.update(tasks[claim], completed=done, total=max(done, expected))

        yield tell
