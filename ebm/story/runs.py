"""One program's training run of the story, in a process of its own, under shared randomness."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from parity.side.settings import ENVIRONMENT
from parity.values import archive
from parity.values.cases import Case, SamplerCall, TrainingCall
from parity.values.randomness import generator
from parity.verdict.floor import moved

BATCH = 64
SETTINGS: dict[str, Any] = {"batch_size": BATCH}
KEY = 20
N_HELD_OUT = 256
N_SAMPLES = 8
SAMPLE_STEPS = 250
EARLY = 50  # updates, after which samples are drawn for the first time
EVERY = 10  # updates between looks at validation and at the sampler's steps
NOISE = 0.005
STEP_SIZE = 10.0


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of the story.

    Attributes:
        name: its letter.
        title: what it is, in a few words.
        framework: "tensorflow" or "torch".
        spec: of the side.
        own_weights: starts from weights of its own making, as a person's port would.
        moved: starts from weights one unit in the last place away.
    """

    name: str
    title: str
    framework: str
    spec: str
    own_weights: bool = False
    moved: bool = False


PROGRAMS = {
    program.name: program
    for program in (
        Program("a", "the reference", "tensorflow", "ebm.pair:reference"),
        Program("b", "the port", "torch", "ebm.pair:port"),
        Program("c", "energies averaged", "torch", "ebm.story.programs:averaged_side"),
        Program("d", "torch's defaults", "torch", "ebm.story.programs:defaults_side", True),
        Program("a'", "the reference, moved", "tensorflow", "ebm.pair:reference", moved=True),
    )
}


def run(program: Program, precision: str, updates: int, looks: bool, out: Path) -> None:
    """Train for ``updates`` steps and write what was seen.

    Arrays written: each loss (updates,); ``weights`` (updates, n), the convolution kernels, in
    float64 runs; with ``looks`` also ``look_at``, ``validation``, ``gradient_step`` (the root mean
    square of what one step of the program's own sampler moves without noise), ``samples_early`` and
    ``samples_end``.
    """
    from ebm.pair import images, pair
    from parity.declare import specs

    runner_type = _runner(program.framework)
    runner = runner_type(specs.resolve(program.spec, "side"), pair)
    digits = images(10_000)
    order = generator(KEY, "batches").permutation(len(digits) - N_HELD_OUT)
    held_out = digits[-N_HELD_OUT:].astype(precision)
    case = Case(_weights(), digits[:BATCH], KEY, SETTINGS, training=TrainingCall())
    seen: dict[str, list[Any]] = {}
    notes: dict[str, Any] = {}
    with runner.ready(case, precision, notes) as model, runner.compiled(model, 10**6):
        if program.own_weights:
            runner.seed(KEY)
            own = runner.build(SETTINGS).state_dict()
            model.load_state_dict(own)
        elif program.moved:
            rng = generator(KEY, "moved")
            weights = {name: moved(a, precision, rng) for name, a in case.weights.items()}
            runner.load(model, case, weights)
        trainer = None
        for update in range(updates):
            case = dataclasses.replace(case, key=KEY + update)  # streams of its own for each
            with runner.shared(model, case, precision, notes):
                trainer = trainer or runner.trainer(model, case)
                chosen = order[np.arange(update * BATCH, (update + 1) * BATCH) % len(order)]
                answers = trainer.step(digits[chosen].astype(precision))
            for name in (n for n in answers if n.startswith("losses/")):
                seen.setdefault(name, []).append(float(answers[name]))
            if precision == "float64":
                state = trainer.state()
                kernels = [state[f"training_state/weights/conv{n}/kernel"] for n in range(1, 5)]
                seen.setdefault("weights", []).append(np.concatenate([k.ravel() for k in kernels]))
            if looks and (update % EVERY == EVERY - 1 or update == 0):
                _look(runner, trainer, case, held_out, update, precision, seen)
            if looks and update + 1 in (EARLY, updates):
                when = "end" if update + 1 == updates else "early"
                start, samples = _samples(runner, model, case, precision)
                seen["start"], seen[f"samples_{when}"] = list(start), list(samples)
            print(update + 1, flush=True)
    arrays = {name: np.asarray(values) for name, values in seen.items()}
    archive.save(out, arrays, {"program": program.name, "precision": precision})


def _look(
    runner: Any,
    trainer: Any,
    case: Case,
    held_out: np.ndarray,
    update: int,
    precision: str,
    seen: dict[str, list[Any]],
) -> None:
    """Validation, and how far a step of the sampler moves the buffer's images, on draws apart."""
    with runner.shared(trainer.model, case, precision, {}):
        validation = trainer.validate(held_out)
        images = trainer.read_buffer()["replay_buffer"][:BATCH]
        call = dataclasses.replace(case, sampler=SamplerCall(1, STEP_SIZE, 0.0))
        after = runner.sample(trainer.model, call, images, 1, True)[0]
    seen.setdefault("look_at", []).append(update + 1)
    seen.setdefault("validation", []).append(float(validation["validation/contrastive_divergence"]))
    seen.setdefault("gradient_step", []).append(float(np.sqrt(np.mean((after - images) ** 2))))


def _samples(runner: Any, model: Any, case: Case, precision: str) -> tuple[np.ndarray, np.ndarray]:
    """Uniform noise, and where the program's own sampler takes it."""
    start = generator(KEY, "samples").uniform(-1, 1, (N_SAMPLES, 32, 32, 1)).astype(np.float32)
    call = SamplerCall(SAMPLE_STEPS, STEP_SIZE, NOISE)
    chain = dataclasses.replace(case, key=KEY, sampler=call)
    with runner.shared(model, chain, precision, {}):
        samples = runner.sample(model, chain, start.astype(precision), SAMPLE_STEPS, True)
    return start, samples[-1].astype(np.float32)


def _weights() -> dict[str, np.ndarray]:
    """The initial weights that programs share: Glorot-uniform kernels, zero biases."""
    rng = generator(KEY, "weights")
    shapes = {
        "conv1": (5, 5, 1, 16),
        "conv2": (3, 3, 16, 32),
        "conv3": (3, 3, 32, 64),
        "conv4": (3, 3, 64, 64),
        "dense1": (256, 64),
        "score": (64, 1),
    }
    weights = {}
    for layer, shape in shapes.items():
        receptive = int(np.prod(shape[:-2], dtype=np.int64))
        limit = np.sqrt(6.0 / (receptive * (shape[-2] + shape[-1])))
        weights[f"{layer}/kernel"] = rng.uniform(-limit, limit, shape).astype(np.float32)
        weights[f"{layer}/bias"] = np.zeros(shape[-1], np.float32)
    return weights


def _runner(framework: str) -> Any:
    if framework == "tensorflow":
        from parity.frameworks.tensorflow.side import TensorFlowRunner

        return TensorFlowRunner
    import torch

    from parity.frameworks.torch.side import TorchRunner

    torch.set_num_threads(1)
    return TorchRunner


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("precision", choices=("float32", "float64"))
    parser.add_argument("updates", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--looks", action="store_true")
    options = parser.parse_args()
    run(PROGRAMS[options.program], options.precision, options.updates, options.looks, options.out)
    sys.exit(0)
