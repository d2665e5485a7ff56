"""Shared streams: the same numbers however they are drawn, and of the right distribution."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from parity.values.randomness import Draw, SharedRandomness, compared, host_generators_seeded


def stream(key: int = 3, layout: str = "NHWC") -> SharedRandomness:
    return SharedRandomness(key, layout)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 2**31))
def test_split_merged_and_flat_draws_agree(counts: list[int], key: int) -> None:
    whole, parts = stream(key), stream(key)
    for family in ("normal", "uniform"):
        merged = getattr(whole, family)((sum(counts),), "float32")
        split = [getattr(parts, family)((n,), "float32") for n in counts]
        assert np.array_equal(merged, np.concatenate(split))
    merged = whole.integers(0, 7, (sum(counts),), "int64")
    split = [parts.integers(0, 7, (n,), "int64") for n in counts]
    assert np.array_equal(merged, np.concatenate(split))
    assert compared(whole.log) == compared(parts.log)


def test_both_layouts_see_the_same_pixel() -> None:
    nhwc = stream().normal((2, 3, 4, 5), "float32")
    nchw = stream(layout="NCHW").normal((2, 5, 3, 4), "float32")
    assert np.array_equal(np.moveaxis(nchw, 1, -1), nhwc)
    one_by_one = stream(layout="NCHW")
    singles = [one_by_one.normal((5, 3, 4), "float32") for _ in range(2)]
    assert np.array_equal(np.stack(singles), nchw)


def test_the_layout_is_declared_never_guessed() -> None:
    with pytest.raises(ValueError, match="layout must be 'NHWC' or 'NCHW', got 'CHWN'"):
        SharedRandomness(0, "CHWN")


@pytest.mark.parametrize("family", ["normal", "uniform"])
def test_numbers_are_exact_in_float32(family: str) -> None:
    values = getattr(stream(), family)((100_000,), "float32")
    assert np.array_equal(values, values.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_uniform_is_never_rounded_up_to_one(dtype: str) -> None:
    values = stream().uniform((100_000,), dtype)
    bits = {"float16": 11, "bfloat16": 8}[dtype]
    assert values.max() <= 1 - 2.0**-bits


def test_families_are_distributed_as_they_are_called() -> None:
    draws = stream(key=11)
    assert stats.kstest(draws.normal((20_000,), "float32"), "norm").pvalue > 1e-3
    assert stats.kstest(draws.uniform((20_000,), "float32"), "uniform").pvalue > 1e-3
    integers = draws.integers(-2, 5, (14_000,), "int64")
    assert stats.chisquare(np.bincount(integers + 2, minlength=7)).pvalue > 1e-3
    assert sorted(draws.permutation(50, "int64")) == list(range(50))


def test_keys_and_families_have_streams_of_their_own() -> None:
    one = stream(1)
    normal = one.normal((9,), "float32")
    assert not np.array_equal(normal, stream(2).normal((9,), "float32"))
    other = stream(1)
    other.uniform((100,), "float32")
    assert np.array_equal(normal, other.normal((9,), "float32"))


def test_integers_from_an_empty_range_are_refused() -> None:
    with pytest.raises(ValueError, match="low < high, got low=3, high=3"):
        stream().integers(3, 3, (2,), "int64")


def test_what_is_compared_of_the_log() -> None:
    log = [
        Draw("normal", 4, "float32", 0),
        Draw("normal", 2, "float32", 0),
        Draw("integers", 1, "int64", 0, scalar=True),
        Draw("normal", 0, "float32", 0),
        Draw("normal", 6, "float32", 1),
        Draw("uniform", 6, "float32", 1),
    ]
    assert compared(log) == [
        Draw("normal", 6, "float32", 0),
        Draw("normal", 6, "float32", 1),
        Draw("uniform", 6, "float32", 1),
    ]


def test_a_draw_at_another_place_or_of_another_dtype_differs() -> None:
    here = [Draw("normal", 6, "float32", 0)]
    assert compared(here) != compared([Draw("normal", 6, "float32", 1)])
    assert compared(here) != compared([Draw("normal", 6, "float64", 0)])
    assert compared(here) != compared([Draw("normal", 6, "float32", 0, served=False)])


def test_replaying_serves_the_same_again_unlogged_and_then_goes_on() -> None:
    draws, plain = stream(), stream()
    draws.normal((3,), "float32")
    mark = draws.bookmark()
    first = draws.normal((4,), "float32")
    with draws.replaying(mark):
        assert np.array_equal(draws.normal((4,), "float32"), first)
    after = draws.normal((2,), "float32")
    assert np.array_equal(after, plain.normal((9,), "float32")[7:])
    assert [draw.count for draw in draws.log] == [3, 4, 2]


def test_host_generators_are_seeded_and_put_back() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    with host_generators_seeded(1):
        inside = random.random(), np.random.rand()
    with host_generators_seeded(1):
        assert (random.random(), np.random.rand()) == inside
    assert (random.random(), np.random.rand()) == expected
    assert inside != expected
