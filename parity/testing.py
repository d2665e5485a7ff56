"""One saved case against the port in this process: for reproductions and for tests."""

from __future__ import annotations

from pathlib import Path

from parity.cases import Case
from parity.profiles import profile_named
from parity.runner import run_checks
from parity.session import Session


def reproduce(
    pair: str,
    case: str | Path,
    check: str,
    *,
    port: str | None = None,
    reference: str | None = None,
    in_process: bool = True,
) -> None:
    """Run one check on one saved case; returns if it is green.

    The port runs in this process, so that a debugger stops in it.

    Args:
        pair: SPEC of the pair.
        case: a file that ``parity check`` has kept.
        check: the check's name.
        port, reference: SPEC that replaces one side.

    Raises:
        AssertionError: it is not green; says what differs, where, and by how much.
        BadFile: the case cannot be read.
        BadCall: no check has that name.
    """
    from parity.render.terminal import failure_lines

    loaded = Case.load(case)
    with Session(pair, reference=reference, port=port, in_process=in_process) as session:
        checks = run_checks(session, profile_named("quick"), only=(check,), case=loaded)
    for result in checks:
        if not result.verdict.green:
            lines = "\n  ".join(failure_lines(result))
            raise AssertionError(f"{result.name}: {result.verdict}\n  {lines}")
    print(f"{check}: {', '.join(str(result.verdict) for result in checks) or 'not checked'}")
