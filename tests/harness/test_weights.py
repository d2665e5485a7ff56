"""Which parameter holds which weight: declared, in order, by shape, or asked for; never guessed."""

from __future__ import annotations

import pytest

from parity.errors import BadCall
from parity.weights import CannotMatch, Match, Parameter, Weight, check_weights, match

WEIGHTS = [
    Weight("conv1/kernel", (3, 3, 1, 4)),
    Weight("conv1/bias", (4,)),
    Weight("score/kernel", (16, 1)),
    Weight("score/bias", (1,)),
]
PARAMETERS = [
    Parameter("features.0.weight", (4, 1, 3, 3), "convolution"),
    Parameter("features.0.bias", (4,), "as_is"),
    Parameter("head.weight", (1, 16), "dense"),
    Parameter("head.bias", (1,), "as_is"),
]
MATCHED = {
    "features.0.weight": ("conv1/kernel", "convolution"),
    "features.0.bias": ("conv1/bias", "as_is"),
    "head.weight": ("score/kernel", "dense"),
    "head.bias": ("score/bias", "as_is"),
}


def as_dict(matches: list[Match]) -> dict[str, tuple[str, str]]:
    return {m.parameter: (m.weight, m.kind) for m in matches}


def test_in_order() -> None:
    assert as_dict(match(WEIGHTS, PARAMETERS)) == MATCHED


def test_by_shape_when_the_order_differs() -> None:
    assert as_dict(match(WEIGHTS, PARAMETERS[::-1])) == MATCHED


def test_bare_parameters_fit_whichever_way_their_shape_allows() -> None:
    bare = [Parameter(p.name, p.shape, None) for p in PARAMETERS]
    assert as_dict(match(WEIGHTS, bare)) == MATCHED


def test_declared_names_win() -> None:
    twice = [Weight("a", (4,)), Weight("b", (4,))]
    parameters = [Parameter("one", (4,), "as_is"), Parameter("two", (4,), "as_is")]
    assert as_dict(match(twice, parameters)) == {"one": ("a", "as_is"), "two": ("b", "as_is")}
    declared = match(twice, parameters, {"one": "b", "two": "a"})
    assert as_dict(declared) == {"one": ("b", "as_is"), "two": ("a", "as_is")}


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"nonsense": "conv1/kernel"}, "names nonsense; the port has"),
        ({"head.bias": "conv9/bias"}, "names conv9/bias; .* the reference has conv1/bias"),
        ({"head.bias": "conv1/kernel"}, "nothing in the port fits|does not fit it"),
    ],
)
def test_declarations_that_cannot_be(declared: dict[str, str], says: str) -> None:
    with pytest.raises(CannotMatch, match=says):
        match(WEIGHTS, PARAMETERS, declared)


def test_missing_and_extra_are_listed_side_by_side() -> None:
    with pytest.raises(CannotMatch) as caught:
        match(WEIGHTS, [*PARAMETERS[:3], Parameter("extra", (9,), "as_is")])
    message = str(caught.value)
    assert "score/bias (1,) of the reference: nothing in the port fits" in message
    assert "extra (9,) of the port: nothing in the reference fits" in message
    assert "TorchSide(weights={" in message


def test_a_kernel_is_never_transposed_just_because_it_would_fit() -> None:
    """The port keeps (in, out) where its module means (out, in): wrong, not an invitation."""
    wrong = [Parameter("head.weight", (16, 1), "dense"), PARAMETERS[3]]
    with pytest.raises(CannotMatch):
        match(WEIGHTS[2:], wrong)


def test_two_open_choices_are_asked_for_not_guessed() -> None:
    weights = [Weight("a", (2,)), Weight("b", (2,)), Weight("c", (3,))]
    parameters = [
        Parameter("z", (3,), "as_is"),
        Parameter("x", (2,), "as_is"),
        Parameter("y", (2,), "as_is"),
    ]
    with pytest.raises(CannotMatch, match="say which is which"):
        match(weights, parameters)


def test_given_weights_that_do_not_fit_are_all_named() -> None:
    expected = {w.name: w.shape for w in WEIGHTS}
    check_weights(expected, expected, "w.safetensors")
    given = {"conv1/kernel": (3, 3, 4, 1), "conv1/bias": (4,), "score/kernel": (16, 1), "more": ()}
    with pytest.raises(BadCall) as caught:
        check_weights(given, expected, "w.safetensors")
    message = str(caught.value)
    assert message.startswith("w.safetensors does not fit the model: ")
    assert "score/bias is missing" in message
    assert "more is not a weight of this model" in message
    assert "conv1/kernel has shape (3, 3, 4, 1), expected (3, 3, 1, 4)" in message
