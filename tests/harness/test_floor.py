"""The noise floor: what is moved, by how much, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.values.cases import Case, TrainingCall
from parity.values.randomness import generator
from parity.verdict.floor import floors_of, measured, moved, moved_copies

CASE = Case(
    weights={
        "dense/kernel": np.array([[0.5, -1.5], [0.0, 3.0]], dtype=np.float32),
        "dense/bias": np.array([0.1, -0.2], dtype=np.float32),
    },
    images=np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 2, 2, 1),
    key=5,
    training=TrainingCall(steps=1),
    state={"buffer": np.full((3, 2, 2, 1), 0.5, dtype=np.float32)},
)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_nonzero_element_moves_by_exactly_one_ulp(precision: str) -> None:
    array = np.array([0.0, 1.0, -1.0, 3e-5, 1e6], dtype=np.float32)
    result = moved(array, precision, generator(0, "test"))
    before = array.astype(precision)
    assert result.dtype == precision
    assert result[0] == 0.0, "the neighbour of zero is subnormal"
    up, down = (np.nextafter(before, np.asarray(d, dtype=precision)) for d in (np.inf, -np.inf))
    assert ((result == up) | (result == down))[1:].all()


def test_copies_move_weights_biases_and_images_each_in_its_own_way() -> None:
    copies = list(moved_copies(CASE, "float64", 4))
    assert len(copies) == 4
    for copy in copies:
        assert set(copy.weights) == set(CASE.weights)
        assert (copy.images != CASE.images).sum() == np.count_nonzero(CASE.images)
        assert (copy.weights["dense/bias"] != CASE.weights["dense/bias"]).all()
        assert (copy.state["buffer"] != CASE.state["buffer"]).all()
    directions = {tuple((copy.images > CASE.images).ravel().tolist()) for copy in copies}
    assert len(directions) > 1


def test_the_same_case_has_the_same_copies() -> None:
    first, second = (list(moved_copies(CASE, "float32", 2)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.images, other.images)
        assert all(np.array_equal(one.weights[n], other.weights[n]) for n in one.weights)


def test_the_greatest_change_over_copies_is_the_floor() -> None:
    truth = np.array([1.0, 2.0])
    copies = [np.array([1.0, 2.0 + 1e-12]), np.array([1.0 - 3e-12, 2.0])]
    assert measured(truth, copies, "float64") == pytest.approx(3e-12)


def test_the_floor_is_never_below_epsilon_of_the_largest_element() -> None:
    truth = np.array([1.0, -8.0])
    assert measured(truth, [truth.copy()], "float64") == 8 * np.finfo(np.float64).eps
    truth32 = truth.astype(np.float32)
    assert measured(truth32, [truth32.copy()], "float32") == 8 * np.finfo(np.float32).eps


def test_by_step_the_floor_never_falls() -> None:
    truth = np.ones((3, 2))
    copy = truth + np.array([[1e-9], [5e-9], [2e-9]])
    floor = measured(truth, [copy], "float64", by_step=True)
    np.testing.assert_allclose(floor, [1e-9, 5e-9, 5e-9])
    assert floors_of({"samples": truth}, [{"samples": copy}], "float64", ("samples",))[
        "samples"
    ].shape == (3,)


@pytest.mark.parametrize("by_step", [False, True])
def test_arrays_of_nothing_have_a_floor_of_nothing(by_step: bool) -> None:
    nothing = np.zeros((2, 0, 3))
    assert not measured(nothing, [nothing], "float64", by_step=by_step).any()


@given(st.floats(2.0**-60, 2.0**60), st.integers(0, 9))
def test_moving_is_relative_to_the_elements_own_size(size: float, seed: int) -> None:
    array = np.array([size])
    change = abs(moved(array, "float64", generator(seed, "test")) - array)[0]
    assert size * 2.0**-54 <= change <= size * 2.0**-52
