"""What a layer may have become in a port: its configuration otherwise, and ways to be called.

No layer is named here. What a layer was built with says what could be otherwise: a number may be
one that the port's own operations have there, a word another of the same vocabulary. The
reference's framework computes what the layer would give then
(``parity.frameworks.tensorflow.departures``), and it is looked up among what the port computes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parity.explain.catalogue import CATALOGUE
from parity.values.table import Called, Operation

WORDS: Mapping[str, tuple[str, ...]] = {
    "activation": (
        "linear",
        "relu",
        "gelu",
        "elu",
        "selu",
        "silu",
        "sigmoid",
        "tanh",
        "softplus",
        "softsign",
        "leaky_relu",
        "relu6",
        "mish",
        "hard_sigmoid",
        "hard_silu",
        "exponential",
        "softmax",
        "log_softmax",
    ),
    "padding": ("same", "valid"),
    "interpolation": ("nearest", "bilinear", "bicubic"),
    "merge_mode": ("sum", "mul", "concat", "ave"),
}
"""Vocabularies, by the key of a layer's configuration."""

SIBLINGS = (("Max", "Average"), ("Average", "Max"), ("LSTM", "GRU"), ("GRU", "LSTM"))
"""In the names of layers that are built alike."""

IDS = {"activation": "activation", "padding": "padding-same", "use_bias": "bias-missing"}
"""The fault, by the key; ``layer-hyperparameter`` for all others."""

NAMES = {
    "epsilon": "eps",
    "strides": "stride",
    "dilation_rate": "dilation",
    "pool_size": "kernel_size",
}
"""What torch calls what Keras calls so."""

NOT_COMPUTED = ("name", "trainable", "filters", "units", "kernel_size", "seed", "momentum")
"""Keys that make another layer of it, or decide nothing in a forward pass."""

AXES = range(-4, 4)


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """What the layer may have become.

    Attributes:
        departure: for the reference's framework.
        id: of the catalogue.
        port, reference: how each has it, in words.
        fix: one line; the catalogue's if empty.
        line: of the port, that has what it is read off.
    """

    departure: Mapping[str, Any]
    id: str
    port: str
    reference: str
    fix: str = ""
    line: str = ""


def hypotheses(
    call: Called, weights: Sequence[Mapping[str, Any]], operations: Sequence[Operation]
) -> Iterator[Hypothesis]:
    """Those of one layer, the likeliest first.

    Args:
        weights: the layer's own, in order: ``role`` and ``shape`` of each.
        operations: the port's, from where it has what the layer is given.
    """
    yield from _numbers(call.config, operations)
    yield from _words(call, weights)
    for one, other in SIBLINGS:
        if one in call.kind:
            kind = call.kind.replace(one, other)
            yield Hypothesis({"class": kind}, "layer-kind", kind, call.kind, f"use {call.kind}")
    yield from _pads(call.config, operations)
    yield from _axes(call.config)
    for number, weight in enumerate(weights):
        yield from _weights(number, str(weight["role"]), weight["shape"])
    yield Hypothesis({"times": 2}, "layer-hyperparameter", "it applied twice", "it once")


def _weights(number: int, role: str, shape: Sequence[int]) -> Iterator[Hypothesis]:
    """A weight in another order where its shape allows it, or left out."""
    as_it_is = f"{role} as it is"
    if len(shape) == 2 and shape[0] == shape[1]:
        yield Hypothesis(
            {"permuted": [number, [1, 0]]}, "dense-layout", f"{role} transposed", as_it_is
        )
    if len(shape) == 4:
        if shape[0] == shape[1]:
            yield Hypothesis(
                {"permuted": [number, [1, 0, 2, 3]]},
                "kernel-layout",
                f"height and width of {role} exchanged",
                as_it_is,
            )
        yield Hypothesis(
            {"flipped": [number, [0, 1]]}, "kernel-flip", f"{role} turned round", as_it_is
        )
    if len(shape) == 1 and role in ("bias", "beta"):
        yield Hypothesis({"without": number}, "bias-missing", f"no {role}", "one")


