"""What is wrong, in words: the same sentences for the terminal, for CI and for a report."""

from __future__ import annotations

import datetime
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence

from parity.values.cases import Case
from parity.verdict.comparison import FLOAT64_FLOORS, SINGLE_RATIO, Comparison, Verdict
from parity.verdict.outcome import CheckResult, Outcome

RED = (Verdict.IMPRECISE, Verdict.DIVERGENT, Verdict.INVALID)


def headline(check: CheckResult) -> str:
    """One line: the check, its verdict, and the first array or step that is wrong."""
    bad = None if check.first_bad is None else check.first_bad.first_bad
    where = "" if bad is None else f" first at {bad.array}"
    return f"{check.name}: {check.verdict}{where}"


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


def bound_in_words(floor: float) -> str:
    """Where the float64 bound comes from."""
    return (
        f"{FLOAT64_FLOORS * floor:.3g} = {FLOAT64_FLOORS:g} x the noise floor {floor:.3g}, "
        "measured on the reference with every input, weight and bias moved by one "
        "unit in the last place"
    )


def _origin(outcome: Outcome) -> str:
    return "(no case)" if outcome.case is None else case_in_words(outcome.case)


def case_in_words(case: Case) -> str:
    """How a case was drawn: weights, images, settings, arguments of the sampler."""
    origin = case.origin
    weights = origin.get("weights") or {}
    name = weights.get("trained") or f"random weights (scale {weights.get('scale')})"
    parts = [
        f"{name}",
        _counted(len(case.images), f"{origin.get('images', '')} image".strip()),
    ]
    if case.view:
        parts.append("handed over as a view that is not contiguous")
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


def not_asked(not_declared: Sequence[str], not_claimed: Sequence[str]) -> list[str]:
    """In one line what has no verdict: what neither side declares, and what nobody claims."""
    parts = {"not declared": not_declared, "not claimed": not_claimed}
    said = [f"{what}: {', '.join(names)}" for what, names in parts.items() if names]
    return ["; ".join(said)] if said else []


MOST_NAMED = 8
"""Of what was not exercised, on a terminal; the JSON report has all."""


def not_exercised_lines(found: Sequence[Mapping[str, str]]) -> list[str]:
    """One line on what the run says nothing about, if anything: values first, then places."""
    lines = [each["where"] for each in found if ":" in each["where"]]
    values = [f"{e['what']} ({e['where']})" for e in found if ":" not in e["where"]]
    parts = [_some(values)] if values else []
    if lines:
        parts.append(f"lines that never ran: {_some(lines)}")
    return [f"not exercised: {'; '.join(parts)}"] if parts else []


def _some(named: Sequence[str]) -> str:
    more = len(named) - MOST_NAMED
    return ", ".join(named[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def acceptance(check: CheckResult, expires: datetime.date) -> str | None:
    """The entry of ``[tool.parity] accept`` that would waive the check; None if none can.

    Only numbers that are off can be waived: not what raised, is missing, or left something behind.
    """
    outcome = check.first_bad
    bad = None if outcome is None else outcome.first_bad
    refused = any(o.failure is not None or o.findings for o in check.outcomes)
    if bad is None or bad.problem is not None or refused or not math.isfinite(check.residual):
        return None
    limit = float(f"{1.1 * check.residual:.1e}")
    return (
        f'{{check = "{check.name}", where = "", max_residual = {limit!r}, '
        f'reason = "why this may be so", expires = {expires.isoformat()}}}'
    )


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def command(pair: str, options: Sequence[tuple[str, str | None]], check: str) -> str:
    """The command that runs one check again.

    Args:
        options: of the run, as (option, value); those without a value are left out.
    """
    words = ["parity", "check", *([pair] if pair else [])]
    for option, value in options:
        words += [] if value is None else [option, value]
    return shlex.join([*words, "--only", check])
