"""What decides a verdict: every branch of the comparison, at its bound and just beyond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from parity.verdict.comparison import (
    FLOAT64_FLOORS,
    POWER,
    SINGLE_RATIO,
    Answer,
    Verdict,
    compare,
    ratio,
)

FLOOR = 2.0**-50
TRUTH = np.array([1.0, -2.0, 0.5])


def against(port64=TRUTH, port32=None, *, truth=TRUTH, **options):  # type: ignore[no-untyped-def]
    truth32 = truth.astype(np.float32)
    answer = Answer(truth, FLOOR, float(np.abs(truth32 - truth).max(initial=0.0)), 2.0**-22)
    same = port32 is not None and np.array_equal(port32, truth32)
    return compare("energies", answer, port64, port32, same_bits=same, **options)


def test_equal_bits_are_identical() -> None:
    found = against(TRUTH.copy(), TRUTH.astype(np.float32))
    assert found.verdict is Verdict.IDENTICAL
    assert found.residual == 0.0
    assert found.mismatched == 0


def test_the_bound_itself_is_rounding_and_one_step_beyond_is_divergent() -> None:
    bound = FLOAT64_FLOORS * FLOOR
    at, beyond = TRUTH.copy(), TRUTH.copy()
    at[2] += bound
    beyond[2] = np.nextafter(at[2], np.inf)
    assert against(at).verdict is Verdict.ROUNDING
    found = against(beyond)
    assert found.verdict is Verdict.DIVERGENT
    assert found.mismatched == 1
    assert found.size == 3
    assert found.worst is not None
    assert found.worst.index == (2,)
    assert (found.worst.reference, found.worst.port) == (0.5, beyond[2])
    assert found.bound == bound
    assert found.floors > FLOAT64_FLOORS


def test_one_wrong_element_of_many_is_not_diluted() -> None:
    truth = np.ones(100_000)
    port = truth.copy()
    port[77_777] += 1e-6
    assert against(port, truth=truth).verdict is Verdict.DIVERGENT


def test_float32_beyond_sixteen_times_the_references_own_error_is_imprecise() -> None:
    unit = 2.0**-22
    within, beyond = (TRUTH.astype(np.float32) for _ in range(2))
    within[0] += np.float32(SINGLE_RATIO * unit)
    beyond[0] += np.float32((SINGLE_RATIO + 1) * unit)
    assert against(TRUTH, within).verdict is Verdict.ROUNDING
    found = against(TRUTH, beyond)
    assert found.verdict is Verdict.IMPRECISE
    assert found.error_ratio == SINGLE_RATIO + 1


def test_what_cancels_in_float32_is_held_against_the_rounding_of_what_lies_beside_it() -> None:
    """One element whose noise the reference's copies happen to miss; far off is far off still."""
    zero = Answer(np.zeros(1), 0.0, 1e-17, 1e-17)
    noise, more = (np.array([x], np.float32) for x in (2e-16, 1e-12))
    alone = compare("velocity", zero, np.zeros(1), noise)
    assert alone.verdict is Verdict.IMPRECISE
    beside = compare("velocity", zero, np.zeros(1), noise, beside32=1e-7)
    assert beside.verdict is Verdict.UNCHECKED
    assert compare("velocity", zero, np.zeros(1), more, beside32=1e-7).verdict is Verdict.IMPRECISE


@pytest.mark.parametrize(
    ("port64", "says"),
    [
        (None, "the port gave no energies"),
        (TRUTH[:2], "energies has shape (2,) from the port, (3,) from the reference"),
        (TRUTH[:, None], "energies has shape (3, 1) from the port, (3,) from the reference"),
        (TRUTH.astype(np.float32), "dtype float32 from the port in a float64 run"),
        (np.array([1.0, np.nan, 0.5]), "energies is nan at index (1,)"),
        (np.array([1.0, -2.0, np.inf]), "energies is inf at index (2,)"),
    ],
)
def test_what_cannot_be_compared_is_invalid(port64: np.ndarray | None, says: str) -> None:
    found = against(port64)
    assert found.verdict is Verdict.INVALID
    assert says in str(found.problem)


def test_a_port_that_is_not_finite_only_in_float32_is_invalid() -> None:
    found = against(TRUTH, np.array([1.0, np.nan, 0.5], dtype=np.float32))
    assert found.verdict is Verdict.INVALID
    assert "(float32)" in str(found.problem)


def test_nan_on_both_sides_is_not_agreement() -> None:
    truth = np.array([1.0, np.nan])
    found = against(truth.copy(), truth=truth)
    assert found.verdict is Verdict.INVALID
    assert "not finite from the reference itself" in str(found.problem)


def test_equal_zeros_prove_nothing_unless_the_caller_says_so() -> None:
    zeros = np.zeros(4)
    assert against(zeros.copy(), truth=zeros).verdict is Verdict.UNCHECKED
    found = against(zeros.copy(), truth=zeros, constant_is_unchecked=False)
    assert found.verdict is Verdict.IDENTICAL


