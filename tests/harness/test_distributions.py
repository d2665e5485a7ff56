"""The statistical tests of noise and fresh weights agree with SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from parity.entries.initialisation import _unlike
from parity.entries.noise import SIGNIFICANCE, noise_findings, normal, two_samples


@pytest.mark.parametrize("scale", [1.0, 1.02, 1.1, 1.5])
@pytest.mark.parametrize("n", [1000, 40_000])
def test_p_values_are_scipys(n: int, scale: float) -> None:
    rng = np.random.default_rng(n)
    values, other = 0.1 * scale * rng.standard_normal(n), 0.1 * rng.standard_normal(n // 2)
    for ours, theirs in (
        (normal(values, 0.1), stats.kstest(values, "norm", args=(0.0, 0.1), method="asymp")),
        (two_samples(values, other), stats.ks_2samp(values, other, method="asymp")),
    ):
        assert ours == pytest.approx(theirs.pvalue, rel=0.1, abs=1e-12)
        exact = stats.kstest(values, "norm", args=(0.0, 0.1)).pvalue
    assert (normal(values, 0.1) < SIGNIFICANCE) == (exact < SIGNIFICANCE)


def noise(sigma: float = 0.1) -> np.ndarray:
    return sigma * np.random.default_rng(0).standard_normal((4, 4, 16, 16, 1))


def test_noise_as_it_should_be_finds_nothing() -> None:
    assert noise_findings(noise(), 0.1) == {}


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (noise(0.12), "the noise is not N(0, 0.1)"),
        (noise() + 0.02, "the noise is not N(0, 0.1)"),
        (noise() * 0, "the noise is not N(0, 0.1)"),
        (np.repeat(noise()[:1], 4, axis=0), "neighbouring steps is correlated"),
        (np.repeat(noise()[:, :1], 4, axis=1), "neighbouring images is correlated"),
        (np.repeat(noise()[:, :, :1], 16, axis=2), "neighbouring rows is correlated"),
    ],
)
def test_other_noise_is_told(made: np.ndarray, says: str) -> None:
    assert any(says in text for text in noise_findings(made, 0.1).values())


def test_what_is_not_finite_is_found_though_no_p_value_says_so() -> None:
    """A p-value of NaN is below nothing."""
    noise = np.random.default_rng(0).normal(0.0, 0.01, (4, 3, 8, 8, 1))
    assert noise_findings(noise, 0.01) == {}
    noise[1, 2, 3, 4, 0] = np.nan
    assert noise_findings(noise, 0.01) == {"finite": "the noise is not finite in 1 of 768"}
    fresh = np.random.default_rng(1).uniform(-1, 1, 500)
    broken = fresh.copy()
    broken[7] = np.inf
    assert _unlike(fresh, fresh.copy()) is None
    assert _unlike(fresh, broken) == "not finite in 1 of 500 elements"
