"""The draw log: what each side drew, in which order, between which evaluations of the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from parity.values.cases import Case
from parity.values.exhibits import DrawLogs
from parity.values.randomness import Draw, compared, stretches
from parity.values.traces import Trace
from parity.verdict.outcome import Outcome


def check_draws(case: Case, reference: Trace, port: Trace) -> Outcome:
    """Family, count, dtype, order, and position between evaluations of the network.

    How many evaluations come between two draws does not matter, only whether there are any
    (:func:`parity.values.randomness.stretches`). In training not even that: real images may be
    evaluated before samples are drawn, after, or together with them.
    """
    theirs, ours = (_comparable(case, trace.draws) for trace in (reference, port))
    escaped = [draw for draw in ours if not draw.served]
    findings = []
    placed = case.training is None
    alike = [a == b for a, b in zip(stretches(theirs), stretches(ours), strict=False)]
    for number in range(max(len(theirs), len(ours))):
        expected = theirs[number] if number < len(theirs) else None
        found = ours[number] if number < len(ours) else None
        if number >= len(alike) or not alike[number]:
            findings.append(
                {
                    "id": "draw-log",
                    "message": f"draw {number}: the reference draws {_shown(expected, placed)}, "
                    f"the port {_shown(found, placed)} ({len(theirs)} draws against {len(ours)})",
                }
            )
            break
    hosts = [trace.notes.get("host_generators") for trace in (reference, port)]
    if hosts[0] != hosts[1] and not findings:
        findings.append(
            {
                "id": "draw-log",
                "message": "afterwards Python's random or NumPy's global generator stands "
                "elsewhere than the reference's: other calls were made of it, or other sizes drawn",
            }
        )
    findings += _repeated(case, reference, port)
    failure = None
    if escaped:
        failure = (
            f"randomness escaped: the port draws by {escaped[0].family}, for which there is no "
            "shared stream"
        )
    notes = {"draws": len(theirs), "port_draws": len(ours)}
    return Outcome(
        "draw_log",
        case=case,
        failure=failure,
        findings=tuple(findings),
        notes=notes,
        looked=True,
        exhibit=DrawLogs(tuple(compared(reference.draws)), tuple(compared(port.draws))),
    )


def _repeated(case: Case, reference: Trace, port: Trace) -> list[dict[str, str]]:
    """By what the port would repeat its own numbers, of a family of which the reference does not.

    A reference may well: by a stateless operation with the same seed in each step.
    """
    entry = "generate_samples" if case.training is None else "train_step"
    theirs, ours = (
        {entry: trace.notes.get("repeated", {}), **trace.notes.get("again", {})}
        for trace in (reference, port)
    )
    findings = []
    for name, repeated in ours.items():
        again = [text for text, family in repeated.items() if family not in theirs.get(name, ())]
        if not again:
            continue
        before = "an earlier draw of this run" if name == entry else f"an earlier call of {name}"
        text = (
            f"by itself the port would draw the same numbers again by {again[0]}: it finds its "
            f"generator where {before} found it, and the reference's own differ"
        )
        found = {"id": "noise-seeded", "message": text, "part": f"{name}/noise"}
        findings.append(found | ({} if name == entry else {"where": f"{name}, the noise"}))
    return findings


def _comparable(case: Case, draws: Sequence[Draw]) -> list[Draw]:
    if case.training is not None:
        draws = [dataclasses.replace(draw, position=0) for draw in draws]
    return compared(draws)


def _shown(draw: Draw | None, placed: bool) -> str:
    if draw is None:
        return "nothing"
    what = f"{draw.count} {draw.family} ({draw.dtype})"
    return f"{what} after {draw.position} evaluations of the network" if placed else what
