"""Validation: on which images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from parity.explain.causes import Cause, Unexplained
from parity.explain.training.numbers import BOUND, apart
from parity.explain.training.runs import Run


def validation(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """Whether validation is made on the reference's images."""
    for reference, port in runs:
        expected, found = reference.validated, port.validated
        if expected is None or found is None:
            continue
        values = max((abs(v) for v in reference.validation.values()), default=1.0) or 1.0
        before = max(
            (abs(v - port.validation.get(n, np.inf)) for n, v in reference.validation.items()),
            default=0.0,
        )
        if apart(found, expected) > BOUND:
            both = range(min(len(expected), len(found)))
            rows = [n for n in both if apart(found[n], expected[n]) > BOUND]
            n_real = len(reference.steps[0].real)
            kind = "real" if rows and rows[0] < n_real else "other"
            yield Cause(
                "validation-data",
                "validate",
                before / values,
                None,
                f"{len(rows)} of its {len(found)} images are not the reference's {len(expected)}, "
                f"the first of them number {rows[0] if rows else len(expected)}, a {kind} one",
                part="validate",
            )
            return
