"""What each layer with weights computes, seen by the dispatcher.

An *anchor* is an operation that consumes a parameter, recognised by the parameter's storage. Module
hooks would miss layers that are called in their functional form, and an in-place activation would
overwrite what a hook captured; here outputs are cloned at once, and modules only supply names. The
output of a layer's last anchor is its value before the activation, whether or not a module fuses
the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Capture(TorchDispatchMode):
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
        self.anchors: dict[str, int] = {}
        self._substitute = substitute or {}
        self._last_anchor = anchors or {}
        self._layers = {_storage(parameter): layer for parameter, layer in layers.items()}
        self._consumed: dict[str, set[int]] = {}
        self._calls: dict[str, int] = {}
        self._last: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        found = {
            _storage(t): self._layers[_storage(t)] for t in tensors if _storage(t) in self._layers
        }
        if found and isinstance(result, Tensor) and _storage(result) not in self._layers:
            for storage, layer in found.items():
                name = self._record(layer, storage, result)
                self.anchors[name] = self.anchors.get(name, 0) + 1
                if name in self._substitute and self.anchors[name] == self._last_anchor.get(name):
                    result = self._substitute[name].clone()
        return result

    def _record(self, layer: str, storage: int, output: Tensor) -> str:
        consumed = self._consumed.setdefault(layer, set())
        if layer not in self._calls or layer != self._last or storage in consumed:
            consumed.clear()  # the layer runs, or runs again
            self._calls[layer] = self._calls.get(layer, 0) + 1
        consumed.add(storage)
        self._last = layer
        number = self._calls[layer]
        name = layer if number == 1 else f"{layer}#{number}"
        self.outputs[name] = output.detach().clone()
        return name


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
