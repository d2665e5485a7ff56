"""What a person says of an input, and how the port takes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from parity.declare.inputs import InputSpec
from parity.entries.programs.align_inputs import ways_of_giving
from parity.errors import BadCall, PortFailed

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=32,30,3", InputSpec("x", (32, 30, 3))),
        ("ids=16:int32:0..999", InputSpec("ids", (16,), "int32", 0.0, 999.0)),
        ("8:float:-2.5..1e3", InputSpec("", (8,), "float", -2.5, 1000.0)),
        ("n=", InputSpec("n", ())),
    ],
)
def test_an_input_is_read(text: str, expected: InputSpec) -> None:
    assert InputSpec.parse(text) == expected
    assert InputSpec.from_plain(expected.to_plain()) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x=3x3", "expected NAME=SHAPE"),
        ("x=3:complex64", "unknown dtype 'complex64'"),
        ("x=3:int32:5..2", "the range 5..2 is empty"),
    ],
)
def test_a_wrong_one_is_named(text: str, said: str) -> None:
    with pytest.raises(BadCall, match=said):
        InputSpec.parse(text)


def test_values_lie_in_the_range() -> None:
    drawn = InputSpec("ids", (400,), "int32", 2.0, 4.0).drawn(2, RNG)
    assert drawn.dtype == np.int32
    assert set(np.unique(drawn)) == {2, 3, 4}
    images = InputSpec("x", (50, 3), low=0.0, high=255.0).drawn(2, RNG)
    assert images.dtype == np.float32
    assert 0 <= images.min() < 50 < 200 < images.max() <= 255


def test_the_port_takes_what_it_runs_on() -> None:
    specs = [InputSpec("image", (6, 5, 3)), InputSpec("meta", (4,))]
    values = {spec.name: spec.drawn(2, RNG) for spec in specs}

    def accepts(inputs: Mapping[str, np.ndarray], named: bool) -> str | None:
        meta, image = inputs.values()
        fits = meta.shape == (2, 4) and image.shape == (2, 3, 6, 5)
        return None if fits else "RuntimeError: no"

    named = [{"name": "meta", "needed": True}, {"name": "image", "needed": True}]
    (found,) = ways_of_giving(specs, named, accepts, values)
    assert found.named
    assert found.order == ("meta", "image")
    assert found.channels_first == {"image"}
    other = [{"name": "a", "needed": True}, {"name": "b", "needed": True}]
    (unnamed,) = ways_of_giving(specs, other, accepts, values)  # by what runs
    assert unnamed == dataclasses.replace(found, named=False)
    back = found.back("image", found.given(values)["image"])
    assert np.array_equal(back, values["image"])


def test_a_port_that_runs_on_nothing_is_told_with_both_sides() -> None:
    spec = InputSpec("x", (6, 5, 3))
    with pytest.raises(
        PortFailed, match=r"x \(6, 5, 3\); tried \[\(2, 3, 6, 5\)\]: ValueError: no"
    ):
        ways_of_giving([spec], [], lambda *_: "ValueError: no", {"x": spec.drawn(2, RNG)})
