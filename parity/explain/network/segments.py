"""What a wrong segment does otherwise, in words: the cause of each departure, or the evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.explain.causes import Cause, verified
from parity.explain.network.activations import compared
from parity.explain.network.normalisation import Normalisation
from parity.explain.network.refit import refit
from parity.explain.network.rules import Array, Layer, Segment, compute, departures, padded

BOTH: Mapping[Any, tuple[str, ...]] = {"swapped and flipped": ("H and W swapped", "flipped")}
IDS = {
    "activation": "activation",
    "flatten": "flatten-order",
    "padding": "padding-same",
    "fill": "padding-same",
    "strides": "layer-hyperparameter",
    "dilation": "layer-hyperparameter",
    "kernel": "kernel-layout",
    "bias": "bias-missing",
}
PARTS = {"strides": "stride", "dilation": "stride", "kernel": "parameters", "fill": "padding"}


@dataclasses.dataclass(frozen=True)
class Seen:
    """A segment of the port, fed with the reference's values.

    Attributes:
        layer: the reference's, or why it cannot be refitted.
        name: of the layer.
        values: of the layer before, the reference's.
        before: its name; None for the images.
        ours: what the port makes of them.
        expected: what the reference does.
        bound: up to which the two agree.
        drawn: how many random numbers the port's network draws.
    """

    layer: Layer | Normalisation | str
    name: str
    values: Array
    before: str | None
    ours: Array
    expected: Array
    bound: float
    drawn: int = 0


def explained(seen: Seen) -> tuple[list[Cause], str]:
    """(the causes, "") or, where no rule reproduces the port, ([], the evidence)."""
    if isinstance(seen.layer, str):
        return [], _left(seen, seen.layer)
    if isinstance(seen.layer, Normalisation):
        return _normalised(seen, seen.layer)
    rules = refit(seen.layer, seen.values, seen.ours, seen.bound)
    if not rules or rules[0] == seen.layer.own:
        return [], _left(seen, "nothing in the catalogue reproduces it")
    rule = rules[0]
    again = compute(rule, seen.layer, seen.values)
    assert again is not None
    size = float(np.abs(seen.expected).max()) or 1.0
    same_size = seen.ours.shape == seen.expected.shape
    difference = _difference(seen.ours, seen.expected)
    after = float(np.abs(again - seen.ours).max())
    if not verified(difference if same_size else np.inf, after, seen.bound):
        return [], _left(seen, "a rule was found and did not hold")
    found = []
    for field in departures(rule, seen.layer.own):
        value, expected = getattr(rule, field), getattr(seen.layer.own, field)
        others = [r for r in rules[1:] if getattr(r, field) != value]
        reading = f"{field} {_shown(_value(others[0], field))}" if others else ""
        for part in BOTH.get(value, (value,)):
            cause = _cause(seen, seen.layer, rule, field, part, expected)
            cause = dataclasses.replace(
                cause,
                residual_before=difference / size,
                residual_after=after / size,
                reading=reading,
            )
            found.append(cause)
    return found, ""


def _normalised(seen: Seen, layer: Normalisation) -> tuple[list[Cause], str]:
    epsilon, after = None, np.inf
    if seen.ours.shape == seen.expected.shape:
        epsilon = layer.epsilon_of(seen.values, seen.ours, seen.bound)
    if epsilon is not None:
        after = float(np.abs(layer.computed(seen.values, epsilon) - seen.ours).max())
    before = _difference(seen.ours, seen.expected)
    if epsilon is None or not verified(before, after, seen.bound):
        return [], _left(seen, "no other number added to the variance reproduces it")
    size = float(np.abs(seen.expected).max()) or 1.0
    cause = Cause(
        "layer-hyperparameter",
        layer.name,
        before / size,
        after / size,
        f"fed with the reference's values, {layer.name} is reproduced by eps {epsilon:g} where the "
        f"reference has {layer.epsilon:g}",
        f"eps={layer.epsilon:g} in {layer.name}",
        part=f"model/{layer.name}",
    )
    return [cause], ""


def _cause(seen: Seen, layer: Layer, rule: Segment, field: str, value: Any, expected: Any) -> Cause:
    id_, where, fix = IDS[field], layer.name, ""
    part = f"model/{layer.name}/{PARTS.get(field, field)}"
    shown, own = _shown(value), _shown(expected)
    if field == "activation":
        where = f"{seen.before or 'the images'}, its activation"
        part = f"model/{seen.before or layer.name}/activation"
        text, only_number = compared(value, expected)
        fix = f"the activation of {seen.before} {text}"
        id_ = "layer-hyperparameter" if only_number else id_
    elif field == "kernel":
        if value in ("transposed", "reshaped"):
            id_ = "dense-layout" if layer.kind == "Dense" else "kernel-layout"
        elif value == "flipped":
            id_ = "kernel-flip"
    elif field == "strides":
        fix = f"stride={tuple(expected)} in {layer.name}"
    elif field == "dilation":
        expected = tuple(expected) or (1, 1)
        fix, own = f"dilation={expected} in {layer.name}", str(expected)
    elif field in ("padding", "fill"):
        (top, bottom), (left, right) = padded(
            layer.own, seen.values.shape[1:3], layer.kernel.shape[:2]
        )
        fix = (
            f"x = F.pad(x, ({left}, {right}, {top}, {bottom})) before {layer.name}, and padding=0 "
            "in the convolution"
        )
        shown = _shown(_value(rule, field))
    evidence = (
        f"fed with the reference's values, {layer.name} is reproduced by {field} {shown} where the "
        f"reference has {own}"
    )
    if seen.ours.shape != seen.expected.shape:
        evidence += f"; it gives {_size(seen.ours)} for the reference's {_size(seen.expected)}"
    return Cause(id_, where, evidence=evidence, fix=fix, part=part)


def _value(rule: Segment, field: str) -> Any:
    """What is shown of a part: of padding, how much and with what."""
    if field in ("padding", "fill") and rule.fill != "zeros":
        return f"{rule.padding}, {rule.fill}"
    return getattr(rule, field)


def _shown(value: Any) -> str:
    return {True: "added", False: "left out"}.get(value, str(value)) if value != () else "none"


def _size(array: Array) -> str:
    """ "15 x 15" of a feature map, else the whole shape."""
    return " x ".join(map(str, array.shape[1:3])) if array.ndim == 4 else str(array.shape)


def _left(seen: Seen, why: str) -> str:
    """The evidence, where there is no cause."""
    before = seen.before or "the images"
    lies = f"in {seen.name}, in the activation of {before} or between the two"
    if seen.before is None:
        lies = f"in {seen.name} or before it"
    text = (
        f"fed with the reference's values {most(seen.ours, seen.expected)}; {why}. It makes "
        f"{seen.ours.shape} of {seen.values.shape}, the values of {before}; the difference lies "
        f"{lies}"
    )
    if seen.drawn:
        text += (
            f". The network draws {seen.drawn} random numbers: dropout that is left on in eval()?"
        )
    return text


def differ(ours: Array, expected: Array, bound: float) -> bool:
    """Whether they do, NaN included."""
    return ours.shape != expected.shape or not float(np.abs(ours - expected).max()) <= bound


def _difference(ours: Array, expected: Array) -> float:
    """The greatest; what only one of them has counts whole."""
    if ours.ndim != expected.ndim:
        return np.inf
    size = tuple(max(pair) for pair in zip(ours.shape, expected.shape, strict=True))
    whole = [
        np.pad(array, [(0, n - own) for n, own in zip(size, array.shape, strict=True)])
        for array in (ours, expected)
    ]
    return float(np.abs(whole[0] - whole[1]).max())


def most(ours: Array, expected: Array) -> str:
    """Where they differ most, with both values, or how their shapes do."""
    if ours.shape != expected.shape:
        return f"it has shape {ours.shape}, the reference's {expected.shape}"
    difference = np.abs(ours - expected)
    index = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
    return (
        f"it differs most at {list(index)}: reference {expected[index]:.12g}, port "
        f"{ours[index]:.12g}"
    )
