"""One side's network: energies, gradients and activations, in both precisions, with floors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.side.repeated import MOVED, note_difference
from parity.side.runner import Arrays, Run, SideRunner
from parity.values.cases import Case
from parity.values.traces import PRECISIONS, Trace
from parity.verdict.floor import floors_of, moved_copies


def network(
    runner: SideRunner,
    case: Case,
    *,
    copies: int = 0,
    activations: bool = True,
    subsets: Sequence[Sequence[int]] = (),
    twice: bool = False,
    precisions: Sequence[str] = PRECISIONS,
) -> Trace:
    """Energies, gradients and activations of the case's images, in both precisions.

    Args:
        copies: moved copies for the noise floor; 0 leaves it out.
        twice: answer the case and its last moved copy once more after all of them: notes
            ``differs``, in words, if other bits come out.
        subsets: indices of images to evaluate once more as batches of their own; answered as
            ``energies@0``, ``energy_gradients@0`` and so on.
    """
    arrays: dict[str, Arrays] = {}
    floors: dict[str, Arrays] = {}
    notes: dict[str, Any] = {}
    for precision in precisions:
        with runner.ready(case, precision, notes) as model:
            images = case.images.astype(precision)
            run = Run(model, case, precision, notes)
            own = _evaluated(runner, run, images, activations)
            if copies:
                moved_answers = []
                with runner.rough(model):
                    for copy in moved_copies(case, precision, copies):
                        runner.load(model, case, copy.weights)
                        moved_answers.append(_evaluated(runner, run, copy.images, activations))
                    if twice:
                        again = _evaluated(runner, run, copy.images, activations)
                        note_difference(notes, moved_answers[-1], again, MOVED)
                floors[precision] = floors_of(own, moved_answers, precision)
                runner.load(model, case, case.weights)
            if twice:
                note_difference(notes, own, _evaluated(runner, run, images, activations))
            for number, subset in enumerate(subsets):
                part = _evaluated(runner, run, images[list(subset)], False, tuple(subset))
                own |= {f"{name}@{number}": array for name, array in part.items()}
            arrays[precision] = own
    return Trace(arrays, floors, notes=notes)


def _evaluated(
    runner: SideRunner,
    run: Run,
    images: np.ndarray,
    activations: bool,
    rows: tuple[int, ...] | None = None,
) -> Arrays:
    if activations:
        return runner.evaluated_with_activations(run, images)
    with runner.shared_in(run):
        return runner.evaluate(run.model, images, runner.pulled(run.case, rows))
