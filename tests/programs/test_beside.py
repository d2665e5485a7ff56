"""An array that is zero by construction is judged beside the others of its kind."""

from __future__ import annotations

import numpy as np
import pytest

from parity.verdict.comparison import Answer, Verdict, compare

EPS = float(np.finfo(np.float64).eps)
NOISE = np.array([1.0, -2.0, 0.5])
F32 = np.float32


def judged(truth: np.ndarray, port: np.ndarray, floor: float, beside: float) -> Verdict:
    answer = Answer(truth, floor, 1e-9, max(1e-9, floor))
    return compare("b", answer, port, port.astype(F32), beside=beside).verdict


def test_noise_on_both_sides_is_zero_beside_a_gradient_of_one() -> None:
    assert judged(NOISE * EPS, NOISE[::-1] * EPS, EPS, 0.0) is Verdict.UNCHECKED
    assert judged(NOISE * EPS, NOISE[::-1] * EPS, EPS, 1.0) is Verdict.ROUNDING
    assert judged(np.zeros(3), NOISE * EPS, 0.0, 0.0) is Verdict.DIVERGENT
    assert judged(np.zeros(3), NOISE * EPS, 0.0, 1.0) is Verdict.ROUNDING
    assert judged(np.zeros(3), np.zeros(3), 0.0, 1.0).green


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-9, 1e-12])
def test_what_is_no_noise_is_red_where_it_is_missing_or_halved(size: float) -> None:
    truth = NOISE * size
    for port in (truth / 2, np.zeros(3)):
        assert judged(truth, port, EPS * size, 1.0) is Verdict.DIVERGENT


def test_a_great_floor_makes_nothing_zero() -> None:
    assert judged(NOISE, NOISE + 0.1, 0.5, 2.0) is Verdict.UNCHECKED
    assert judged(np.zeros(3), np.zeros(3), 0.0, 0.0) is Verdict.UNCHECKED


def test_float32_is_judged_beside_too() -> None:
    answer = Answer(np.zeros(3), 0.0, 0.0, 0.0)
    port = np.zeros(3)
    eps = float(np.finfo(F32).eps)
    noise, wrong = (NOISE * eps).astype(F32), (NOISE * 1e-3).astype(F32)
    assert compare("b", answer, port, noise, beside=1.0).verdict.green
    assert compare("b", answer, port, wrong, beside=1.0).verdict is Verdict.IMPRECISE
