"""``parity check`` and ``parity align`` of two programs as they are: no pair declares them."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

import parity
from parity.ask.opening import DECLARED
from parity.ask.progress import progress
from parity.commands import outputs
from parity.commands.options import at_least, refuse_timeout
from parity.correspond.match import Correspondence
from parity.declare.inputs import InputSpec
from parity.draw.profiles import profile_named
from parity.entries.programs.pair import CHECKS, ProgramPair
from parity.errors import BadCall, MissingPackage, ParityError, PortFailed
from parity.explain.causes import Explanation
from parity.tell.render import terminal
from parity.tell.report import Report
from parity.verdict.outcome import CheckResult, Outcome, pool

NO_MODEL = "no attribute 'model'"
"""What is said of a SPEC without an attribute that is a declaration's."""

CASES = {"quick": 3, "ci": 12, "nightly": 60}
"""Cases of drawn weights in each profile, besides one of the model's own."""


NOT_LOOKED_AT = (
    "not looked at without a declaration: training mode, flags and generators of the process, "
    "batches of other sizes than the drawn ones, lines of the port that never ran"
)


def asked(options: argparse.Namespace) -> bool:
    """Whether the call names two programs and no pair."""
    return options.pair is None and None not in (options.reference, options.port)


class NoPrograms(Exception):
    """What was named are declarations of sides, or may be."""


def needs_pair(options: argparse.Namespace) -> list[str]:
    """Options of the call that only a pair has an answer to."""
    found = [f"--{n}" for n in ("golden", "case") if getattr(options, n) is not None]
    found += ["--in-process"] if options.in_process else []
    found += ["--strict"] if options.strict else []
    unknown = [name for name in _only(options) if name not in CHECKS]
    return [*found, *([f"--only {','.join(unknown)}"] if unknown else [])]


def _only(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for names in options.only for name in names.split(",") if name)


def run(options: argparse.Namespace, *, configured: bool = False) -> int:
    """Compare both programs and report; the exit status.

    Args:
        configured: pyproject.toml names a pair, whose sides may be meant to be replaced.

    Raises:
        NoPrograms: they are.
        BadCall: an option that needs a pair; what a side is cannot be run without a declaration.
        ReferenceFailed, MissingPackage: the reference cannot be run.
    """
    start = time.perf_counter()
    only = _only(options)
    if unknown := [name for name in only if name not in CHECKS]:
        raise BadCall(
            f"unknown checks {', '.join(unknown)} of two programs; known: {', '.join(CHECKS)}; "
            "others need a pair (README, 'Your own pair')"
        )
    if needing := needs_pair(options):
        raise BadCall(f"{needing[0]} needs a pair: declare one (README, 'Your own pair')")
    at_least("--seed", options.seed or 0, 0)
    refuse_timeout(options.timeout)
    profile = profile_named(options.profile or "quick")
    outputs.refuse(options)
    remarks: list[str] = []
    checks: Sequence[CheckResult]
    environment: dict[str, str] = {}
    correspondence = Correspondence(())
    explanation: Explanation | None = None
    with progress(Console(stderr=True)) as tell:
        tell("which parameter is which weight", 0, 1)
        pair = opened(options)
        try:
            with _entered(pair, configured):
                environment = pair.environment()
                correspondence = pair.align()
                tell("which parameter is which weight", 1, 1)
                remarks += pair.said()
                checks = pair.check(CASES[profile.name], options.seed or 0, tell)
                _refuse_left_out(only, checks)
                if not options.explains:
                    remarks += pair.departures(checks)
                elif not all(check.verdict.green for check in checks):
                    tell("looking for causes", 0, 1)
                    explanation = _explained(pair)
                    tell("looking for causes", 1, 1)
                remarks.append(NOT_LOOKED_AT)
        except PortFailed as error:
            frames = "".join(getattr(error, "__notes__", ()))
            failed = [Outcome(name, failure=str(error), traceback=frames) for name in CHECKS]
            checks = [pool(outcome.check, [outcome], 0.0) for outcome in failed]
    report = Report(
        pair="",
        profile=profile.name,
        seed=options.seed or 0,
        checks=tuple(check for check in checks if not only or check.name in only),
        environment={
            "parity": parity.__version__,
            "python": sys.version.split()[0],
            **environment,
        },
        seconds={"total": time.perf_counter() - start},
        port=options.port,
        reference=options.reference,
        narrowed=only,
        inputs=tuple(options.input),
        remarks=tuple(remarks),
        correspondence=tuple(correspondence.to_plain()),
        explanation=explanation,
    )
    terminal.print_report(report, Console(highlight=False))
    outputs.Outputs(options).write(report, last=True)
    if explanation is not None and explanation.errors:
        raise explanation.errors[0]  # once what is known is told
    return 0 if report.green else 1


def _explained(pair: ProgramPair) -> Explanation:
    """What is found until something of parity's own keeps it from going on."""
    from parity.explain.by_value import explain_programs

    try:
        return explain_programs(pair)
    except Exception as error:
        return Explanation(errors=(error,))


@contextlib.contextmanager
def _entered(pair: ProgramPair, configured: bool) -> Iterator[None]:
    try:
        pair.__enter__()
    except ParityError as error:
        said = DECLARED in str(error) or NO_MODEL in str(error)
        perhaps = said or error.raised_in is not None or isinstance(error, MissingPackage)
        if configured and perhaps and not pair.weights:
            raise NoPrograms from error
        raise
    with contextlib.closing(pair):
        yield


def _refuse_left_out(only: Sequence[str], checks: Sequence[CheckResult]) -> None:
    found = [check.name for check in checks]
    if left_out := [name for name in only if name not in found]:
        raise BadCall(
            f"--only {','.join(left_out)}: the reference has nothing for it (its inputs are all "
            f"integers, or no weight of it is trained); it has: {', '.join(found)}"
        )


def align(options: argparse.Namespace) -> int:
    """Print which parameter holds which weight; 1 if a weight has none.

    Raises:
        PortFailed: the port cannot be run.
    """
    refuse_timeout(options.timeout)
    with progress(Console(stderr=True)) as tell, opened(options) as pair:
        tell("which parameter is which weight", 0, 1)
        found = pair.align()
        tell("which parameter is which weight", 1, 1)
        said = pair.said()
    table = Table("weight of the reference", "parameter of the port", "as", "told by", box=None)
    for row in found.to_plain():
        table.add_row(row["weight"], ", ".join(row["parameters"]), row["layout"], row["how"])
    console = Console(highlight=False)
    console.print(table)
    for line in said:
        console.print(line, markup=False, soft_wrap=True)
    return 1 if found.missing else 0


def opened(options: argparse.Namespace) -> ProgramPair:
    """Both programs, in processes that are starting."""
    inputs = [InputSpec.parse(text) for text in options.input]
    return ProgramPair(options.reference, options.port, inputs, timeout=options.timeout)
