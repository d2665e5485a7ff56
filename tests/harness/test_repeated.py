"""One question asked twice: what is noted of other bits, and who is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parity.errors import ReferenceFailed
from parity.side.repeated import note_difference, refuse_different

ONE = {"a": np.array([1.0, np.nan]), "b": np.array([[1.0, 2.0]])}


def test_the_same_bits_are_nothing_to_note() -> None:
    notes: dict[str, Any] = {}
    note_difference(notes, ONE, {name: array.copy() for name, array in ONE.items()})
    assert notes == {}
    refuse_different(notes, "the network")


def test_the_first_other_bit_is_noted_with_both_values_and_is_the_references_fault() -> None:
    notes: dict[str, Any] = {}
    other = ONE | {"b": np.array([[1.0, np.nextafter(2.0, 3.0)]])}
    note_difference(notes, ONE, other)
    assert notes["differs"] == (
        "b (float64) is 2.0 at [0, 1], and then 2.0000000000000004 (1 of 2 elements)"
    )
    with pytest.raises(ReferenceFailed, match="the reference is not deterministic: asked twice"):
        refuse_different(notes, "the network")
    note_difference(notes, ONE, {"a": ONE["a"]})
    assert notes["differs"].startswith("b (float64)"), "the first is kept"


def test_an_array_of_another_shape_or_that_is_there_once_differs() -> None:
    for other in ({"a": ONE["a"]}, ONE | {"b": ONE["b"].T}, ONE | {"c": ONE["b"]}):
        notes: dict[str, Any] = {}
        note_difference(notes, ONE, other, "a copy, ")
        assert notes["differs"].startswith("a copy, ")
        assert "is there once, or has another shape" in notes["differs"]
