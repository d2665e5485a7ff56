"""The report on a terminal: a table of verdicts, then what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parity.explain.causes import Cause, Unexplained
from parity.tell.messages import failure_lines, headline, not_asked, not_exercised_lines
from parity.tell.report import Report, notes
from parity.verdict.comparison import Verdict
from parity.verdict.outcome import CheckResult

STYLES = {
    Verdict.IDENTICAL: "green",
    Verdict.ROUNDING: "green",
    Verdict.UNCHECKED: "yellow",
    Verdict.IMPRECISE: "red",
    Verdict.DIVERGENT: "bold red",
    Verdict.INVALID: "bold red",
}


def print_report(report: Report, console: Console) -> None:
    """The whole report: the table, below it what is wrong, and the verdict last."""
    print_table(report, console)
    print_details(report, console)
    print_verdict(report, console)


def print_table(report: Report, console: Console) -> None:
    """A line for each check, and what the numbers are."""
    console.print(_table(report))
    for line in _notes(report):
        console.print(line, style="dim", highlight=False, soft_wrap=True)


def print_details(report: Report, console: Console) -> None:
    """What is wrong, in order of computation, with its causes; then what was not compared."""
    told: set[str] = set()
    red = [check for check in report.checks if not check.verdict.green]
    red.sort(key=lambda check: check.verdict is Verdict.UNCHECKED)  # first what is wrong
    for check in red:
        console.print()
        console.print(
            escape(headline(check)), style=STYLES[check.verdict], highlight=False, soft_wrap=True
        )
        if check is red[0] and report.explanation is not None:
            _print_explanation(report, console)
            console.print()
        _print_lines(_without_repetitions(check, report, told), console)
    for line in since_lines(report):
        console.print(f"\n{line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    for problem in report.problems:
        console.print(f"\n{problem}", style="red", markup=False, highlight=False, soft_wrap=True)


def print_outlook(report: Report, console: Console) -> None:
    """One line while causes are looked for; whoever stops it there has seen the verdict."""
    if not report.green:
        console.print()
        console.print(f"{report.verdict}: looking for causes", style=STYLES[report.verdict])


def print_smallest(report: Report, console: Console, said: Collection[str] = ()) -> None:
    """What the search for a smaller failing case came to: how to run it again."""
    for remark in report.remarks:
        if remark not in said:
            console.print(f"\n{remark}", style="yellow", markup=False, highlight=False)
    for check in report.checks:
        if lines := report.smallest_case(check):
            console.print(f"\n{check.name}:", highlight=False)
            _print_lines(lines, console)


def print_verdict(report: Report, console: Console) -> None:
    """One line: the last, where a person looks."""
    console.print()
    narrowed = f" (only {', '.join(report.narrowed)})" if report.narrowed else ""
    golden = "" if report.golden is None else f"golden {escape(report.golden)}, "
    word = "PARITY" if report.green else "NO PARITY"
    style = "bold green" if report.green else "bold red"
    total = report.seconds.get("total", 0.0)
    console.print(
        f"[{style}]{word}[/]: {report.verdict}{narrowed}, {golden}profile {report.profile}, "
        f"seed {report.seed}, {total:.1f} s{escape(_mends(report))}",
        highlight=False,
        soft_wrap=True,
    )


def _mends(report: Report) -> str:
    """Once more, where a person looks last: what to mend, and where."""
    causes = [] if report.explanation is None else report.explanation.causes
    found = dict.fromkeys(f"{cause.id} at {cause.place or cause.where}" for cause in causes)
    return f"; mend {', '.join(found)}" if found else ""


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


def since_lines(report: Report) -> list[str]:
    """What changed since a golden was recorded, where that matters."""
    since = report.since
    if since is None:
        return []
    lines = [m.in_words() for m in since.margins if m.worse and m.in_words() not in report.problems]
    if report.verdict.green:
        return [*lines, since.not_judged] if since.not_judged else lines
    if since.attribution:
        lines.append(f"since the golden was recorded: {since.attribution}")
    if since.differences:
        shown = [
            f"{d.name} {d.recorded or 'none'} -> {d.here or 'none'}" for d in since.differences
        ]
        lines.append(f"recorded elsewhere, here otherwise: {', '.join(shown)}")
    return lines


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
    lines.append(f"source: {cause.source}")
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
    yield from not_asked(report.not_declared, report.not_claimed)
    yield from report.remarks
    yield from not_exercised_lines(report.not_exercised)
    yield "residual, floor: float64, relative to the largest reference element; 64 floors allowed"
    yield "error ratio: the port's float32 error over the reference's; 4 pooled, 16 each allowed"
    for check in report.checks:
        found = notes(check.outcomes)
        if "longest_horizon" in found:
            yield (
                f"free-running: {found['steps_within_horizon']} of {found['steps']} steps lie "
                f"within the horizon, the longest is {found['longest_horizon']} steps"
            )
        if "clips" in found:
            shares = ", ".join(f"{clip} {share:.1%}" for clip, share in found["clips"].items())
            yield f"most elements changed by each clip in one case: {shares}"


def _without_repetitions(check: CheckResult, report: Report, told: set[str]) -> list[str]:
    """What is wrong with a check: n/N, worst element, bound and its origin, how to see it again.

    Args:
        told: what other checks had to say of the same failure, which is not said again.
    """
    lines = failure_lines(check)
    outcome = check.first_bad
    if outcome is not None and outcome.failure is not None:
        if outcome.failure in told:
            lines = [f"{outcome.failure.splitlines()[0]} (as above)"]
        told.add(outcome.failure)
    return [*lines, *report.reproduction(check), *report.acceptance(check)]


def _print_lines(lines: Iterable[str], console: Console) -> None:
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
