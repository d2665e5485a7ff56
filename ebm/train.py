"""Train on digits, in either framework: ``make train``, or ``python -m ebm.train --help``.

Every epoch starts from seeds of its own, and all that an epoch leaves behind (weights, optimizer,
replay buffer, history) goes into a checkpoint that is written whole or not at all. A run that is
interrupted anywhere and started again therefore ends at the same weights, bit for bit on the same
machine, as one that was not. A checkpoint says nothing of the framework: training may start in
TensorFlow and go on in PyTorch.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ebm.images import load_images
from ebm.settings import Settings
from parity.values import archive

N_VALIDATION = 1000  # the last images are held out


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    images = load_images(options.images)
    if len(images) <= N_VALIDATION:
        print(f"{len(images)} images are too few: {N_VALIDATION} are held out", file=sys.stderr)
        return 2
    settings = Settings(epochs=options.epochs)
    run = TrainingRun(options.framework, settings, images, options.seed, options.threads)
    try:
        run.resume(options.checkpoint)
        with heeding_interrupts() as interrupted:
            run.train(options.checkpoint, interrupted)
    except TrainingStopped as error:
        print(f"training stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; start again to go on from {options.checkpoint}", file=sys.stderr)
        return 130
    archive.save(options.out, run.weights(), run.about())
    print(f"wrote {options.out}")
    return 0


@contextlib.contextmanager
def heeding_interrupts() -> Iterator[threading.Event]:
    """Sets the event at Ctrl-C, besides the KeyboardInterrupt, which may be lost.

    Python drops an exception that comes while it runs a finaliser or the callback of a weak
    reference, and goes on: "Exception ignored in".
    """
    interrupted = threading.Event()

    def handler(number: int, frame: Any) -> None:
        interrupted.set()
        signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield interrupted  # no signal is handled there
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


class TrainingStopped(Exception):
    """A loss that is not finite, or a checkpoint that belongs to another run."""


class TrainingRun:
    """A training run in one framework; its state after each epoch is one checkpoint.

    Args:
        framework: "tensorflow", the reference, or "torch", the port.
        settings: of the network and of training.
        images: (N, H, W) uint8; the last 1,000 are held out.
        seed: of everything random.
        threads: 0 leaves the framework its own choice.
    """

    def __init__(
        self,
        framework: str,
        settings: Settings,
        images: np.ndarray,
        seed: int = 0,
        threads: int = 0,
    ) -> None:
        self.framework = _framework(framework, threads)
        self.settings, self.seed = settings, seed
        self._seed_generators(0)
        self.model = self.framework.energy_model.energy_model(settings)
        self.score = self.framework.compiled(self.model)
        self.optimizer = self.framework.training.make_optimizer(self.model, settings)
        self.buffer = self.framework.replay_buffer.ReplayBuffer(settings)
        pixels = self.framework.images.preprocess(images)
        self.real, self.held_out = pixels[:-N_VALIDATION], pixels[-N_VALIDATION:]
        self.images_digest = archive.digest({"images": images}, {})
        self.history: list[dict[str, float]] = []

    def train(self, checkpoint: Path, interrupted: threading.Event | None = None) -> None:
        """Run the epochs that are left, with a checkpoint after each.

        Raises:
            KeyboardInterrupt: a step was done after ``interrupted`` was set.
            TrainingStopped: a loss is not finite.
        """
        console = Console(stderr=True)
        console.print(f"a checkpoint after each epoch: {checkpoint}", soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            batches = math.ceil(len(self.real) / self.settings.batch_size)
            task = progress.add_task("training", total=batches * self.settings.epochs)
            progress.advance(task, batches * len(self.history))

            def advance() -> None:
                progress.advance(task)
                if interrupted is not None and interrupted.is_set():
                    raise KeyboardInterrupt

            while len(self.history) < self.settings.epochs:
                epoch = len(self.history) + 1
                progress.update(task, description=f"epoch {epoch}/{self.settings.epochs}")
                figures = self._epoch(epoch, advance)
                self.history.append(figures)
                self.save(checkpoint)
                line = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
                progress.console.print(f"epoch {epoch}: {line}", highlight=False, soft_wrap=True)

    def _epoch(self, epoch: int, advance: Any) -> dict[str, float]:
        self._seed_generators(epoch)
        order = np.random.permutation(len(self.real))
        size = self.settings.batch_size
        sums: dict[str, float] = {}
        starts = range(0, len(order), size)
        for start in starts:
            real = self.framework.take(self.real, order[start : start + size])
            losses = self.framework.train_step(
                self.model, self.optimizer, real, self.buffer, self.settings, self.score
            )
            for name, value in losses.items():
                if not math.isfinite(float(value)):
                    step = start // size + 1
                    raise TrainingStopped(
                        f"{name} is {float(value)} in epoch {epoch}, step {step}; the checkpoint "
                        f"of epoch {epoch - 1} is kept"
                    )
                sums[name] = sums.get(name, 0.0) + float(value)
            advance()
        figures = {name: total / len(starts) for name, total in sums.items()}
        held_out = self.framework.training.validate(self.score, self.held_out, self.settings)
        figures["validation_contrastive_divergence"] = float(held_out["contrastive_divergence"])
        return figures

    def _seed_generators(self, epoch: int) -> None:
        seed = self.seed * 100_003 + epoch
        random.seed(seed)
        np.random.seed(seed)
        self.framework.seed(seed)

    def weights(self) -> archive.Arrays:
        """Weights under their Keras paths, in Keras's layouts, which are the canonical ones."""
        return {
            name.removeprefix("weights/"): array
            for name, array in self._state().items()
            if name.startswith("weights/")
        }

    def _state(self) -> archive.Arrays:
        state: archive.Arrays = self.framework.checkpoint.training_state(
            self.model, self.optimizer, self.buffer
        )
        return state

    def about(self) -> dict[str, Any]:
        """How these weights were made."""
        return {
            "settings": self.settings.to_dict(),
            "seed": self.seed,
            "images": self.images_digest,
            "history": self.history,
        }

    def save(self, path: Path) -> None:
        archive.save(path, self._state(), self.about())

    def resume(self, path: Path) -> None:
        """Take up the state in ``path`` if it is there; refuse one of another run by name."""
        if not path.exists():
            return
        state, about = archive.load(path)
        mine, theirs = self.about(), about
        for name in ("settings", "seed", "images"):
            ours, other = dict_of(mine[name]), dict_of(theirs[name])
            ours.pop("epochs", None), other.pop("epochs", None)
            if ours != other:
                changed = [key for key in ours if ours[key] != other.get(key)]
                raise TrainingStopped(
                    f"{path} is of a run with other {name} ({json.dumps(changed)}); "
                    "remove it or give another --checkpoint"
                )
        self.framework.checkpoint.load_training_state(
            self.model, self.optimizer, self.buffer, state
        )
        self.history = about["history"]


