"""One array of a port's answer against the reference's, and what becomes of a port that fails."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.errors import PortFailed
from parity.values.cases import Case
from parity.values.traces import Trace
from parity.verdict.comparison import Answer, Comparison, compare
from parity.verdict.outcome import Outcome


def compare_arrays(name: str, reference: Trace, port: Trace) -> Comparison:
    """One named array of two traces."""
    return compare(
        name,
        reference_answer(reference, name),
        port.array("float64", name),
        port.array("float32", name),
        no_oracle=oracle_trouble(port),
        same_bits=reference.same_bits(port, name),
    )


def reference_answer(reference: Trace, name: str) -> Answer:
    """The reference's array with its floors."""
    floors = {p: _floor(reference.floors[p], name) for p in ("float64", "float32")}
    return Answer(
        float64=reference.arrays["float64"][name],
        floor64=floors["float64"],
        error32=float(np.max(reference.errors[name])),
        floor32=floors["float32"],
    )


def oracle_trouble(port: Trace) -> str | None:
    """Why the port's float64 run is none, naming the operations, or None."""
    operations = port.notes.get("not_float64")
    return (
        f"in a float64 run the port computes in float32 at {', '.join(operations)}"
        if operations
        else None
    )


def failed(check: str, case: Case | None, error: PortFailed) -> Outcome:
    """The outcome of a check whose port raised, hung or died."""
    notes = getattr(error, "__notes__", None)
    return Outcome(check, (), case, failure=str(error), traceback=notes[0] if notes else None)


def _floor(floors: Mapping[str, np.ndarray], name: str) -> float:
    return float(np.max(floors[name]))
