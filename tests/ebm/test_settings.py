"""The settings: the published numbers, there and back through JSON, and no bad value let in."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebm.settings import ACTIVATIONS, PUBLISHED, ConvLayer, DenseLayer, Settings

COUNTS = ("height", "width", "channels", "steps", "buffer_size", "batch_size", "epochs")
ABOVE_ZERO = ("step_size", "gradient_clip", "learning_rate")
AT_LEAST_ZERO = ("noise", "alpha")

# The published numbers

PUBLISHED_NUMBERS: dict[str, Any] = {
    "height": 32,
    "width": 32,
    "channels": 1,
    "convolutions": [
        {"filters": 16, "kernel": [5, 5], "stride": [2, 2], "activation": "swish"},
        {"filters": 32, "kernel": [3, 3], "stride": [2, 2], "activation": "swish"},
        {"filters": 64, "kernel": [3, 3], "stride": [2, 2], "activation": "swish"},
        {"filters": 64, "kernel": [3, 3], "stride": [2, 2], "activation": "swish"},
    ],
    "dense": [{"units": 64, "activation": "swish"}],
    "steps": 60,
    "step_size": 10.0,
    "noise": 0.005,
    "gradient_clip": 0.03,
    "buffer_size": 8192,
    "fresh_fraction": 0.05,
    "batch_size": 128,
    "alpha": 0.1,
    "learning_rate": 1e-4,
    "epochs": 60,
    "score_split": "halves",
}


def test_the_defaults_are_the_published_numbers() -> None:
    assert Settings().to_dict() == PUBLISHED_NUMBERS
    assert Settings() == PUBLISHED
    assert PUBLISHED.image_shape == (32, 32, 1)


def test_the_published_network_has_76_993_parameters() -> None:
    height, width, channels = PUBLISHED.image_shape
    parameters = 0
    for layer in PUBLISHED.convolutions:
        parameters += (math.prod(layer.kernel) * channels + 1) * layer.filters
        height, width = -(-height // layer.stride[0]), -(-width // layer.stride[1])
        channels = layer.filters
    features = height * width * channels
    for units in (*(layer.units for layer in PUBLISHED.dense), 1):
        parameters += (features + 1) * units
        features = units
    assert parameters == 76_993


# There and back

counts = st.integers(1, 10_000)
pairs = st.tuples(counts, counts)
activations = st.sampled_from(ACTIVATIONS)
above_zero = st.floats(0, exclude_min=True, allow_infinity=False)
not_negative = st.floats(0, allow_infinity=False)
convolutions = st.builds(ConvLayer, counts, pairs, pairs, activations)
dense_layers = st.builds(DenseLayer, counts, activations)
all_settings = st.builds(
    Settings,
    **dict.fromkeys(COUNTS, counts),
    **dict.fromkeys(ABOVE_ZERO, above_zero),
    **dict.fromkeys(AT_LEAST_ZERO, not_negative),
    convolutions=st.lists(convolutions, max_size=4).map(tuple),
    dense=st.lists(dense_layers, max_size=3).map(tuple),
    fresh_fraction=st.floats(0, 1),
    score_split=st.sampled_from(["halves", "counts"]),
)


@given(settings=all_settings)
def test_settings_come_back_from_json(settings: Settings) -> None:
    again = Settings.from_dict(json.loads(json.dumps(settings.to_dict(), allow_nan=False)))
    assert again == settings
    assert hash(again) == hash(settings)


def test_the_round_trip_draws_every_setting() -> None:
    """A field added later must join the strategy above, or it would never be carried over."""
    layers_and_the_rest = {"convolutions", "dense", "fresh_fraction", "score_split"}
    drawn = {*COUNTS, *ABOVE_ZERO, *AT_LEAST_ZERO, *layers_and_the_rest}
    assert drawn == {field.name for field in dataclasses.fields(Settings)}


@given(name=st.sampled_from(sorted(PUBLISHED_NUMBERS)))
def test_what_is_left_out_is_as_published(name: str) -> None:
    some = {key: value for key, value in PUBLISHED_NUMBERS.items() if key != name}
    assert Settings.from_dict(some) == PUBLISHED


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PUBLISHED.steps = 1  # type: ignore[misc]


# What is refused

NOT_A_COUNT = [0, -1, 1.0, 2.5, math.nan, True, None, "3", (3,)]
NOT_ABOVE_ZERO = [0, 0.0, -1e-9, math.inf, math.nan, True, None, "0.1", 10**400]
NOT_AT_LEAST_ZERO = [-1e-9, -1, math.inf, -math.inf, math.nan, False, None, "0.1"]
BAD_SETTINGS = [
    *((name, value) for name in COUNTS for value in NOT_A_COUNT),
    *((name, value) for name in ABOVE_ZERO for value in NOT_ABOVE_ZERO),
    *((name, value) for name in AT_LEAST_ZERO for value in NOT_AT_LEAST_ZERO),
    *(("fresh_fraction", value) for value in [*NOT_AT_LEAST_ZERO, 1.0000001, 2]),
    *(("score_split", value) for value in ("half", "", None, 2)),
    *(("convolutions", value) for value in (None, 3, [ConvLayer(1, (1, 1), (1, 1))], (3,))),
    ("convolutions", (DenseLayer(3),)),
    *(("dense", value) for value in (None, 3, [DenseLayer(3)], (3,), DenseLayer(3))),
]


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS, ids=lambda value: repr(value)[:20])
def test_a_bad_setting_is_refused_by_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} .*got {re.escape(repr(value))}$"):
        Settings(**{name: value})


@pytest.mark.parametrize("value", NOT_A_COUNT)
def test_a_bad_size_of_a_layer_is_refused_by_name_and_value(value: Any) -> None:
    got = f"got {re.escape(repr(value))}"
    with pytest.raises(ValueError, match=f"^filters .*{got}$"):
        ConvLayer(value, (3, 3), (1, 1))
    with pytest.raises(ValueError, match=f"^units .*{got}$"):
        DenseLayer(value)
    for pair in ((value, 3), (3, value)):
        with pytest.raises(ValueError, match=f"^kernel .*{got}$"):
            ConvLayer(8, pair, (1, 1))
        with pytest.raises(ValueError, match=f"^stride .*{got}$"):
            ConvLayer(8, (3, 3), pair)


@pytest.mark.parametrize("value", [3, None, "33", (3,), (3, 3, 3), [3, 3], ()])
def test_what_is_no_pair_is_refused_by_name_and_value(value: Any) -> None:
    with pytest.raises(ValueError, match=f"^kernel .*got {re.escape(repr(value))}$"):
        ConvLayer(8, value, (1, 1))
    with pytest.raises(ValueError, match=f"^stride .*got {re.escape(repr(value))}$"):
        ConvLayer(8, (3, 3), value)


@pytest.mark.parametrize("value", ["silu", "Swish", "", None, 3, ["relu"]])
def test_an_unknown_activation_is_refused_with_the_known_ones(value: Any) -> None:
    for layer in (lambda: ConvLayer(8, (3, 3), (1, 1), value), lambda: DenseLayer(8, value)):
        with pytest.raises(ValueError, match=f"^activation .*swish.*got {re.escape(repr(value))}$"):
            layer()


LAYER = {"filters": 8, "kernel": [3, 3], "stride": [1, 1], "activation": "relu"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepsize": 1.0}, "unknown settings stepsize; known: .*step_size"),
        ({"b": 1, "a": 2}, "unknown settings a, b; known"),
        ({"noise": -1}, "noise .*got -1"),
        ({"convolutions": 3}, "convolutions .*got 3"),
        ({"convolutions": LAYER}, "convolutions .*got {'filters'"),
        ({"convolutions": [3]}, "convolutions .*got 3"),
        ({"convolutions": [{**LAYER, "dilation": 2}]}, "convolutions .*'dilation': 2.*'dilation'"),
        ({"convolutions": [{**LAYER, "kernel": 3}]}, r"kernel .*got 3"),
        ({"convolutions": [{**LAYER, "kernel": [3, 3, 3]}]}, r"kernel .*got \(3, 3, 3\)"),
        ({"convolutions": [{**LAYER, "stride": [0, 1]}]}, "stride .*got 0"),
        ({"convolutions": [{"filters": 8, "kernel": [3, 3]}]}, "convolutions .*'stride'"),
        ({"dense": "64"}, "dense .*got '64'"),
        ({"dense": [64]}, "dense .*got 64"),
        ({"dense": [{}]}, "dense .*'units'"),
        ({"dense": [{"units": -1}]}, "units .*got -1"),
    ],
)
def test_bad_settings_from_json_are_refused_by_name(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.from_dict(values)
