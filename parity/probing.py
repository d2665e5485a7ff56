"""One side's sampler and training on probe energies (``parity.explain``), network left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parity.cases import Case
from parity.explain.sampler import LIVELY, QUIET, Probe
from parity.explain.training import Evaluation, TrainingProbe
from parity.traces import Trace
from parity.training import Trainer, run_steps

if TYPE_CHECKING:
    from parity.side_runner import SideRunner


def probing(runner: SideRunner, case: Case) -> Trace:
    """Run the sampler on the probe in float64.

    Returns:
        ``last`` (steps, B, H, W, C): what separate calls of 1, 2, ... steps return; ``samples``,
        the trajectory, if the sampler can return every step; ``quiet`` (steps, B, H, W, C), as
        ``last``, on the probe of small gradients. Notes: ``raised``, an exception's
        words or None, and ``evaluations`` of the energy in the last call.
    """
    assert case.sampler is not None
    evaluations: list[dict[str, bool]] = []
    notes: dict[str, Any] = {"raised": None, "evaluations": evaluations}
    arrays: dict[str, np.ndarray] = {}
    draws: tuple[Any, ...] = ()
    with runner.precision("float64"):
        lively, quiet = (
            runner.probe_model(Probe.drawn(size), evaluations) for size in (LIVELY, QUIET)
        )
        images = case.images.astype(np.float64)
        every = runner.sampler_entry.supports("return_every_step")
        try:
            for name, model in (("quiet", quiet), ("last", lively)):
                last = []
                for steps in range(1, case.sampler.steps + 1):
                    evaluations.clear()
                    with runner.shared(model, case, "float64", notes) as randomness:
                        last.append(runner.sample(model, case, images, steps, False)[0])
                draws = tuple(randomness.log)
                arrays[name] = np.stack(last)
            if every:
                with runner.shared(lively, case, "float64", notes):
                    arrays["samples"] = runner.sample(
                        lively, case, images, case.sampler.steps, True
                    )
        except Exception as error:
            notes["raised"] = f"{type(error).__name__}: {error}"
    return Trace({"float64": arrays}, draws=draws, notes=notes)


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
