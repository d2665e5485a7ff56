"""What one side raises when it is called as it should not be (``parity.declare.refusals``)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.declare import refusals, specs
from parity.side.runner import SideRunner
from parity.side.sampler_probe import Probe
from parity.side.training_probe import TrainingProbe
from parity.values import layouts
from parity.values.cases import Case


def refused(
    runner: SideRunner, entry: str, calls: Sequence[tuple[str, Any]], given: Case | np.ndarray
) -> list[str | None]:
    """What each call (``parity.declare.refusals``) raises; None where it returns.

    Args:
        given: what a plain call is made with: uint8 images for ``preprocess``, else a case.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(runner.precision("float64"))
        if isinstance(given, np.ndarray):
            call = functools.partial(_preprocess_call, runner, given)
        elif entry == "model":
            call = functools.partial(_model_call, runner, given)
        else:
            training = entry != "generate_samples"
            model = _probe_of(runner, given, training)
            stack.enter_context(runner.shared(model, given, "float64", {}))
            make = _training_call if training else _sampler_call
            call = functools.partial(make, runner, model, given, entry)
        answers = []
        for asked in calls:
            with runner.entered("the network" if entry == "model" else entry):
                answers.append(refusals.asked(functools.partial(call, *asked)))
        return answers


def _probe_of(runner: SideRunner, case: Case, training: bool) -> Any:
    if not training:
        return runner.probe_model(Probe.drawn(), [])
    model = runner.training_probe(TrainingProbe.drawn(case.images.shape[1:]), [])
    runner.load(model, case, case.weights)
    return model


def _preprocess_call(runner: SideRunner, images: np.ndarray, argument: str, edit: str) -> None:
    edited = refusals.edited(images, edit) if argument else images
    given = edited.copy()  # those of a request cannot be written
    with runner.entered("preprocess", given):
        specs.entry(runner.side.preprocess)(given)


def _model_call(runner: SideRunner, case: Case, argument: str, value: Any) -> None:
    if argument == "settings":
        runner.build(value)
    else:
        runner.forward(runner.built(None, "float64"), _edited(runner, case, value))


def _sampler_call(
    runner: SideRunner, model: Any, case: Case, entry: str, argument: str, value: Any
) -> None:
    assert case.sampler is not None
    call = {**dataclasses.asdict(case.sampler), "steps": 2}
    if argument == "images":
        call["images"] = _edited(runner, case, value)
    else:
        call |= {"images": _edited(runner, case, None)} | ({argument: value} if argument else {})
    runner.sampler_entry(model=model, **call)


def _training_call(
    runner: SideRunner, model: Any, case: Case, entry: str, argument: str, value: Any
) -> None:
    """Of a fresh trainer, for what is refused may have left a trace in the last one."""
    trainer, real = runner.trainer(model, case), _edited(runner, case, value)
    if entry == "validate":
        trainer.call("validate", model, real)
        return
    buffer = () if trainer.buffer is None else (trainer.buffer,)
    trainer.call("train_step", model, trainer.optimizer, real, *buffer)


def _edited(runner: SideRunner, case: Case, edit: str | None) -> Any:
    """The case's images in this side's layout and, if one is named, edited."""
    images = layouts.images_from_canonical(case.images.astype("float64"), runner.side.layout)
    if edit is not None:
        channels = 1 if runner.side.layout == "NCHW" else -1
        images = refusals.edited(images, edit, channels)
    return runner.as_tensor(images)
