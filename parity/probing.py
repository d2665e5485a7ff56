"""One side's sampler on the probe energy (``parity.explain.sampler``), network left out."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.cases import Case
from parity.explain.sampler import Probe
from parity.traces import Trace

if TYPE_CHECKING:
    from parity.side_runner import SideRunner


def probing(runner: SideRunner, case: Case) -> Trace:
    """Run the sampler on the probe in float64.

    Returns:
        ``last`` (steps, B, H, W, C): what separate calls of 1, 2, ... steps return; ``samples``,
        the trajectory, if the sampler can return every step. Notes: ``raised``, an exception's
        words or None, its ``traceback``, and ``evaluations`` of the energy in the last call.
    """
    assert case.sampler is not None
    evaluations: list[dict[str, bool]] = []
    notes: dict[str, Any] = {"raised": None, "evaluations": evaluations}
    arrays: dict[str, np.ndarray] = {}
    draws: tuple[Any, ...] = ()
    with runner.precision("float64"):
        model = runner.probe_model(Probe.drawn(), evaluations)
        images = case.images.astype(np.float64)
        every = runner.sampler_entry.supports("return_every_step")
        try:
            last = []
            for steps in range(1, case.sampler.steps + 1):
                evaluations.clear()
                with runner.shared(model, case, "float64", notes) as randomness:
                    last.append(runner.sample(model, case, images, steps, False)[0])
            draws = tuple(randomness.log)
            arrays["last"] = np.stack(last)
            if every:
                with runner.shared(model, case, "float64", notes):
                    arrays["samples"] = runner.sample(model, case, images, case.sampler.steps, True)
        except Exception as error:
            notes["raised"] = f"{type(error).__name__}: {error}"
            notes["traceback"] = traceback.format_exc()
    return Trace({"float64": arrays}, draws=draws, notes=notes)
