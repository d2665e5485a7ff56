"""Traces travel between processes without losing anything."""

from __future__ import annotations

import numpy as np
import pytest

from parity.errors import BadFile
from parity.values import archive
from parity.values.randomness import Draw
from parity.values.traces import Trace

TRACE = Trace(
    arrays={
        "float64": {"energies": np.arange(2.0), "activations/conv/1": np.ones((1, 2))},
        "float32": {"energies": np.arange(2, dtype=np.float32)},
    },
    floors={"float64": {"energies": np.array(1e-16), "samples": np.array([1e-16, 2e-16])}},
    draws=(Draw("normal", 6, "float32", 1), Draw("multinomial", 1, "int64", 2, served=False)),
    notes={"horizon": 60},
)


def test_round_trip() -> None:
    again = Trace.from_bytes(TRACE.to_bytes())
    assert again.draws == TRACE.draws
    assert again.notes == TRACE.notes
    assert {p: list(named) for p, named in again.arrays.items()} == {
        p: list(named) for p, named in TRACE.arrays.items()
    }
    found = again.array("float64", "activations/conv/1")
    assert found is not None
    assert np.array_equal(found, np.ones((1, 2)))
    assert again.floors["float64"]["energies"].shape == ()
    assert again.floors["float64"]["samples"].shape == (2,)


def test_what_a_side_did_not_answer_is_none() -> None:
    assert TRACE.array("float32", "samples") is None
    assert TRACE.array("float16", "energies") is None


@pytest.mark.parametrize("about", [{"kind": "case", "schema": 1}, {"kind": "trace", "schema": 2}])
def test_anything_else_is_refused(about: dict[str, object]) -> None:
    with pytest.raises(BadFile, match="expected a trace of schema 1"):
        Trace.from_bytes(archive.to_bytes({}, about))


def test_a_reduced_trace_has_one_order() -> None:
    names = [f"activations/layer{n}" for n in range(20)]
    arrays = {name: np.ones(2) for name in names}
    trace = Trace(
        {"float64": arrays, "float32": {n: a.astype("float32") for n, a in arrays.items()}}
    )
    assert list(trace.reduced().errors) == names


def test_a_reduced_trace_keeps_the_error_of_its_float32_arrays_and_their_digest() -> None:
    exact = np.array([[1.0, 2.0], [3.0, 4.0]])
    rounded = exact.astype(np.float32)
    rounded[1, 0] += np.float32(0.5)
    floors = {p: {"samples": np.array([1e-16, 2e-16])} for p in ("float64", "float32")}
    whole = Trace({"float64": {"samples": exact}, "float32": {"samples": rounded}}, floors)
    reduced = Trace.from_bytes(whole.reduced().to_bytes())
    assert reduced.array("float32", "samples") is None
    np.testing.assert_array_equal(reduced.errors["samples"], [0.0, 0.5])
    assert reduced.same_bits(Trace({"float32": {"samples": rounded.copy()}}), "samples")
    rounded[0, 0] = np.nextafter(rounded[0, 0], np.float32(2))
    assert not reduced.same_bits(Trace({"float32": {"samples": rounded}}), "samples")
    assert not reduced.same_bits(Trace({}), "samples")
