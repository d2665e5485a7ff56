"""For tests: hold an outcome to its claim, with a message a person can act on."""

from __future__ import annotations

from collections.abc import Iterable

from parity.outcome import Outcome, pool
from parity.render.terminal import failure_lines


def assert_green(outcomes: Iterable[Outcome]) -> None:
    """Fail unless every outcome is ``identical`` or ``rounding``.

    Raises:
        AssertionError: first divergence, n/N elements, worst element, and the bound's origin.
    """
    __tracebackhide__ = True
    for outcome in outcomes:
        if not outcome.verdict.green:
            check = pool(outcome.check, [outcome], 0.0)
            headline = f"{check.name}: {check.verdict}"
            raise AssertionError("\n  ".join([headline, *failure_lines(check)]))