class _Framework:
    """The modules of one of the two programs, and the little that differs around them."""

    package: str

    def __init__(self) -> None:
        for name in ("energy_model", "training", "replay_buffer", "images", "checkpoint"):
            setattr(self, name, importlib.import_module(f"{self.package}.{name}"))

    energy_model: Any
    training: Any
    replay_buffer: Any
    images: Any
    checkpoint: Any


class _TensorFlow(_Framework):
    package = "reference_tf"

    def __init__(self, threads: int) -> None:
        import tensorflow as tf

        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        self.take, self.seed = tf.gather, tf.random.set_seed
        super().__init__()
        self.train_step = self.training.train_step

    def compiled(self, model: Any) -> Any:
        import tensorflow as tf

        return tf.function(model, reduce_retracing=True)


class _Torch(_Framework):
    package = "port_torch"

    def __init__(self, threads: int) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self.seed = torch.manual_seed
        super().__init__()

    def compiled(self, model: Any) -> Any:
        return model

    def take(self, images: Any, order: np.ndarray) -> Any:
        return images[order]

    def train_step(self, *arguments: Any) -> Any:
        return self.training.train_step(*arguments[:-1])  # the model is its own score


def _framework(name: str, threads: int) -> Any:
    return {"tensorflow": _TensorFlow, "torch": _Torch}[name](threads)


def dict_of(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {"value": value}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ebm.train",
        description="Train the energy model and write its weights as safetensors.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--images", type=Path, help="IDX or .npz file instead of the bundled digits"
    )
    parser.add_argument(
        "--framework",
        choices=("tensorflow", "torch"),
        default="tensorflow",
        help="the reference or the port; a checkpoint of either goes on in the other",
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--checkpoint", type=Path, default=Path("build/train.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("weights/energy_model.safetensors"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
