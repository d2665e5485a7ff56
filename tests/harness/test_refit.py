"""Rules of a segment are found again, with numbers that no table holds."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from parity.explain.network.activations import compared
from parity.explain.network.refit import refit
from parity.explain.network.rules import Layer, Segment, compute, departures

OWN = Segment("swish", padding="same", strides=(2, 2))


def convolution(
    own: Segment = OWN, kernel: tuple[int, ...] = (3, 3, 2, 5), size: tuple[int, int] = (8, 9)
) -> tuple[Layer, np.ndarray]:
    rng = np.random.default_rng(2)
    layer = Layer("conv", "Conv2D", rng.normal(size=kernel), rng.normal(size=kernel[3]), own, None)
    return layer, rng.normal(size=(3, *size, kernel[2])) * 3


def dense(own: Segment) -> tuple[Layer, np.ndarray]:
    rng = np.random.default_rng(3)
    layer = Layer("dense", "Dense", rng.normal(size=(24, 4)), rng.normal(size=4), own, (2, 3, 4))
    return layer, rng.normal(size=(3, 2, 3, 4)) * 3


def found(rule: Segment, layer: Layer, values: np.ndarray) -> list[Segment]:
    ours = compute(rule, layer, values)
    assert ours is not None
    return refit(layer, values, ours, 1e-12)


SIDES = [s for s in itertools.product(range(4), repeat=4) if s not in ((0, 1, 0, 1), (1, 1, 1, 1))]


@pytest.mark.parametrize("sides", SIDES[::11])
def test_any_padding_is_found_or_one_that_behaves_alike(sides: tuple[int, int, int, int]) -> None:
    layer, values = convolution()
    top, bottom, left, right = sides
    rule = dataclasses.replace(OWN, padding=((top, bottom), (left, right)))
    again = found(rule, layer, values)
    assert again, sides
    theirs, ours = compute(rule, layer, values), compute(again[0], layer, values)
    assert theirs is not None
    assert ours is not None
    np.testing.assert_allclose(theirs, ours, atol=1e-12)
    assert departures(again[0], OWN) in ([], ["padding"])
    if isinstance(again[0].padding, tuple):
        assert [before for before, _ in again[0].padding] == [top, left]


@pytest.mark.parametrize("fill", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 1), (2, 0))])
def test_padding_with_other_than_zeros(fill: str, padding: Any) -> None:
    layer, values = convolution()
    rule = dataclasses.replace(OWN, padding=padding, fill=fill)
    again = found(rule, layer, values)
    assert again[0].fill == fill
    assert departures(again[0], OWN) == ["padding"]
    assert [before for before, _ in again[0].padding] == [before for before, _ in padding]


@pytest.mark.parametrize(
    "change",
    [
        {"strides": (1, 1)},
        {"strides": (4, 4)},
        {"dilation": (2, 2)},
        {"dilation": (3, 3), "kernel": "flipped"},
        {"strides": (1, 1), "dilation": (2, 2), "activation": "tanh", "bias": False},
        {"kernel": "swapped and flipped", "padding": ((1, 1), (1, 1)), "activation": "linear"},
    ],
    ids=str,
)
def test_strides_dilations_and_kernels_together(change: dict[str, Any]) -> None:
    layer, values = convolution()
    rule = dataclasses.replace(OWN, **change)
    assert found(rule, layer, values)[0] == rule


def test_a_reference_that_dilates_is_refitted_too() -> None:
    own = dataclasses.replace(OWN, strides=(1, 1), dilation=(2, 2))
    layer, values = convolution(own)
    rule = dataclasses.replace(own, dilation=())
    assert found(rule, layer, values)[0] == rule


NUMBERS = [
    "leaky_relu, slope 0.05",
    "leaky_relu, slope -0.37",
    "leaky_relu, slope 0.123456789",
    "elu, alpha 0.3",
    "celu, alpha 0.6",
    "softplus, beta 2.5",
    "softplus, beta 0.35",
    "swish, beta 1.4",
    "quick gelu",
    "swish twice",
]


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_activations_are_solved_for(name: str) -> None:
    for layer, values in (convolution(), dense(Segment("swish", flatten="HWC"))):
        rule = dataclasses.replace(layer.own, activation=name)
        assert found(rule, layer, values)[0] == rule


def test_a_slope_is_solved_for_among_three_other_faults() -> None:
    layer, values = convolution()
    rule = Segment(
        "leaky_relu, slope 0.05", padding=((2, 1), (0, 2)), strides=(2, 2), kernel="flipped"
    )
    rule = dataclasses.replace(rule, bias=False)
    (again, *_) = found(rule, layer, values)
    assert again.activation == rule.activation
    assert departures(again, OWN) == ["activation", "padding", "kernel", "bias"]
    own = Segment("swish", flatten="HWC")
    layer, values = dense(own)
    rule = dataclasses.replace(own, activation="softplus, beta 2.5", flatten="CHW", bias=False)
    assert found(rule, layer, values)[0] == rule


def test_what_no_rule_reproduces_is_not_fitted() -> None:
    layer, values = convolution()
    ours = compute(OWN, layer, values)
    assert ours is not None
    assert refit(layer, values, ours * 1.001, 1e-12) == []
    assert refit(layer, values, np.where(ours > 0, ours, np.nan), 1e-12) == []
    assert refit(layer, values, ours[:, :2, :2], 1e-12) == []
    assert refit(layer, values, ours[..., :3], 1e-12) == []
    assert refit(layer, values, ours.reshape(3, -1), 1e-12) == []


@pytest.mark.parametrize("kernel", [(3, 3, 64, 64), (5, 5, 3, 16)])
def test_the_fewest_departures_first(kernel: tuple[int, ...]) -> None:
    """Of a layer as large as the published ones, the reference's own rule before all others."""
    layer, values = convolution(kernel=kernel, size=(4, 4))
    assert found(OWN, layer, values)[0] == OWN


def test_how_an_activation_differs_in_words() -> None:
    said = "slope is 0.05, the reference's 0.2"
    assert compared("leaky_relu, slope 0.05", "leaky_relu") == (said, True)
    assert compared("relu", "swish") == ("is swish, not relu", False)
    assert compared("linear", "swish") == ("is missing: the reference has swish", False)
    said = "is applied twice: the reference applies swish once"
    assert compared("swish twice", "swish") == (said, False)
    said = "is swish, not leaky_relu (slope 0.05)"
    assert compared("leaky_relu, slope 0.05", "swish") == (said, False)
