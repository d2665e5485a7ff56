"""Fingerprints: what is alike, and that what is not is not."""

from __future__ import annotations

import numpy as np
import pytest

from parity.values.table import Called, Index, Table, Use, alike, fingerprint

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(3, 5, 4))


@pytest.mark.parametrize(
    "same",
    [
        VALUES.transpose(2, 0, 1),
        VALUES.reshape(-1)[RNG.permutation(VALUES.size)],
        np.pad(VALUES, ((0, 0), (2, 1), (0, 3))),
        VALUES * (1 + 3e-8),
    ],
    ids=["another order of axes", "any order", "padded with zeros", "a constant in float32"],
)
def test_the_same_values_are_alike(same: np.ndarray) -> None:
    assert alike(fingerprint(VALUES), fingerprint(same))


@pytest.mark.parametrize(
    "other",
    [
        VALUES * 1.001,
        -VALUES,
        np.where(np.arange(VALUES.size).reshape(VALUES.shape) == 7, 0.5, VALUES),
        VALUES[:2],
        np.concatenate([VALUES, VALUES]),
        np.abs(VALUES),
    ],
    ids=["scaled", "negated", "one element", "a part", "twice", "magnitudes"],
)
def test_other_values_are_not(other: np.ndarray) -> None:
    assert not alike(fingerprint(VALUES), fingerprint(other))


@pytest.mark.parametrize("values", [np.ones((3, 4)), np.array([2.0]), np.array([1.0, np.nan])])
def test_constants_single_values_and_nan_are_no_evidence(values: np.ndarray) -> None:
    assert fingerprint(values) is None
    assert not alike(fingerprint(values), fingerprint(values))


def test_an_index_finds_what_is_alike_and_nothing_else() -> None:
    prints = [fingerprint(RNG.normal(size=20)) for _ in range(200)]
    index = Index(f for f in prints if f is not None)
    assert all(f in index for f in prints)
    assert fingerprint(RNG.normal(size=20)) not in index
    assert None not in index


def test_a_table_crosses_the_pipe_as_it_is() -> None:
    one = fingerprint(VALUES)
    assert one is not None
    table = Table(
        (one,), (Use("0", "MatMul", (one,), None, True),), (Called("a", "Dense", (one,), ()),)
    )
    assert Table.from_plain(table.to_plain()) == table  # type: ignore[arg-type]
