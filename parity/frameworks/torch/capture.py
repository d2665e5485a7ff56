"""What each layer with weights computes, and its gradients, seen from outside the model.

An *anchor* is an operation that consumes a parameter and something that is none, recognised by the
parameter's storage. Module hooks would miss layers that are called in their functional form, and an
in-place activation would overwrite what a hook captured; here outputs are cloned at once, and
modules only supply names. The output of a layer's last anchor is its value before the activation,
whether or not a module fuses the two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from parity.frameworks.torch.modes import Mode
from parity.values.randomness import host_generators_seeded


class Anchors:
    """Numbers the anchors of one evaluation.

    What is made of parameters alone (a transposed copy, a normalised weight) counts as the
    parameter that it is made of.

    Args:
        layers: parameter -> the name of the layer it belongs to.

    Attributes:
        counts: how many anchors each layer has; one that runs again is "conv1#2".
    """

    def __init__(self, layers: Mapping[Tensor, str]) -> None:
        self.counts: dict[str, int] = {}
        self._layers = {storage(parameter): layer for parameter, layer in layers.items()}
        self._derived: list[Tensor] = []  # kept, so that no other tensor gets their storages
        self._consumed: dict[str, set[int]] = {}
        self._calls: dict[str, int] = {}
        self._last: str | None = None

    def of(self, arguments: Any, result: Any) -> list[str]:
        """The layers of which an operation is an anchor."""
        result = output_of(result)
        if not isinstance(result, Tensor) or storage(result) in self._layers:
            return []
        given = [storage(leaf) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        found = {s: self._layers[s] for s in given if s in self._layers}
        if found and len(found) == len(set(given)):
            self._layers[storage(result)] = next(iter(found.values()))
            self._derived.append(result)
            return []
        names = list(dict.fromkeys(self._record(layer, s) for s, layer in found.items()))
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1
        return names

    def made_of(self, tensor: Tensor) -> str | None:
        """The layer of whose parameters alone a tensor is made, if it is."""
        return self._layers.get(storage(tensor))

    def _record(self, layer: str, parameter: int) -> str:
        consumed = self._consumed.setdefault(layer, set())
        if layer not in self._calls or layer != self._last or parameter in consumed:
            consumed.clear()  # the layer runs, or runs again
            self._calls[layer] = self._calls.get(layer, 0) + 1
        consumed.add(parameter)
        self._last = layer
        number = self._calls[layer]
        return layer if number == 1 else f"{layer}#{number}"


class Capture(Mode):
    """Records ``layer -> output`` while active.

    Args:
        layers: parameter -> the name of the layer it belongs to.
        substitute: layer -> what goes downstream instead of the layer's own output, whatever the
            shape of that; ``outputs`` are still the layer's own.
        anchors: of a run before, needed to know which anchor of a layer is its last.

    Attributes:
        outputs: "conv1" -> Tensor, in order of execution; a layer that runs again is "conv1#2".
        anchors: how many anchors each layer has.
    """

    def __init__(
        self,
        layers: Mapping[Tensor, str],
        substitute: Mapping[str, Tensor] | None = None,
        anchors: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs: dict[str, Tensor] = {}
        self._anchors = Anchors(layers)
        self._substitute = substitute or {}
        self._last_anchor = anchors or {}

    @property
    def anchors(self) -> dict[str, int]:
        return self._anchors.counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for name in self._anchors.of((args, kwargs), result):
            self.outputs[name] = output_of(result).detach().clone()
            if name in self._substitute and self.anchors[name] == self._last_anchor.get(name):
                result = with_output(result, self._substitute[name].clone())
        return result


def in_order_of_use(
    model: torch.nn.Module, parameters: Mapping[str, Tensor], images: Tensor
) -> list[str]:
    """Names of the parameters in the order in which an evaluation of the model first uses them.

    Without those that it does not use, or only after it raised. What the evaluation draws, in
    whichever framework, is drawn from nobody's generator.
    """
    training = [module.training for module in model.modules()]
    capture = Capture({tensor: name for name, tensor in parameters.items()})
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(host_generators_seeded(0))
        stack.enter_context(torch.no_grad())
        stack.callback(_set_training, model, training)
        model.eval()
        with contextlib.suppress(Exception), capture:
            model(images)
    return [name for name in capture.anchors if name in parameters]


def _set_training(model: torch.nn.Module, training: list[bool]) -> None:
    for module, was in zip(model.modules(), training, strict=True):
        module.training = was


class Leaves(TorchFunctionMode):
    """Cuts the graph at every layer: downstream of a layer goes a leaf that holds given values.

    Above autograd, where :class:`Capture` is below it, so that gradients of the parts between the
    layers can be taken.

    Args:
        layers: parameter -> the name of the layer it belongs to.
        values: layer -> the values of its leaf.
        anchors: of a run before, needed to know which anchor of a layer is its last.

    Attributes:
        outputs: layer -> its own output, with the graph that leads to it from leaves.
        leaves: layer -> its leaf.
        anchors: how many anchors each layer has.
    """

    def __init__(
        self,
        layers: Mapping[Tensor, str],
        values: Mapping[str, Tensor],
        anchors: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.outputs: dict[str, Tensor] = {}
        self.leaves: dict[str, Tensor] = {}
        self._anchors = Anchors(layers)
        self._values, self._last_anchor = values, anchors

    @property
    def anchors(self) -> dict[str, int]:
        return self._anchors.counts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for name in self._anchors.of((args, kwargs), result):
            if name in self._values and self.anchors[name] == self._last_anchor.get(name):
                self.outputs[name] = output_of(result)
                self.leaves[name] = self._values[name].clone().requires_grad_()
                # A copy, so that it can be changed in place.
                result = with_output(result, self.leaves[name].clone())
        return result


def output_of(result: Any) -> Any:
    """What a layer hands on: normalisations also return their statistics, after it."""
    return result[0] if isinstance(result, tuple) and result else result


def with_output(result: Any, output: Tensor) -> Any:
    """``result`` with something else to hand on."""
    return (output, *result[1:]) if isinstance(result, tuple) else output


def storage(tensor: Tensor) -> int:
    """Names the memory of a tensor, or of the one that a transform of ``torch.func`` wraps."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return int(tensor.untyped_storage()._cdata)