def test_a_port_that_differs_from_zeros_is_still_divergent() -> None:
    assert against(np.full(4, 1e-3), truth=np.zeros(4)).verdict is Verdict.DIVERGENT


def test_no_elements_prove_nothing() -> None:
    empty = np.zeros((0, 2))
    assert against(empty, truth=empty).verdict is Verdict.UNCHECKED


def test_without_an_oracle_float32_decides_and_is_never_green() -> None:
    close, far = TRUTH.astype(np.float32), TRUTH.astype(np.float32) + np.float32(0.1)
    found = against(None, close, no_oracle="torch.FloatTensor")
    assert found.verdict is Verdict.UNCHECKED
    assert found.problem == "no oracle: torch.FloatTensor"
    assert against(None, far, no_oracle="torch.FloatTensor").verdict is Verdict.DIVERGENT
    assert against(None, None, no_oracle="torch.FloatTensor").verdict is Verdict.INVALID


def test_only_two_verdicts_are_green_and_nothing_is_unchecked() -> None:
    assert [v for v in Verdict if v.green] == [Verdict.IDENTICAL, Verdict.ROUNDING]
    assert Verdict.worst([]) is Verdict.UNCHECKED
    assert Verdict.worst(list(Verdict)) is Verdict.INVALID
    assert Verdict.worst([Verdict.ROUNDING, Verdict.UNCHECKED]) is Verdict.UNCHECKED


def test_ratio_of_nothing_to_nothing_is_nothing() -> None:
    assert ratio(0.0, 0.0) == 0.0
    assert ratio(1.0, 0.0) == float("inf")


@given(
    arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3)),
    st.data(),
)
def test_any_single_fault_beyond_the_bound_is_found_where_it_is(
    truth: np.ndarray, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(truth) - 1))
    sign = data.draw(st.sampled_from([-1, 1]))
    port = truth.copy()
    port[index] += sign * 1e-6
    found = compare("a", Answer(truth, 1e-9 / FLOAT64_FLOORS), port, None)
    assert found.verdict is Verdict.DIVERGENT
    assert found.worst is not None
    assert found.worst.index == (index,)


@pytest.mark.parametrize("floor", [float("nan"), float("inf")])
def test_a_floor_that_is_no_number_proves_nothing(floor: float) -> None:
    """NaN was an unlimited bound: no difference is more than that."""
    for port in (TRUTH, TRUTH * (1 + 3e-7)):
        found = compare("a", Answer(TRUTH, floor), port, None)
        assert found.verdict is Verdict.UNCHECKED
        assert f"its float64 floor is {floor}" in str(found.problem)
        assert found.worst is None, "it is none of the numbers that sum a check up"


def test_a_floor_near_the_arrays_own_size_proves_nothing_and_a_difference_beyond_it_does() -> None:
    truth = TRUTH * 1e-3
    scale = float(np.abs(truth).max())
    for floor, seen in ((POWER * scale, True), (1.01 * POWER * scale, False)):
        found = compare("a", Answer(truth, floor), truth + floor, None)
        assert found.verdict is (Verdict.ROUNDING if seen else Verdict.UNCHECKED)
        assert seen or "ill-conditioned: moved by one unit" in str(found.problem)
        assert seen or "another case" in str(found.problem)
        assert compare("a", Answer(truth, floor), truth + 65 * floor, None).verdict is (
            Verdict.DIVERGENT
        )


@pytest.mark.parametrize("error", [(float("nan"), 1e-7), (1e-7, float("nan")), (float("inf"), 0.0)])
def test_a_float32_error_of_the_reference_that_is_no_number_is_not_compared_with(
    error: tuple[float, float],
) -> None:
    """Neither order of NaN and a number gives a bound that everything passes."""
    for port in (TRUTH.astype(np.float32), np.full(3, np.nan, np.float32)):
        found = compare("a", Answer(TRUTH, FLOOR, *error), TRUTH, port)
        assert (found.verdict, found.blind32) == (Verdict.IDENTICAL, True)
        assert found.error_ratio is None


def test_a_float32_floor_as_large_as_the_array_says_nothing_of_float32() -> None:
    port = TRUTH.astype(np.float32) + np.float32(0.5)
    found = compare("a", Answer(TRUTH, FLOOR, 0.0, 2.0), TRUTH, port)
    assert (found.verdict.green, found.blind32, found.error_ratio) == (True, True, None)
    far = compare("a", Answer(TRUTH, FLOOR, 0.0, 2.0), TRUTH, port * 100)
    assert far.verdict is Verdict.IMPRECISE
    assert not compare("a", Answer(TRUTH, FLOOR, 0.0, 1.9), TRUTH, port).blind32


@pytest.mark.parametrize(
    ("array", "observable"),
    [
        ("samples[12]", "samples"),
        ("energies (first image alone)", "energies"),
        ("energies (in another order), port alone", "energies"),
        ("training_state/momentum/conv1/kernel[2]", "training_state/momentum/conv1/kernel"),
    ],
)
def test_an_observable_is_an_array_without_step_and_subset(array: str, observable: str) -> None:
    assert compare(array, Answer(TRUTH, FLOOR), TRUTH, None).observable == observable
