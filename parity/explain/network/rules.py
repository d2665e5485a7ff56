"""Joint rules for what lies between two layers' values, computed in NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.explain.network.activations import SAME_NAME, activation, known
from parity.explain.network.normalisation import Normalisation

Array = np.ndarray

FLATTENED = {"HWC": (0, 1, 2, 3), "CHW": (0, 3, 1, 2), "WHC": (0, 2, 1, 3)}
FILLS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""What the padding consists of, and numpy's word for it."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """A joint rule for what lies between two layers' values.

    Attributes:
        activation: applied to the layer before; a name of ``activations``.
        flatten: "HWC", "CHW" or "WHC": the order in which a feature map is flattened, "" if it is
            not.
        padding: ((top, bottom), (left, right)); "same" for what TensorFlow's SAME makes of size,
            kernel, stride and dilation; "" for a dense layer.
        fill: of what the padding consists, a key of FILLS.
        strides: () for a dense layer.
        dilation: () if there is none.
        kernel: "as it is", "H and W swapped", "flipped", "swapped and flipped", "transposed",
            "reshaped".
        bias: whether it is added.
    """

    activation: str
    flatten: str = ""
    padding: tuple[Any, ...] | str = ""
    fill: str = "zeros"
    strides: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    kernel: str = "as it is"
    bias: bool = True


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of the reference with what the segment before it needs."""

    name: str
    kind: str
    kernel: Array
    bias: Array | None
    own: Segment
    flattened: tuple[int, ...] | None


def departures(rule: Segment, own: Segment) -> list[str]:
    """The parts in which two rules differ; how much is padded and with what is one part."""
    parts = [f.name for f in dataclasses.fields(Segment)]
    found = [part for part in parts if getattr(rule, part) != getattr(own, part)]
    return [part for part in found if part != "fill" or "padding" not in found]


def compute(rule: Segment, layer: Layer, values: Array) -> Array | None:
    """What ``rule`` makes of the values (B, ...) of the layer before; None if shapes do not fit."""
    return applied(rule, layer, activation(rule.activation)(values))


def applied(rule: Segment, layer: Layer, x: Array) -> Array | None:
    """What ``rule`` makes of values behind their activation; None if shapes do not fit."""
    kernel = kernel_of(layer.kernel, rule.kernel)
    if rule.flatten:
        x = x.transpose(FLATTENED[rule.flatten]).reshape(len(x), -1)
    if layer.kind == "Dense":
        if x.shape[-1] != kernel.shape[0]:
            return None
        y = x @ kernel
    else:
        if kernel.shape[2] != x.shape[3]:
            return None
        size = x.shape[1:3]
        padding = padded(rule, size, kernel.shape[:2])
        if not can_fill(rule.fill, size, padding):
            return None
        x = np.pad(x, ((0, 0), *padding, (0, 0)), mode=FILLS[rule.fill])  # type: ignore[call-overload]
        steps = rule.dilation or (1, 1)
        spans = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], steps, strict=True)]
        if any(x.shape[1 + n] < spans[n] for n in range(2)):
            return None
        windows = np.lib.stride_tricks.sliding_window_view(x, spans, axis=(1, 2))
        windows = windows[:, :: rule.strides[0], :: rule.strides[1], :, :: steps[0], :: steps[1]]
        y = np.tensordot(windows, kernel.transpose(2, 0, 1, 3), axes=3)  # (B, h, w, O)
    if rule.bias and layer.bias is not None:
        y = y + layer.bias
    return np.asarray(y)


def padded(rule: Segment, size: Sequence[int], kernel: Sequence[int]) -> tuple[Any, ...]:
    """((top, bottom), (left, right)) under the rule."""
    if isinstance(rule.padding, str):
        return tuple(map(_same, size, kernel, rule.strides, rule.dilation or (1, 1)))
    return rule.padding


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def can_fill(fill: str, size: Sequence[int], padding: Sequence[tuple[int, int]]) -> bool:
    """Whether torch pads so much in this way: no further than the image reaches."""
    if fill in ("zeros", "replicate"):
        return True
    most = [n if fill == "circular" else n - 1 for n in size]
    return all(max(sides) <= most[axis] for axis, sides in enumerate(padding))


def kernel_of(kernel: Array, how: str) -> Array:
    """The kernel as a rule has it."""
    if how == "reshaped":
        return kernel.reshape(kernel.shape[::-1]).T
    if how == "transposed":
        return np.swapaxes(kernel, -1, -2)
    if "swapped" in how.lower():
        kernel = np.swapaxes(kernel, 0, 1)
    return kernel[::-1, ::-1] if "flipped" in how else kernel


def kernels_of(layer: Layer) -> list[str]:
    """In which ways the kernel may be used otherwise, the reference's own first."""
    square = layer.kernel.shape[-1] == layer.kernel.shape[-2]
    if layer.kind == "Dense":
        return ["as it is", "reshaped", *(["transposed"] if square else [])]
    ways = ["as it is", "H and W swapped", "flipped", "swapped and flipped"]
    return [*ways, *(["transposed"] if square else [])]


def layers_of(
    facts: Sequence[Mapping[str, Any]], weights: Mapping[str, Array]
) -> list[Layer | Normalisation | str]:
    """The reference's layers as refittable ones; a string says why one is not.

    Args:
        facts: what the reference says of its layers, in order.
        weights: canonical.
    """
    found: list[Layer | Normalisation | str] = []
    before = "linear"
    for fact in facts:
        name, kind = fact["layer"], fact["kind"]
        kernel = next((weights[w] for w in fact["weights"] if w.endswith("kernel")), None)
        bias = next((weights[w] for w in fact["weights"] if w.endswith("bias")), None)
        unknown = [] if known(before) else [f"activation {before}"]
        unknown += fact["before"]
        if kind not in ("Conv2D", "Dense"):
            unknown.append(kind)
        if unknown or kernel is None:
            found.append(f"{', '.join(unknown) or kind} cannot be refitted")
        else:
            own = Segment(before, flatten="HWC" if fact["flattened"] else "")
            if kind == "Conv2D":
                dilation = tuple(fact["dilation"])
                own = dataclasses.replace(
                    own,
                    padding="same" if fact["padding"] == "same" else ((0, 0), (0, 0)),
                    strides=tuple(fact["strides"]),
                    dilation=() if set(dilation) <= {1} else dilation,
                )
            flattened = None if fact["flattened"] is None else tuple(fact["flattened"])
            wide = kernel.astype(np.float64)
            wide_bias = None if bias is None else bias.astype(np.float64)
            found.append(Layer(name, kind, wide, wide_bias, own, flattened))
        if normalisation := Normalisation.of(fact, before, weights):
            found[-1] = normalisation
        before = SAME_NAME.get(fact["activation"], fact["activation"])
    return found
