"""A side's answer to training the probe, as what went in and out of each step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from parity.explain.training.numbers import SAME_IMAGE, Array
from parity.side.training_probe import WEIGHT, Evaluation, TrainingProbe
from parity.values.cases import Case
from parity.values.traces import Trace


@dataclasses.dataclass(frozen=True)
class Step:
    """What went into one training step of a side, and what came out.

    Attributes:
        real: (B, H, W, C), as the case gives them.
        sampled: the images of each evaluation of the network but the loss's, so the sampler's.
        images: those of the loss, real and then fake, in however many evaluations.
        weights, momentum, velocity: before the step; moments None if the optimizer keeps others.
        after: the same, after the step.
        gradient: as the optimizer got it, None if it got none.
        losses: what ``train_step`` returned.
        buffer, buffer_after: images (N, H, W, C), None without a buffer.
        t: how many steps the optimizer has taken with this one.
        tracked: the loss's images required gradients, so that the loss goes back through sampling.
    """

    real: Array
    sampled: tuple[Array, ...]
    images: Array
    weights: Array
    momentum: Array | None
    velocity: Array | None
    after: Mapping[str, Array]
    gradient: Array | None
    losses: Mapping[str, float]
    buffer: Array | None
    buffer_after: Array | None
    t: int
    tracked: bool

    @property
    def fake(self) -> Array:
        """The samples that the loss is computed on."""
        return self.images[len(self.real) :]

    @property
    def evaluations(self) -> int:
        """How often the sampler evaluated the network."""
        return len(self.sampled)


@dataclasses.dataclass(frozen=True)
class Run:
    """One side's training of the probe: its steps, and its validation before them.

    Attributes:
        key: of the case, which the noise is drawn from.
        validated: the images that validation is made on, real and other; None without any.
        initial_buffer: None where the case gives the images of the buffer.
    """

    probe: TrainingProbe
    key: int
    steps: tuple[Step, ...]
    validated: Array | None
    validation: Mapping[str, float]
    initial_buffer: Array | None


def run_of(case: Case, trace: Trace) -> Run:
    """A side's answer to ``probing_training`` as what went in and out of each step.

    Of a side that raised there are no steps, and what came before them.
    """
    assert case.training is not None
    arrays = trace.arrays.get("float64", {})
    batches = case.images.astype(np.float64).reshape(
        case.training.steps, -1, *case.images.shape[1:]
    )

    def state(what: str, step: int) -> Array | None:
        if step >= 0:
            found = arrays.get(f"training_state/{what}/{WEIGHT}")
            return None if found is None else found[step]
        if what == "weights":
            return case.weights[WEIGHT].astype(np.float64)
        if f"{what}/{WEIGHT}" in case.state:
            return case.state[f"{what}/{WEIGHT}"].astype(np.float64)
        kept = f"training_state/{what}/{WEIGHT}" in arrays
        return np.zeros(case.weights[WEIGHT].shape) if kept else None

    steps = []
    for number, real in enumerate(batches if trace.notes["raised"] is None else ()):
        evaluated = _evaluated(arrays, f"step {number}")
        used = evaluated_by_loss([images for images, _ in evaluated], real)
        after = {what: state(what, number) for what in ("weights", "momentum", "velocity")}
        weights = state("weights", number - 1)
        gradients = arrays.get(f"parameter_gradients/{WEIGHT}")
        assert weights is not None
        steps.append(
            Step(
                real,
                tuple(images for n, (images, _) in enumerate(evaluated) if n not in used),
                _joined([images for images, _ in evaluated], used, real),
                weights,
                state("momentum", number - 1),
                state("velocity", number - 1),
                {what: array for what, array in after.items() if array is not None},
                None if gradients is None else gradients[number],
                _scalars(arrays, "losses", number),
                arrays.get(f"buffer/{number}"),
                arrays.get(f"buffer/{number + 1}"),
                case.training.iterations + number + 1,
                any(evaluated[n][1] for n in used),
            )
        )
    validated = [images for images, _ in _evaluated(arrays, "validation")]
    used = evaluated_by_loss(validated, batches[0])
    return Run(
        TrainingProbe.drawn(case.images.shape[1:]),
        case.key,
        tuple(steps),
        _joined(validated, used, batches[0]) if validated else None,
        _scalars(arrays, "validation", None),
        None if "buffer" in case.state else arrays.get("buffer/0"),
    )


def _evaluated(arrays: Mapping[str, Array], stage: str) -> list[Evaluation]:
    last = bool(arrays.get(f"tracked/{stage}", np.array(0.0)))
    found: list[Evaluation] = []
    while (name := f"evaluated/{stage}/{len(found)}") in arrays:
        tracked = arrays.get(f"tracked/{stage}/{len(found)}")
        found.append((arrays[name], last if tracked is None else bool(tracked)))
    return found


def evaluated_by_loss(evaluated: Sequence[Array], real: Array) -> tuple[int, ...]:
    """Which evaluations the loss is computed on, told by the images in them: the real one first.

    One of real and fake images together, in either order, or one of each, in either order, whether
    the real ones are evaluated before the sampler runs or after it. If no evaluation holds the real
    images, the last one is taken.
    """
    last = len(evaluated) - 1
    together = [n for n, images in enumerate(evaluated) if len(images) > len(real)]
    for n in reversed(together):
        if _near(evaluated[n][: len(real)], real) or _near(evaluated[n][-len(real) :], real):
            return (n,)
    for n in reversed(range(len(evaluated))):
        if len(evaluated[n]) == len(real) and _near(evaluated[n], real):
            rest = [m for m in range(len(evaluated)) if m != n]
            return (n, rest[-1]) if rest else (n,)
    return (last,) if evaluated else ()


def _joined(evaluated: Sequence[Array], used: Sequence[int], real: Array) -> Array:
    """The loss's images, the real ones first."""
    if not used:
        return real[:0]
    images = np.concatenate([evaluated[n] for n in used])
    n_real = len(real)
    if len(images) > n_real and not _near(images[:n_real], real) and _near(images[-n_real:], real):
        images = np.concatenate([images[-n_real:], images[:-n_real]])
    return images


def _near(images: Array, real: Array) -> bool:
    """Whether these are the real images, moved a little."""
    others = np.roll(real, 1, axis=0) if len(real) > 1 else np.zeros_like(real)
    usual = float(np.abs(real - others).mean())
    return float(np.abs(images - real).mean()) < SAME_IMAGE * usual


def _scalars(arrays: Mapping[str, Array], kind: str, step: int | None) -> dict[str, float]:
    named = {n.split("/")[1]: a for n, a in arrays.items() if n.startswith(f"{kind}/")}
    return {n: float(np.ravel(a)[step or 0]) for n, a in named.items()}
