"""Which part of a training step is otherwise: images, replay buffer, loss, optimizer.

Each stage of the port's step is computed in NumPy from what the port itself put into it (the images
it evaluated, its own gradients, moments and buffer), so that a fault of one stage, or of the
sampler, does not hide another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from parity.explain.causes import Cause, Unexplained
from parity.explain.remembered import remembered
from parity.explain.training.batch import real_images
from parity.explain.training.buffer import initial_buffer, kept, starts
from parity.explain.training.loss import losses
from parity.explain.training.numbers import BOUND, apart
from parity.explain.training.optimizer import optimizer
from parity.explain.training.runs import Run
from parity.explain.training.validation import validation

BEFORE_STEPS = (initial_buffer, validation)
STAGES = (real_images, initial_buffer, starts, kept, losses, optimizer, validation)


@remembered
def explain_training(
    runs: Sequence[tuple[Run, Run]],
) -> tuple[list[Cause], list[Unexplained]]:
    """What the port's training does otherwise than the reference's.

    Args:
        runs: (reference's, port's) of each case; a port's without steps if it raised in them.
    """
    causes: dict[tuple[str, str], Cause] = {}
    left: dict[str, Unexplained] = {}
    whole = [pair for pair in runs if pair[1].steps]
    for stage in STAGES:
        seen = runs if stage in BEFORE_STEPS else whole
        for item in stage(seen) if seen else ():
            if isinstance(item, Cause):
                causes.setdefault((item.id, item.where), _told(item))
            else:
                left.setdefault(item.where, item)
    if not causes and not left and (found := _evaluations(whole)) is not None:
        left[found.where] = found
    return list(causes.values()), list(left.values())


def _told(cause: Cause) -> Cause:
    """Without a residual that is no number, as of arrays that have other shapes."""
    before, after = (
        None if r is None or not np.isfinite(r) else r
        for r in (cause.residual_before, cause.residual_after)
    )
    return dataclasses.replace(cause, residual_before=before, residual_after=after)


SAMPLING = "train_step, its sampling"
"""What is left of a training whose sampler is wrong; the sampler itself is asked elsewhere."""


def _evaluations(runs: Sequence[tuple[Run, Run]]) -> Unexplained | None:
    """Samples that differ after another number of evaluations, as of more or fewer steps.

    A number alone is no difference: a network may be evaluated once more, to log its scores.
    """
    for reference, port in runs:
        for truth, ours in zip(reference.steps, port.steps, strict=True):
            if ours.evaluations != truth.evaluations and apart(ours.fake, truth.fake) > BOUND:
                text = (
                    f"sampling evaluates the network {ours.evaluations} times a step, the "
                    f"reference's {truth.evaluations} times, and the samples are others"
                )
                return Unexplained(SAMPLING, text, "train_step")
    return None
