"""Running every property of a pair over the cases of a plan.

A property is a claim over recipes: the plan has them, a function of one of the entries asks both
sides, and the outcomes of all cases are pooled per check.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from parity.ask.progress import Tell
from parity.ask.session import Session
from parity.draw.plan import Plan
from parity.entries.property import Property
from parity.entries.registry import CHECKS, PARTS, of_saved, properties
from parity.errors import BadCall, ReferenceFailed
from parity.values.cases import Case
from parity.verdict.outcome import CheckResult, Outcome, pool

REFERENCE, RUN = "the reference failed", "the run was stopped"


def run_checks(
    session: Session,
    plan: Plan,
    *,
    only: Sequence[str] = (),
    case: Case | None = None,
    tell: Tell | None = None,
    finished: list[CheckResult] | None = None,
) -> list[CheckResult]:
    """Run every property, or those that feed the checks named in ``only``.

    Args:
        case: check this saved case alone, and none of the plan's.
        tell: told (claim, cases done, cases expected) as the work goes on.
        finished: gets the results, those of a run that did not come to its end, too.

    Returns:
        One result for each check; none for a check of entries that neither side declares.

    Raises:
        BadCall: ``only`` names no check of ours, or one of what neither side declares or the pair
            does not claim.
        ReferenceFailed: never read as the port's fault.
    """
    refuse_unknown(only)
    claims = [*(properties(session, plan) if case is None else of_saved(session, case))]
    asked = {name for claim in claims for name in _declared(session, claim)}
    if case is None and (never := [name for name in only if name not in asked]):
        raise BadCall("; ".join(_why(session, name) for name in never))
    wanted = tuple(name for name in (only or CHECKS) if name in asked)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in wanted}
    seconds = dict.fromkeys(wanted, 0.0)
    unchecked: dict[str, str] = {}
    stopped: BaseException | None = None
    why = ""
    for claim in claims:
        mine = [name for name in _declared(session, claim) if name in wanted]
        if not mine:
            continue
        if stopped is not None:
            unchecked |= dict.fromkeys(mine, why)
            continue
        lacking = {name: text for name in mine if (text := _lacking(session, claim, name))}
        unchecked |= lacking
        mine = [name for name in mine if name not in lacking]
        if not mine:
            continue
        start = time.perf_counter()
        try:
            for done, found in enumerate(claim.run(), start=1):
                for outcome in found:
                    if outcome.check in outcomes and outcome.check not in lacking:
                        outcomes[outcome.check].append(outcome)
                if tell is not None:
                    tell(claim.claim, done, claim.expected)
        except BaseException as error:  # whatever it is, what is finished by then stays
            stopped = error
            failed = isinstance(error, ReferenceFailed)
            why = f"{REFERENCE if failed else RUN} before every case was compared"
            unchecked |= dict.fromkeys(mine, why)
        else:
            unchecked |= claim.untested([o for name in mine for o in outcomes[name]])
        for name in mine:
            seconds[name] += (time.perf_counter() - start) / len(mine)
    tested = [name for name in wanted if case is None or outcomes[name]]
    results = [
        pool(
            name,
            outcomes[name],
            seconds[name],
            unchecked=unchecked.get(name),
            whole=case is None and stopped is None,
        )
        for name in tested
    ]
    if finished is not None:
        finished[:] = results
    if stopped is not None:
        raise stopped
    return results


def refuse_unknown(checks: Sequence[str]) -> None:
    """Refuse names that are no check's.

    Raises:
        BadCall: lists them, and those there are.
    """
    if unknown := [name for name in checks if name not in CHECKS]:
        raise BadCall(f"unknown checks {', '.join(unknown)}; known: {', '.join(CHECKS)}")


def not_opened(only: Sequence[str], why: str, traceback: str) -> list[CheckResult]:
    """What there is to say of a port that cannot be opened: every check is ``invalid``."""
    return [
        pool(name, [Outcome(name, failure=why, traceback=traceback)], 0.0)
        for name in tuple(only) or CHECKS
    ]


def _declared(session: Session, claim: Property) -> list[str]:
    """The claim's checks, but for those of what neither side declares."""
    if session.undeclared(claim.needs[-1]):
        return []
    return [n for n in claim.checks if n not in PARTS or not session.undeclared(PARTS[n])]


def _lacking(session: Session, claim: Property, check: str) -> str | None:
    """What a side lacks, in words, of all that one of the claim's checks needs."""
    needs = (*claim.needs, *((PARTS[check],) if check in PARTS else ()))
    return next((text for entry in needs if (text := session.lacking(entry))), None)


def _why(session: Session, check: str) -> str:
    """Why nothing feeds the check."""
    if check in session.not_claimed:
        return f"{check} is not asked for: the pair does not claim it (claims=({check!r},))"
    lacking = ", ".join(session.not_declared)
    return f"{check} has nothing to check: neither side declares {lacking}"
