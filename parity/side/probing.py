"""One side's sampler and training on probe energies (``parity.explain``), network left out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from parity.side.runner import SideRunner
from parity.side.sampler_probe import LIVELY, NAMES, STEPS, Probe, ProbeCall, probe_calls
from parity.side.trainer import Trainer
from parity.side.training import run_steps
from parity.side.training_probe import Evaluation, TrainingProbe
from parity.values.cases import Case
from parity.values.randomness import Draw
from parity.values.traces import Trace


def probing(runner: SideRunner, case: Case) -> Trace:
    """Run the sampler on the probe in float64, in every call that the case stands for.

    Returns:
        ``<call>/last`` (steps, B, H, W, C): what separate runs of 1, 2, ... steps return, as many
        as do not raise; ``<call>/points`` (evaluations, B, H, W, C): the images that the network
        was evaluated on in the longest of them, where these make up whole batches; ``samples``, the
        first call's trajectory, if the sampler can return every step.
        Notes: ``raised``, an exception's words or None, and ``raised_when``;
        ``evaluations`` of the energy in the last run; ``counts``, how many batches each run of a
        call evaluated, and ``draws``, the log of its longest.
    """
    assert case.sampler is not None
    notes: dict[str, Any] = {"raised": None, "evaluations": [], "counts": {}, "draws": {}}
    arrays: dict[str, np.ndarray] = {}
    draws: tuple[Draw, ...] = ()
    with runner.precision("float64"):
        for call in probe_calls(case):
            _probe_call(runner, call, arrays, notes)
            if call.name == NAMES[0]:
                draws = tuple(Draw(*draw) for draw in notes["draws"].get(call.name, ()))
        if notes["raised"] is None and runner.sampler_entry.supports("return_every_step"):
            model = runner.probe_model(Probe.drawn(LIVELY), [])
            images = case.images.astype(np.float64)
            with (
                _raising(notes, " when asked for every step"),
                runner.shared(model, case, "float64", notes),
            ):
                arrays["samples"] = runner.sample(model, case, images, STEPS, True)
    return Trace({"float64": arrays}, draws=draws, notes=notes)


def _probe_call(
    runner: SideRunner, call: ProbeCall, arrays: dict[str, np.ndarray], notes: dict[str, Any]
) -> None:
    """Runs of 1, 2, ... steps, until one raises: what was learnt before is kept."""
    case = call.case
    assert case.sampler is not None
    evaluations: list[dict[str, Any]] = []
    model = runner.probe_model(call.probe, evaluations)
    images = case.images.astype(np.float64)
    last: list[np.ndarray] = []
    counts: list[int] = []
    points: list[np.ndarray] | None = None
    for steps in range(1, case.sampler.steps + 1):
        evaluations.clear()
        with (
            _raising(notes, f" when asked for {steps} step{'s' * (steps > 1)}"),
            runner.shared(model, case, "float64", notes) as randomness,
        ):
            last.append(runner.sample(model, case, images, steps, False)[0])
        seen = [evaluation.pop("images", None) for evaluation in evaluations]
        notes["evaluations"] = list(evaluations)
        if len(last) < steps:
            break
        points = whole_batches(seen, images.shape)
        counts.append(-1 if points is None else len(points))
        notes["draws"][call.name] = [dataclasses.astuple(draw) for draw in randomness.log]
    if last and all(array.shape == last[0].shape for array in last):
        arrays[f"{call.name}/last"] = np.stack(last)
        notes["counts"][call.name] = counts
        if points:
            arrays[f"{call.name}/points"] = np.stack(points)


@contextlib.contextmanager
def _raising(notes: dict[str, Any], when: str) -> Iterator[None]:
    """Note the first exception, and go on."""
    try:
        yield
    except Exception as error:
        if notes["raised"] is None:
            notes["raised"] = f"{type(error).__name__}: {error}"
            notes["raised_when"] = when


def whole_batches(
    evaluated: Sequence[np.ndarray | None], shape: tuple[int, ...]
) -> list[np.ndarray] | None:
    """The batches that a network was evaluated on, put together where it was given parts of them.

    None if they make up no whole batches, or are not known.
    """
    known = [images for images in evaluated if images is not None and images.ndim == len(shape)]
    if len(known) < len(evaluated) or any(images.shape[1:] != shape[1:] for images in known):
        return None
    images = sum(len(part) for part in known)
    if images % shape[0]:
        return None
    return list(np.concatenate(known).reshape(-1, *shape)) if known else []


def probing_training(runner: SideRunner, case: Case) -> Trace:
    """Take the case's training steps with the probe for a model, in float64.

    Returns:
        What ``training`` answers, and ``evaluated/<stage>/<n>`` (B, H, W, C), the images of each
        evaluation, ``tracked/<stage>/<n>``, 1 if they required gradients,
        ``tracked/<stage>``, the same of the last one, and
        ``buffer/<step>``, the replay buffer before each step and at the end.
        Notes: ``raised``, an exception's words or None.
    """
    arrays: dict[str, np.ndarray] = {}
    evaluated: list[Evaluation] = []
    stage = ""

    def mark(begins: str, trainer: Trainer) -> None:
        nonlocal stage
        for number, (images, tracked) in enumerate(evaluated):
            arrays[f"evaluated/{stage}/{number}"] = images
            arrays[f"tracked/{stage}/{number}"] = np.array(float(tracked))
            arrays[f"tracked/{stage}"] = np.array(float(tracked))
        evaluated.clear()
        stage = begins
        if stage != "validation":
            number = sum(name.startswith("buffer/") for name in arrays)
            for array in trainer.read_buffer().values():
                arrays[f"buffer/{number}"] = array

    notes: dict[str, Any] = {"raised": None}
    draws: tuple[Any, ...] = ()
    with runner.precision("float64"):
        model = runner.training_probe(TrainingProbe.drawn(case.images.shape[1:]), evaluated)
        runner.load(model, case, case.weights)
        state = {name: array.astype("float64") for name, array in case.state.items()}
        images = case.images.astype("float64")
        try:
            found, randomness = run_steps(
                runner, model, case, "float64", notes, images, state, True, mark
            )
            arrays |= found
            draws = tuple(randomness.log)
        except Exception as error:
            notes["raised"] = f"{type(error).__name__}: {error}"
    return Trace({"float64": arrays}, draws=draws, notes=notes)
