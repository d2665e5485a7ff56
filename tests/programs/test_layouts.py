"""The usual conversion of each kind of weight, there and back, and none that is not usual."""

from __future__ import annotations

import numpy as np
import pytest

from parity.correspond.pieces import Piece, Slot, way

RNG = np.random.default_rng(0)


def piece(
    role: str, *shape: int, name: str = "kernel", kind: str = "", equation: str = ""
) -> Piece:
    return Piece("0", shape, "layer", role, "layer", name, equation=equation or None, kind=kind)


def slot(layout: str | None, *shape: int, kind: str = "", name: str = "m.weight") -> Slot:
    return Slot(name, shape, "m", kind, layout)


CASES = {
    "dense": (piece("dense", 4, 6), slot("out in", 6, 4), "io->oi"),
    "dense as 1x1": (piece("dense", 4, 6), slot("out in ...", 6, 4, 1, 1), "io->oi"),
    "convolution": (piece("convolution", 3, 2, 4, 6), slot("out in ...", 6, 4, 3, 2), "hwio->oihw"),
    "in one dimension": (piece("convolution", 3, 4, 6), slot("out in ...", 6, 4, 3), "hio->oih"),
    "1x1 as linear": (piece("convolution", 1, 1, 4, 6), slot("out in", 6, 4), "hwio->oihw"),
    "transposed": (piece("transposed", 3, 2, 6, 4), slot("in out ...", 4, 6, 3, 2), "hwoi->iohw"),
    "depthwise": (piece("depthwise", 3, 2, 4, 2), slot("out in ...", 8, 1, 3, 2), "hwcm->cmhw"),
    "embedding": (piece("table", 9, 4), slot("rows columns", 9, 4), "rc->rc"),
    "heads": (
        piece("einsum", 6, 2, 3, equation="abc,cde->abde"),
        slot("out in", 6, 6),
        "dhs->hsd",
    ),
    "heads back": (
        piece("einsum", 2, 3, 6, equation="abcd,cde->abe"),
        slot("out in", 6, 6),
        "hsd->dhs",
    ),
    "slopes": (piece("vector", 5, 4, 3, name="alpha"), slot(None, 3, 5, 4), "hwc->chw"),
    "shared slopes": (piece("vector", 1, 1, 3, name="alpha"), slot(None, 3), "hwc->chw"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_weight_is_laid_out_as_usual_and_comes_back(case: str) -> None:
    own, target, letters = CASES[case]
    layout = way(own, target, None)
    assert layout is not None
    weight = RNG.normal(size=own.shape)
    found = layout.apply(weight)
    assert found.shape == target.shape
    assert np.array_equal(found.ravel(), np.einsum(letters, weight).ravel())
    assert np.array_equal(layout.invert(found, own.shape), weight)


def test_gates_of_a_gru_come_in_torchs_order() -> None:
    weight = RNG.normal(size=(4, 9))
    layout = way(piece("gru", 4, 9, kind="GRUCell"), slot("gru", 9, 4), None)
    assert layout is not None
    z, r, h = np.split(weight, 3, axis=1)
    assert np.array_equal(layout.apply(weight), np.concatenate([r, z, h], axis=1).T)
    assert np.array_equal(layout.invert(layout.apply(weight), (4, 9)), weight)


def test_a_dense_kernel_over_a_map_is_a_convolution_of_that_map() -> None:
    weight = RNG.normal(size=(2 * 3 * 4, 5))
    layout = way(piece("dense", 24, 5), slot("out in ...", 5, 4, 2, 3), None)
    assert layout is not None
    expected = weight.reshape(2, 3, 4, 5).transpose(3, 2, 0, 1)
    assert np.array_equal(layout.apply(weight), expected)


def test_a_square_kernel_of_a_linear_is_turned_whatever_the_port_does_with_it() -> None:
    """Otherwise a port that forgets to transpose would be given what hides it."""
    own, linear = piece("dense", 4, 4), slot("out in", 4, 4)
    weight = RNG.normal(size=(4, 4))
    for turned in (None, True, False):
        layout = way(own, linear, turned)
        assert layout is not None
        assert np.array_equal(layout.apply(weight), weight.T)
    for turned in (True, False):
        bare = way(own, slot(None, 4, 4), turned)
        assert bare is not None
        assert np.array_equal(bare.apply(weight), weight.T if turned else weight)


@pytest.mark.parametrize(
    ("own", "target"),
    [
        (piece("convolution", 3, 3, 4, 6), slot("in out ...", 6, 4, 3, 3)),
        (piece("transposed", 3, 3, 6, 4), slot("out in ...", 4, 6, 3, 3)),
        (piece("convolution", 3, 2, 4, 6), slot("out in ...", 6, 4, 2, 3)),
        (piece("dense", 4, 6), slot("out in", 4, 6)),
        (piece("table", 9, 4), slot("out in", 4, 9)),
    ],
    ids=["not transposed", "transposed", "height for width", "not turned", "a table"],
)
def test_what_is_not_usual_is_no_way(own: Piece, target: Slot) -> None:
    assert way(own, target, None) is None