def _numbers(config: Mapping[str, Any], operations: Sequence[Operation]) -> Iterator[Hypothesis]:
    """Every number of the configuration as one that the port has there."""
    seen = [(v, o.line) for o in operations for v in o.arguments.values()]
    floats = [(v, line) for v, line in seen if isinstance(v, float)]
    ints = [(v, line) for v, line in seen if isinstance(v, int) and not isinstance(v, bool)]
    lists = [(v, line) for v, line in seen if isinstance(v, list) and v]
    for key, own in config.items():
        if key in NOT_COMPUTED or key == "axis":
            continue
        others: Sequence[tuple[Any, str]] = ()
        if isinstance(own, float):
            others = [*floats, *((float(v), line) for v, line in ints)]
        elif isinstance(own, int) and not isinstance(own, bool):
            others = [*ints, *((v[0], line) for v, line in lists if len(set(v)) == 1)]
        elif isinstance(own, list) and own and all(type(v) is int for v in own):
            n = len(own)
            others = [(v if len(v) == n else v * n, line) for v, line in lists if len(v) in (1, n)]
        for other, line in _unlike(own, others):
            yield dataclasses.replace(_otherwise(key, own, other), line=line)


def _unlike(own: Any, others: Sequence[tuple[Any, str]]) -> list[tuple[Any, str]]:
    found: list[tuple[Any, str]] = []
    for other, line in others:
        if other != own and not any(other == known for known, _ in found):
            found.append((other, line))
    return found


def _otherwise(key: str, own: Any, other: Any) -> Hypothesis:
    def said(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)

    fix = f"{NAMES.get(key, key)}={said(own)}, not {said(other)}"
    if key == "axis":  # the port's may come in another order
        fix = f"over axis {own} of the reference's order of axes"
    elif key in IDS:  # the catalogue has it in torch's words
        fix = f"as {key} {said(own)} has it: {CATALOGUE[IDS[key]].fix}"
    return Hypothesis(
        {"config": {key: other}},
        IDS.get(key, "layer-hyperparameter"),
        f"{key} {said(other)}",
        said(own),
        fix,
    )


def _words(call: Called, weights: Sequence[Mapping[str, Any]]) -> Iterator[Hypothesis]:
    for key, own in call.config.items():
        if isinstance(own, bool) and key not in NOT_COMPUTED:
            yield _otherwise(key, own, not own)
        elif isinstance(own, str):
            for other in WORDS.get(key, ()):
                if other != own:
                    yield _otherwise(key, own, other)
    if not weights:
        for name in WORDS["activation"]:
            yield Hypothesis({"as": name}, "activation", name, call.kind)


def _pads(config: Mapping[str, Any], operations: Sequence[Operation]) -> Iterator[Hypothesis]:
    """Zeros around what the layer is given, as many as an operation of the port's adds."""
    own = config.get("padding")
    if not isinstance(own, str):
        return
    found: list[list[list[int]]] = []
    lines: list[str] = []
    for operation in operations:
        pads: list[list[int]] = []
        for name, value in operation.arguments.items():
            if name == "pad" and isinstance(value, list):  # of the last axis first
                pads = [[int(a), int(b)] for a, b in zip(value[::2], value[1::2], strict=False)][
                    ::-1
                ]
            elif name == "padding" and isinstance(value, list):
                pads = [[int(a), int(a)] for a in value]
        if pads and any(map(any, pads)) and pads not in found and min(map(min, pads)) >= 0:
            found.append(pads)
            lines.append(operation.line)
    for pads, line in zip(found, lines, strict=True):
        shown = ", ".join(f"{before} before and {after} behind" for before, after in pads)
        yield Hypothesis(
            {"pad": pads, "config": {"padding": "valid"}},
            "padding-same",
            f"padding of {shown}",
            f"'{own}'",
            line=line,
        )


def _axes(config: Mapping[str, Any]) -> Iterator[Hypothesis]:
    if isinstance(own := config.get("axis"), int):
        for axis in AXES:
            if axis != own:
                yield _otherwise("axis", own, axis)
    if config.get("activation") in ("softmax", "log_softmax"):
        for axis in AXES:
            yield Hypothesis(
                {"config": {"activation": "linear"}, "then": [config["activation"], axis]},
                "layer-hyperparameter",
                f"{config['activation']} over axis {axis}",
                "over the last",
                f"{config['activation']} over the axis of the classes",
            )
