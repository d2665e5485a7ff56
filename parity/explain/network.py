"""Which layer of a port computes otherwise, and which rule reproduces it.

A *segment* runs from one layer's values before its activation to the next one's, so the activation,
any padding, reshapes and the layer itself belong to it. Each layer of the port is fed with the
reference's values of the layer before, so that each segment shows its own error only. For a wrong
one every joint rule (activation, order of flattening, padding, kernel, bias, stride) with few
departures from the reference's is computed in NumPy on the reference's values, until one equals the
port.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from scipy import special

from parity.cases import Case
from parity.comparison import FLOAT64_FLOORS, SINGLE_RATIO
from parity.explain.causes import Cause, Unexplained, verified
from parity.traces import Trace

Array = np.ndarray
MOST_DEPARTURES = 4

_ROOT_OF_HALF = float(np.sqrt(np.float32(0.5)))


def _leaky(slope: float) -> Callable[[Array], Array]:
    return lambda x: np.where(x > 0, x, slope * x)


def _tanh_gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "swish": lambda x: x * special.expit(x),
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * special.erfc(-x * _ROOT_OF_HALF),
    "gelu, torch's constant": lambda x: 0.5 * x * special.erfc(-x * np.sqrt(0.5)),
    "gelu, tanh approximation": _tanh_gelu,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
    "leaky_relu": _leaky(float(np.float32(0.2))),
    "leaky_relu, slope 0.2": _leaky(0.2),
    "leaky_relu, slope 0.01": _leaky(0.01),
    "leaky_relu, slope 0.1": _leaky(0.1),
    "leaky_relu, slope 0.3": _leaky(0.3),
    "softplus": lambda x: np.logaddexp(x, 0),
    "softplus, threshold 20": lambda x: np.where(x > 20, x, np.logaddexp(x, 0)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "relu6": lambda x: np.clip(x, 0, 6),
    "swish twice": lambda x: (y := x * special.expit(x)) * special.expit(y),
    "sine": np.sin,
}
SAME_NAME = {"silu": "swish"}
BOTH: Mapping[Any, tuple[str, ...]] = {"swapped and flipped": ("H and W swapped", "flipped")}


@dataclasses.dataclass(frozen=True)
class Segment:
    """A joint rule for what lies between two layers' values.

    Attributes:
        activation: applied to the layer before; a key of ACTIVATIONS.
        flatten: "HWC", "CHW" or "WHC": the order in which a feature map is flattened, "" if it is
            not.
        padding: ((top, bottom), (left, right)) zeros; "same" for what TensorFlow's SAME makes of
            size, kernel and stride; "" for a dense layer.
        strides: () for a dense layer.
        kernel: "as it is", "H and W swapped", "flipped", "swapped and flipped", "transposed".
        bias: whether it is added.
    """

    activation: str
    flatten: str = ""
    padding: tuple[Any, ...] | str = ""
    strides: tuple[int, ...] = ()
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


def compute(rule: Segment, layer: Layer, values: Array) -> Array | None:
    """What ``rule`` makes of the values (B, ...) of the layer before; None if shapes do not fit."""
    x = ACTIVATIONS[rule.activation](values)
    kernel = _kernel(layer.kernel, rule.kernel)
    if rule.flatten:
        order = {"HWC": (0, 1, 2, 3), "CHW": (0, 3, 1, 2), "WHC": (0, 2, 1, 3)}[rule.flatten]
        x = x.transpose(order).reshape(len(x), -1)
    if layer.kind == "Dense":
        if x.shape[-1] != kernel.shape[0]:
            return None
        y = x @ kernel
    else:
        if kernel.shape[2] != x.shape[3]:
            return None
        padding = zeros(rule, x.shape[1:3], kernel.shape[:2])
        padded = np.pad(x, ((0, 0), *padding, (0, 0)))
        if any(padded.shape[1 + n] < kernel.shape[n] for n in range(2)):
            return None
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))
        windows = windows[:, :: rule.strides[0], :: rule.strides[1]]  # (B, h, w, C, kh, kw)
        y = np.einsum("bhwcij,ijco->bhwo", windows, kernel, optimize=True)
    if rule.bias and layer.bias is not None:
        y = y + layer.bias
    return np.asarray(y)


def zeros(rule: Segment, size: Sequence[int], kernel: Sequence[int]) -> tuple[Any, ...]:
    """((top, bottom), (left, right)) under the rule."""
    if isinstance(rule.padding, str):
        return tuple(map(_same, size, kernel, rule.strides))
    return rule.padding


def _kernel(kernel: Array, how: str) -> Array:
    if how == "reshaped":
        return kernel.reshape(kernel.shape[::-1]).T
    if how == "transposed":
        return np.swapaxes(kernel, -1, -2)
    if "swapped" in how.lower():
        kernel = np.swapaxes(kernel, 0, 1)
    return kernel[::-1, ::-1] if "flipped" in how else kernel


def options(layer: Layer, size: tuple[int, ...]) -> dict[str, list[Any]]:
    """The alternatives to each part of the reference's rule; ``size`` is (H, W) of the input."""
    found: dict[str, list[Any]] = {"activation": list(ACTIVATIONS)}
    if layer.own.flatten:
        found["flatten"] = ["HWC", "CHW", "WHC"]
    if layer.bias is not None and np.any(layer.bias):
        found["bias"] = [True, False]
    if layer.kind == "Dense":
        found["kernel"] = ["as it is", "reshaped"]
        if layer.kernel.shape[0] == layer.kernel.shape[1]:
            found["kernel"].append("transposed")
        return found
    found["kernel"] = ["as it is", "H and W swapped", "flipped", "swapped and flipped"]
    if layer.kernel.shape[2] == layer.kernel.shape[3]:
        found["kernel"].append("transposed")
    found["strides"] = [(n, n) for n in (1, 2, 3)]
    if layer.own.strides not in found["strides"]:
        found["strides"].append(layer.own.strides)
        found["strides"].append(layer.own.strides[::-1])
    own = zeros(layer.own, size, layer.kernel.shape[:2])
    (top, bottom), (left, right) = own
    paddings: list[Any] = [((n, n), (n, n)) for n in range(max(layer.kernel.shape[:2]) + 1)]
    paddings.append(((bottom, top), (right, left)))
    kh, kw = layer.kernel.shape[:2]
    paddings.append(((kh // 2, kh // 2), (kw // 2, kw // 2)))
    paddings.append((((kh - 1) // 2, (kh - 1) // 2), ((kw - 1) // 2, (kw - 1) // 2)))
    found["padding"] = [layer.own.padding, *(p for p in dict.fromkeys(paddings) if p != own)]
    return found


def refit(layer: Layer, values: Array, ours: Array, bound: float) -> list[Segment]:
    """The rules with the fewest departures from the reference's that equal ``ours``."""
    choices = options(layer, values.shape[1:3])
    for count in range(min(MOST_DEPARTURES, len(choices)) + 1):
        rules = _near(layer.own, choices, count)
        on_one = [rule for rule in rules if _fits(rule, layer, values[:1], ours[:1], bound)]
        if found := [rule for rule in on_one if _fits(rule, layer, values, ours, bound)]:
            return found
    return []


def _fits(rule: Segment, layer: Layer, values: Array, ours: Array, bound: float) -> bool:
    y = compute(rule, layer, values)
    return y is not None and not _differ(ours, y, bound)


def _near(own: Segment, choices: Mapping[str, Sequence[Any]], count: int) -> Iterator[Segment]:
    for names in itertools.combinations(choices, count):
        others = [[o for o in choices[name] if o != getattr(own, name)] for name in names]
        for chosen in itertools.product(*others):
            yield dataclasses.replace(own, **dict(zip(names, chosen, strict=True)))


def layers_of(
    facts: Sequence[Mapping[str, Any]], weights: Mapping[str, Array]
) -> list[Layer | str]:
    """The reference's layers as refittable ones; a string says why one is not.

    Args:
        facts: what the reference says of its layers, in order.
        weights: canonical.
    """
    found: list[Layer | str] = []
    activation = "linear"
    for fact in facts:
        name, kind = fact["layer"], fact["kind"]
        kernel = next((weights[w] for w in fact["weights"] if w.endswith("kernel")), None)
        bias = next((weights[w] for w in fact["weights"] if w.endswith("bias")), None)
        unknown = [] if activation in ACTIVATIONS else [f"activation {activation}"]
        unknown += fact["before"]
        if kind not in ("Conv2D", "Dense") or any(n != 1 for n in fact["dilation"]):
            unknown.append(kind)
        if unknown or kernel is None:
            found.append(f"{', '.join(unknown) or kind} cannot be refitted")
        else:
            own = Segment(activation, flatten="HWC" if fact["flattened"] else "")
            if kind == "Conv2D":
                strides = tuple(fact["strides"])
                padding = "same" if fact["padding"] == "same" else ((0, 0), (0, 0))
                own = dataclasses.replace(own, padding=padding, strides=strides)
            flattened = None if fact["flattened"] is None else tuple(fact["flattened"])
            wide = kernel.astype(np.float64)
            wide_bias = None if bias is None else bias.astype(np.float64)
            found.append(Layer(name, kind, wide, wide_bias, own, flattened))
        activation = SAME_NAME.get(fact["activation"], fact["activation"])
    return found


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def explain_network(
    facts: Sequence[Mapping[str, Any]],
    case: Case,
    reference: Trace,
    segments: Trace,
    backward: Trace,
    gradients: Trace | None,
    *,
    in_float32: bool = False,
) -> tuple[list[Cause], list[Unexplained]]:
    """What each segment of the port does otherwise, forward and backward.

    Args:
        facts: the reference's layers.
        case: of the network.
        reference: its trace with activations and floors.
        segments: the port's answer to ``segments``.
        backward: the reference's cotangents, with floors.
        gradients: the port's answer to ``segment_gradients``; None if it has none.
        in_float32: the port does not compute in float64, so that rules need only hold to float32's
            floor.
    """
    truth, floors = reference.arrays["float64"], reference.floors["float64"]
    missing, ambiguous = set(segments.notes["missing"]), segments.notes["ambiguous"]
    layer_missing = any(not weight.endswith("bias") for weight in missing)
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    if ambiguous and not layer_missing:
        evidence = (
            f"the port lacks parameters for some of {', '.join(ambiguous)}, and shapes do not say "
            "which: declare TorchSide(weights={'port.name': 'reference/name', ...})"
        )
        unexplained.append(Unexplained("model", evidence, "model"))
    if segments.notes["extra"]:
        evidence = (
            f"the port has parameters that hold nothing of the reference's: "
            f"{', '.join(segments.notes['extra'])}"
        )
        if not missing and not ambiguous:
            unexplained.append(Unexplained("model", evidence, "model"))
    values: Array = case.images.astype(np.float64)
    before: str | None = None
    lost = gap = False
    wrong = set()
    for fact, layer in zip(facts, layers_of(facts, case.weights), strict=True):
        name = f"activations/{fact['layer']}"
        expected, ours = truth[name], segments.array("float64", name)
        bound = FLOAT64_FLOORS * float(np.max(floors[name]))
        if in_float32:
            bound = max(bound, SINGLE_RATIO * float(np.max(reference.floors["float32"][name])))
        kernels = [w for w in fact["weights"] if not w.endswith("bias")]
        before_lost, lost = lost, True
        if missing.intersection(kernels):
            if not gap:
                causes.append(_missing(fact, case, missing))
            gap = True
        elif set(kernels).intersection(ambiguous):
            gap = False
        elif ours is None and segments.notes["raised"]:
            evidence = f"fed with the reference's values, it raises {segments.notes['raised']}"
            where = f"after {before or 'the images'}"
            unexplained.append(Unexplained(where, evidence, "model/raised"))
            return causes, unexplained  # what was learnt before stands
        elif ours is None:
            evidence = f"the port never runs {fact['layer']}, or not after what it lies behind"
            part = f"model/{fact['layer']}"
            causes.append(Cause("layer-missing", fact["layer"], evidence=evidence, part=part))
            gap = False
        else:
            gap = lost = False
            if not before_lost and _differ(ours, expected, bound):
                found, text = _explained(layer, values, ours, expected, bound, before)
                if set(fact["weights"]).intersection(ambiguous):  # one that may never be loaded
                    found = [cause for cause in found if cause.id != "bias-missing"]
                causes += found
                lacking = ", ".join(w for w in fact["weights"] if w in missing)
                # Around a missing layer it is not known for sure which weight is which.
                unsure = layer_missing and missing.union(ambiguous).intersection(fact["weights"])
                if not found and lacking and not unsure:
                    evidence = f"the port has no parameter for {lacking}"
                    part = f"model/{fact['layer']}/bias"
                    causes.append(
                        Cause("bias-missing", fact["layer"], evidence=evidence, part=part)
                    )
                if not found and not unsure:
                    unexplained.append(Unexplained(fact["layer"], text, f"model/{fact['layer']}"))
        if lost or ours is None or _differ(ours, expected, bound):
            wrong.add(fact["layer"])
        values, before = expected, fact["layer"]
    if not lost or before in {n.removeprefix("activations/") for n in segments.arrays["float64"]}:
        found, left = _after_the_last(facts[-1], truth, reference, segments, in_float32)
        causes += found
        unexplained += left
        wrong |= {"energies"} if found or left else set()
    if gradients is not None:
        order = [fact["layer"] for fact in facts]
        found, left = _backward(order, wrong, backward, gradients)
        causes += found
        unexplained += left
    return causes, unexplained


def _differ(ours: Array, expected: Array, bound: float) -> bool:
    """Whether they do, NaN included."""
    return ours.shape != expected.shape or not float(np.abs(ours - expected).max()) <= bound


def _missing(fact: Mapping[str, Any], case: Case, missing: Set[str]) -> Cause:
    names = [name for name in case.weights if name in missing]
    shapes = ", ".join(f"{name} {case.weights[name].shape}" for name in names)
    evidence = f"nothing in the port can hold {shapes}"
    layer = fact["layer"]
    return Cause("layer-missing", layer, evidence=evidence, part=f"model/{layer}")


def _backward(
    order: Sequence[str], wrong: Set[str], backward: Trace, gradients: Trace
) -> tuple[list[Cause], list[Unexplained]]:
    """Segments that compute the reference's values and other gradients.

    Args:
        order: the layers' names.
        wrong: layers, or "energies", whose own values are not the reference's; what comes back
            through the segments before them differs for that reason, but never not at all.
    """
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    for start, end in itertools.pairwise(["images", *order, "energies"]):
        name = f"cotangents/{start}"
        expected, ours = backward.arrays["float64"].get(name), gradients.array("float64", name)
        there = {start, end} <= {*gradients.notes.get("leaves", ()), "energies"}
        if expected is None or (end in wrong and (ours is not None or not there)):
            continue
        bound = FLOAT64_FLOORS * float(np.max(backward.floors["float64"][name]))
        where = f"from {'the images' if start == 'images' else start} to {end}"
        part = f"model/{end}/gradient"
        if not np.abs(expected).max() > bound:
            continue
        if ours is None or not np.any(ours):
            whose = "other values" if end in wrong else "the reference's values"
            evidence = f"{end} has {whose}, and no gradient comes back through it"
            fix = f"no .detach(), .data, .item() or torch.no_grad() {where}"
            cause = Cause("gradient-not-tracked", where, 1.0, 0.0, evidence, fix, part=part)
            causes.append(cause)
        elif _differ(ours, expected, bound):
            evidence = f"{end} has the reference's values, and another gradient comes back"
            evidence += (
                f": {_evidence(ours, expected)[len('fed with ') :]}{_multiple(ours, expected)}"
            )
            unexplained.append(Unexplained(where, evidence, part))
    return causes, unexplained


def _multiple(ours: Array, expected: Array) -> str:
    """In words, if one is a multiple of the other."""
    if ours.shape != expected.shape:
        return ""
    factor = float(np.vdot(expected, ours) / np.vdot(expected, expected))
    close = np.abs(ours - factor * expected).max() <= 1e-12 * np.abs(ours).max()
    return f"; it is {factor:.6g} times the reference's" if close else ""


def _explained(
    layer: Layer | str,
    values: Array,
    ours: Array,
    expected: Array,
    bound: float,
    before: str | None,
) -> tuple[list[Cause], str]:
    evidence = _evidence(ours, expected)
    if isinstance(layer, str):
        return [], f"{evidence}; {layer}"
    rules = refit(layer, values, ours, bound)
    if not rules or rules[0] == layer.own:
        return [], f"{evidence}; nothing in the catalogue reproduces it"
    rule = rules[0]
    again = compute(rule, layer, values)
    assert again is not None
    size = float(np.abs(expected).max()) or 1.0
    difference = np.inf if ours.shape != expected.shape else float(np.abs(ours - expected).max())
    after = float(np.abs(again - ours).max())
    if not verified(difference, after, bound):
        return [], f"{evidence}; a rule was found and did not hold"
    relative = None if np.isinf(difference) else difference / size
    causes = []
    for field in dataclasses.fields(Segment):
        value, expected_value = getattr(rule, field.name), getattr(layer.own, field.name)
        if value != expected_value:
            other = next(
                (getattr(r, field.name) for r in rules[1:] if getattr(r, field.name) != value), None
            )
            for part in BOTH.get(value, (value,)):
                cause = _cause(
                    field.name, part, expected_value, layer, before, relative, after / size
                )
                if field.name == "padding":
                    cause = _padding_fix(cause, layer, values)
                reading = "" if other is None else f"{field.name} {other}"
                causes.append(dataclasses.replace(cause, reading=reading))
    return causes, ""


def _cause(
    field: str,
    value: Any,
    expected: Any,
    layer: Layer,
    before: str | None,
    residual_before: float | None,
    residual_after: float,
) -> Cause:
    ids = {
        "activation": "activation",
        "flatten": "flatten-order",
        "padding": "padding-same",
        "strides": "layer-hyperparameter",
        "kernel": "kernel-layout",
        "bias": "bias-missing",
    }
    parts = {"strides": "stride", "kernel": "parameters"}
    id_, where, fix = ids[field], layer.name, ""
    part = f"model/{layer.name}/{parts.get(field, field)}"
    if field == "activation":
        where = f"{before or 'the images'}, its activation"
        part = f"model/{before or layer.name}/activation"
        fix = f"the activation of {before} is {expected}, not {value}"
        if value.partition(",")[0] == expected.partition(",")[0]:
            id_ = "layer-hyperparameter"
    elif field == "kernel":
        if value in ("transposed", "reshaped"):
            id_ = "dense-layout" if layer.kind == "Dense" else "kernel-layout"
        elif value == "flipped":
            id_ = "kernel-flip"
    elif field == "strides":
        fix = f"stride={tuple(expected)} in {layer.name}"
    evidence = (
        f"fed with the reference's values, {layer.name} is reproduced by {field} {_shown(value)} "
        f"where the reference has {_shown(expected)}"
    )
    return Cause(id_, where, residual_before, residual_after, evidence, fix, part=part)


def _padding_fix(cause: Cause, layer: Layer, values: Array) -> Cause:
    (top, bottom), (left, right) = zeros(layer.own, values.shape[1:3], layer.kernel.shape[:2])
    fix = (
        f"x = F.pad(x, ({left}, {right}, {top}, {bottom})) before {layer.name}, and padding=0 in "
        "the convolution"
    )
    return dataclasses.replace(cause, fix=fix)


def _shown(value: Any) -> str:
    return {True: "added", False: "left out"}.get(value, str(value)) if value != () else "none"


def _evidence(ours: Array, expected: Array) -> str:
    return f"fed with the reference's values {_most(ours, expected)}"


def _most(ours: Array, expected: Array) -> str:
    if ours.shape != expected.shape:
        return f"it has shape {ours.shape}, the reference's {expected.shape}"
    difference = np.abs(ours - expected)
    index = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
    return (
        f"it differs most at {list(index)}: reference {expected[index]:.12g}, port "
        f"{ours[index]:.12g}"
    )


def _after_the_last(
    fact: Mapping[str, Any],
    truth: Mapping[str, Array],
    reference: Trace,
    segments: Trace,
    in_float32: bool,
) -> tuple[list[Cause], list[Unexplained]]:
    """From the last layer's values, which are the reference's, to the energies."""
    energies, ours = truth["energies"], segments.array("float64", "energies")
    bound = FLOAT64_FLOORS * float(np.max(reference.floors["float64"]["energies"]))
    if in_float32:
        bound = max(bound, SINGLE_RATIO * float(np.max(reference.floors["float32"]["energies"])))
    if ours is None:
        raised = segments.notes["raised"] or "it returns nothing"
        return [], [Unexplained("model", f"after {fact['layer']}: {raised}", "model/raised")]
    if not _differ(ours, energies, bound):
        return [], []
    evidence = f"{_evidence(ours, energies)}; nothing reproduces it"
    left = [Unexplained("the energies", evidence, "model/energies")]
    if ours.shape != energies.shape:
        return [], left
    before = float(np.abs(ours - energies).max())
    size = float(np.abs(energies).max()) or 1.0
    after = float(np.abs(ours + energies).max())
    if verified(before, after, bound):
        evidence = "fed with the reference's values, the port returns the negative of its energies"
        cause = Cause(
            "energy-sign",
            "the score",
            before / size,
            after / size,
            evidence,
            part="model/energies",
        )
        return [cause], []
    values = truth[f"activations/{fact['layer']}"].reshape(len(energies), -1)
    if values.shape[1] != 1:
        return [], left
    for name, function in ACTIVATIONS.items():
        after = float(np.abs(function(values[:, 0]) - ours).max())
        if name != fact["activation"] and verified(before, after, bound):
            cause = Cause(
                "activation",
                f"{fact['layer']}, its activation",
                before / size,
                after / size,
                f"the energies are {name} of the score",
                f"the activation of {fact['layer']} is {fact['activation']}, not {name}",
                part=f"model/{fact['layer']}/activation",
            )
            return [cause], []
    return [], left
