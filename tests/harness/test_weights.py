"""Which parameter holds which weight: declared, in order, by shape, or asked for; never guessed."""

from __future__ import annotations

import time

import pytest

from parity.correspond.weights import (
    CannotMatch,
    Match,
    Parameter,
    Weight,
    check_weights,
    match,
    match_partly,
)
from parity.errors import BadCall

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


def layer(name: str, shape: tuple[int, ...]) -> list[Weight]:
    return [Weight(f"{name}/kernel", shape), Weight(f"{name}/bias", shape[-1:])]


def module(name: str, shape: tuple[int, ...]) -> list[Parameter]:
    return [
        Parameter(f"{name}.weight", shape[::-1], "dense"),
        Parameter(f"{name}.bias", shape[-1:], None),
    ]


CHAIN = [*layer("a", (3, 8)), *layer("b", (8, 8)), *layer("c", (8, 8)), *layer("d", (9, 8))]


def told(matches: list[Match]) -> dict[str, str]:
    return {m.parameter: m.weight for m in matches}


def test_a_bias_is_of_the_layer_of_its_modules_kernel() -> None:
    """The biases have one shape, and are registered in another order than the reference's."""
    weights = [*layer("a", (3, 8)), *layer("b", (5, 8)), *layer("c", (9, 8))]
    port = [*module("z", (9, 8)), *module("x", (5, 8)), *module("y", (3, 8))]
    assert told(match(weights, port)) == {
        "z.weight": "c/kernel",
        "z.bias": "c/bias",
        "x.weight": "b/kernel",
        "x.bias": "b/bias",
        "y.weight": "a/kernel",
        "y.bias": "a/bias",
    }


def test_names_of_layers_decide_before_any_order() -> None:
    port = [
        p for name in "dcba" for p in module(name, next(w.shape for w in CHAIN if w.layer == name))
    ]
    held = told(match(CHAIN, port, used=lambda: pytest.fail("nothing has to be evaluated")))
    assert all(p.partition(".")[0] == w.partition("/")[0] for p, w in held.items())


LISTS = [
    Parameter("head", (8, 9), None),
    *[Parameter(f"k.{n}", s[::-1], None) for n, s in enumerate([(3, 8), (8, 8), (8, 8)])],
    *[Parameter(f"b.{n}", (8,), None) for n in range(4)],
]


def test_the_order_of_use_decides_where_that_of_registration_does_not_fit() -> None:
    used = ["b.3", "k.0", "k.2", "b.1", "b.0", "k.1", "head", "b.2"]
    held = told(match(CHAIN, LISTS, used=lambda: used))
    assert held == {
        "k.0": "a/kernel",
        "b.3": "a/bias",
        "k.2": "b/kernel",
        "b.1": "b/bias",
        "k.1": "c/kernel",
        "b.0": "c/bias",
        "head": "d/kernel",
        "b.2": "d/bias",
    }


def test_one_that_is_not_used_is_what_is_left() -> None:
    used = ["k.0", "b.0", "k.1", "b.1", "k.2", "head", "b.3"]
    assert told(match(CHAIN, LISTS, used=lambda: used))["b.2"] == "d/bias"


@pytest.mark.parametrize("used", [None, [], ["k.0", "b.0", "k.1"]])
def test_without_an_order_all_candidates_are_asked_for(used: list[str] | None) -> None:
    with pytest.raises(CannotMatch) as caught:
        match(CHAIN, LISTS, used=lambda: used)
    said = str(caught.value)
    assert "fit the reference's weights in more than one way" in said
    assert "b/kernel (8, 8) may be k.1 or k.2" in said
    assert "a/bias (8,) may be b.0, b.1, b.2 or b.3" in said
    assert "a/kernel" not in said, "that one is told by its shape"
    assert "TorchSide(weights={'b.0': 'a/bias', ...})" in said
    partial = match_partly(CHAIN, LISTS, used=lambda: used)
    assert partial.missing == []
    assert told(partial.matches) == {"k.0": "a/kernel", "head": "d/kernel"}
    assert partial.question == said


def test_orders_that_contradict_each_other_are_asked_about() -> None:
    port = [p for n, w in enumerate(CHAIN[::2]) for p in module(f"m{n}", w.shape)]
    registered = [p.name for p in port]
    assert told(match(CHAIN, port, used=lambda: registered))["m1.weight"] == "b/kernel"
    swapped = [*registered[:2], *registered[4:6], *registered[2:4], *registered[6:]]
    with pytest.raises(CannotMatch, match=r"b/kernel .* may be m1\.weight or m2\.weight"):
        match(CHAIN, port, used=lambda: swapped)
    assert told(match(CHAIN, port, used=lambda: None))["m1.weight"] == "b/kernel"


def test_one_layer_too_many_leaves_the_others_told() -> None:
    port = [
        *module("p", (3, 8)),
        *module("q", (8, 8)),
        *module("r", (8, 8)),
        *module("more", (8, 8)),
        *module("s", (9, 8)),
    ]
    partial = match_partly(CHAIN, port)
    held = told(partial.matches)
    assert held["p.bias"] == "a/bias"
    assert held["s.bias"] == "d/bias"
    assert partial.missing == []
    assert partial.ambiguous == ["b/kernel", "b/bias", "c/kernel", "c/bias"]
    assert partial.candidates["c/kernel"] == ["q.weight", "r.weight", "more.weight"]
    assert partial.question == ""


def test_many_alike_layers_are_matched_in_no_time() -> None:
    weights = [w for n in range(60) for w in layer(f"l{n}", (8, 8))]
    port = [p for n in range(60) for p in module(f"m{n}", (8, 8))]
    names = [p.name for p in port]
    start = time.process_time()
    held = told(match(weights, port, used=lambda: names))
    assert held["m37.bias"] == "l37/bias"
    assert time.process_time() - start < 10
