"""For tests and reproductions: hold outcomes to their claim, with a message to act on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from parity.ask.recorded import Recorded
from parity.ask.session import Session
from parity.draw.plan import Plan
from parity.entries.runner import run_checks
from parity.golden import goldens
from parity.tell.messages import failure_lines, headline
from parity.values.cases import Case
from parity.verdict.outcome import CheckResult, Outcome, pool


def assert_green(outcomes: Iterable[Outcome]) -> None:
    """Fail unless every outcome is ``identical`` or ``rounding``.

    Raises:
        AssertionError: first divergence, n/N elements, worst element, and the bound's origin.
    """
    __tracebackhide__ = True
    for outcome in outcomes:
        _assert_green(pool(outcome.check, [outcome], 0.0, whole=False))


def reproduce(
    pair: str,
    case: str | Path,
    check: str,
    *,
    port: str | None = None,
    reference: str | None = None,
    golden: str | Path | None = None,
    in_process: bool = True,
) -> None:
    """Run one check on one saved case; says its verdict and returns if that is green.

    The port runs in this process, so that a debugger stops in it.

    Args:
        pair: SPEC of the pair.
        case: a file that ``parity check`` has kept.
        check: the check's name.
        port, reference: SPEC that replaces one side.
        golden: folder of a golden that holds the case, in place of a reference that runs.

    Raises:
        AssertionError: it is not green; says what differs, where, and by how much.
        BadFile: the case cannot be read.
        BadCall: no check has that name.
    """
    __tracebackhide__ = True
    loaded = Case.load(case)
    recorded = None
    if golden is not None:
        folder = Path(golden)
        recorded = Recorded(goldens.load(folder, Path.cwd(), pair).answers, str(folder))
    with Session(
        pair, reference=reference, port=port, in_process=in_process, recorded=recorded
    ) as session:
        checks = run_checks(session, Plan(), only=(check,), case=loaded)
    for result in checks:
        _assert_green(result)
        print(f"{result.name}: {result.verdict}")


def _assert_green(check: CheckResult) -> None:
    __tracebackhide__ = True
    if not check.verdict.green:
        raise AssertionError("\n  ".join([headline(check), *failure_lines(check)]))
