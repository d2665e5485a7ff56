"""What one side makes of raw images."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.side.repeated import note_difference
from parity.side.runner import Arrays, SideRunner
from parity.values.traces import PRECISIONS, Trace


def preprocess(runner: SideRunner, images: np.ndarray, *, twice: bool = False) -> Trace:
    """``preprocess(images)`` in both precisions, as ``preprocessed``; ``twice`` as of
    :meth:`network`."""
    arrays: dict[str, Arrays] = {}
    notes: dict[str, Any] = {}
    for precision in PRECISIONS:
        with runner.precision(precision):
            arrays[precision] = {"preprocessed": runner.preprocessed(images)}
            if twice:
                again = {"preprocessed": runner.preprocessed(images)}
                note_difference(notes, arrays[precision], again)
    return Trace(arrays, notes=notes)
