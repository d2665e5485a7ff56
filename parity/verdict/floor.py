"""The noise floor: how far the reference lies from itself when nothing real has changed.

Every input, weight and bias is moved by one unit in the last place, up or down at random, in
several independent copies; the floor of an array is the greatest change over the copies, or the
rounding unit of its largest element if that is more. One perturbed input alone often leaves a
result exactly where it was, and a floor of 0 raises false alarms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from parity.values.cases import Case
from parity.values.randomness import generator

NETWORK_COPIES = 4

TRAJECTORY_COPIES = 4
"""With two, 1,000 correct cases came up to 42 floors of the 64 allowed; with four, to a few."""


@dataclasses.dataclass(frozen=True)
class MovedCopy:
    """A case's arrays, every element one ULP away."""

    weights: dict[str, np.ndarray]
    images: np.ndarray
    state: dict[str, np.ndarray]


def moved_copies(case: Case, precision: str, copies: int) -> Iterator[MovedCopy]:
    """``copies`` independent copies of the case in ``precision``.

    Zeros stay zeros: their neighbours are subnormal, which TensorFlow flushes to zero.
    """
    for number in range(copies):
        rng = generator(case.key, f"floor/{precision}/{number}")
        weights = {name: moved(array, precision, rng) for name, array in case.weights.items()}
        images = moved(case.images, precision, rng)
        state = {name: moved(array, precision, rng) for name, array in case.state.items()}
        yield MovedCopy(weights, images, state)


def moved(array: np.ndarray, precision: str, rng: np.random.Generator) -> np.ndarray:
    """``array`` in ``precision`` with every nonzero element moved by one ULP, up or down."""
    array = array.astype(precision)
    direction = np.where(rng.integers(0, 2, array.shape, dtype=np.int8) == 1, np.inf, -np.inf)
    neighbours = np.nextafter(array, direction.astype(precision))
    return np.asarray(np.where(array == 0, array, neighbours))


def measured(
    reference: np.ndarray, copies: list[np.ndarray], precision: str, *, by_step: bool = False
) -> np.ndarray:
    """The floor of ``reference``: one number, or one per step (its first axis) with ``by_step``.

    Args:
        reference: what the reference answered in ``precision``.
        copies: what its moved copies answered, each of the same shape.

    Returns:
        float64 array of shape () or (steps,); never below epsilon * max|reference|, and never
        below that of an earlier step, since an error once made is carried on.
    """
    epsilon = float(np.finfo(precision).eps)
    changes = [greatest(copy.astype(np.float64) - reference, by_step) for copy in copies]
    floor = np.maximum.reduce([*changes, epsilon * greatest(reference, by_step)])
    return np.asarray(np.maximum.accumulate(floor) if by_step else floor, dtype=np.float64)


def greatest(array: np.ndarray, by_step: bool = False) -> np.ndarray:
    """max|array|, or one per step of its first axis; 0 for no elements."""
    array = np.abs(np.asarray(array, dtype=np.float64))
    if not by_step:
        return np.asarray(array.max(initial=0.0))
    return np.asarray(array.reshape(len(array), -1).max(axis=1, initial=0.0))


def floors_of(
    answers: Mapping[str, np.ndarray],
    copies: Sequence[Mapping[str, np.ndarray]],
    precision: str,
    by_step: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """The floor of each named array."""
    return {
        name: measured(array, [copy[name] for copy in copies], precision, by_step=name in by_step)
        for name, array in answers.items()
    }
