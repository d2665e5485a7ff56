"""Train the reference on digits: ``make train``, or ``python -m ebm.train --help``.

Every epoch starts from seeds of its own, and all that an epoch leaves behind (weights, optimizer,
replay buffer, history) goes into a checkpoint that is written whole or not at all. A run that is
interrupted anywhere and started again therefore ends at the same weights, bit for bit on the same
machine, as one that was not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ebm.images import load_images
from ebm.settings import Settings
from parity import archive

N_VALIDATION = 1000  # the last images are held out


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    images = load_images(options.images)
    if len(images) <= N_VALIDATION:
        print(f"{len(images)} images are too few: {N_VALIDATION} are held out", file=sys.stderr)
        return 2
    run = ReferenceRun(Settings(epochs=options.epochs), images, options.seed, options.threads)
    try:
        run.resume(options.checkpoint)
        run.train(options.checkpoint)
    except TrainingStopped as error:
        print(f"training stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; start again to go on from {options.checkpoint}", file=sys.stderr)
        return 130
    archive.save(options.out, run.weights(), run.about())
    print(f"wrote {options.out}")
    return 0


class TrainingStopped(Exception):
    """A loss that is not finite, or a checkpoint that belongs to another run."""


class ReferenceRun:
    """A training run of the reference; its state after each epoch is one checkpoint."""

    def __init__(
        self, settings: Settings, images: np.ndarray, seed: int = 0, threads: int = 0
    ) -> None:
        import tensorflow as tf

        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        from reference_tf import energy_model, replay_buffer, training
        from reference_tf import images as preprocessing

        self.tf, self.training = tf, training
        self.settings, self.seed = settings, seed
        self._seed_generators(0)
        self.model = energy_model.energy_model(settings)
        self.score = tf.function(self.model, reduce_retracing=True)
        self.optimizer = training.make_optimizer(self.model, settings)
        self.buffer = replay_buffer.ReplayBuffer(settings)
        pixels = preprocessing.preprocess(images)
        self.real, self.held_out = pixels[:-N_VALIDATION], pixels[-N_VALIDATION:]
        self.images_digest = archive.digest({"images": images}, {})
        self.history: list[dict[str, float]] = []

    def train(self, checkpoint: Path) -> None:
        """Run the epochs that are left, with a checkpoint after each."""
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            batches = math.ceil(len(self.real) / self.settings.batch_size)
            task = progress.add_task("training", total=batches * self.settings.epochs)
            progress.advance(task, batches * len(self.history))
            while len(self.history) < self.settings.epochs:
                epoch = len(self.history) + 1
                progress.update(task, description=f"epoch {epoch}/{self.settings.epochs}")
                figures = self._epoch(epoch, lambda: progress.advance(task))
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
            real = self.tf.gather(self.real, order[start : start + size])
            losses = self.training.train_step(
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
        held_out = self.training.validate(self.score, self.held_out, self.settings)
        figures["validation_contrastive_divergence"] = float(held_out["contrastive_divergence"])
        return figures

    def _seed_generators(self, epoch: int) -> None:
        seed = self.seed * 100_003 + epoch
        random.seed(seed)
        np.random.seed(seed)
        self.tf.random.set_seed(seed)

    def weights(self) -> archive.Arrays:
        """Weights under their Keras paths, in Keras's layouts, which are the canonical ones."""
        return {variable.path: variable.numpy() for variable in self.model.weights}

    def about(self) -> dict[str, Any]:
        """How these weights were made."""
        return {
            "settings": self.settings.to_dict(),
            "seed": self.seed,
            "images": self.images_digest,
            "history": self.history,
        }

    def save(self, path: Path) -> None:
        state = {f"weights/{name}": array for name, array in self.weights().items()}
        for number, variable in enumerate(self.optimizer.variables):
            state[f"optimizer/{number:03d}"] = np.asarray(variable)
        state["buffer"] = self.buffer.images.numpy()
        archive.save(path, state, self.about())

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
        for variable in self.model.weights:
            variable.assign(state[f"weights/{variable.path}"])
        for number, variable in enumerate(self.optimizer.variables):
            variable.assign(state[f"optimizer/{number:03d}"])
        self.buffer.images = self.tf.constant(state["buffer"])
        self.history = about["history"]


def dict_of(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {"value": value}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ebm.train",
        description="Train the reference energy model and write its weights as safetensors.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--images", type=Path, help="IDX or .npz file instead of the bundled digits"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--checkpoint", type=Path, default=Path("build/train.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("weights/energy_model.safetensors"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
