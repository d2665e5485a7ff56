"""A model's parameters: their names and layouts, and canonical weights to them and from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from parity.correspond.weights import Match, Parameter, Weight
from parity.side.runner import Pulled
from parity.values import layouts

Arrays = dict[str, np.ndarray]


def parameters(model: nn.Module) -> list[Parameter]:
    """Parameters and floating buffers, in order of registration, each with its owner's layout."""
    return [
        Parameter(name, tuple(tensor.shape), _kind(model, name))
        for name, tensor in state(model).items()
    ]


def state(model: nn.Module) -> dict[str, Tensor]:
    """What a checkpoint holds of the model, shared tensors once."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point() and id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


def layers_of(model: nn.Module, matches: list[Match]) -> dict[Tensor, str]:
    """Parameter -> the reference's name of the layer that it belongs to."""
    tensors = state(model)
    return {tensors[found.parameter]: Weight(found.weight, ()).layer for found in matches}


def load_canonical(
    model: nn.Module,
    matches: Sequence[Match],
    weights: Mapping[str, np.ndarray],
    channels_first: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> None:
    """Put canonical weights into the model.

    Args:
        channels_first: dense kernel -> (H, W, C) of the map before it, for a network that flattens
            channels first.
    """
    tensors = state(model)
    with torch.no_grad():
        for found in matches:
            array = from_canonical(weights[found.weight], found, channels_first)
            tensors[found.parameter].copy_(torch.from_numpy(array))


def canonical_weights(
    model: nn.Module,
    matches: Sequence[Match],
    channels_first: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Arrays:
    """The inverse of :func:`load_canonical`: the model's weights under the reference's names."""
    tensors = state(model)
    return {
        found.weight: to_canonical(to_numpy(tensors[found.parameter]), found, channels_first)
        for found in matches
    }


def from_canonical(
    array: np.ndarray, found: Match, channels_first: Mapping[str, Sequence[int]]
) -> np.ndarray:
    """A weight, or anything of its shape, in the layout of the parameter that holds it."""
    if found.weight in channels_first:
        array = layouts.rows_flattened_channels_first(array, channels_first[found.weight])
    return layouts.weight_to_torch(array, found.kind)


def to_canonical(
    array: np.ndarray, found: Match, channels_first: Mapping[str, Sequence[int]]
) -> np.ndarray:
    """The inverse of :func:`from_canonical`."""
    array = layouts.weight_from_torch(array, found.kind)
    if found.weight in channels_first:
        array = layouts.rows_flattened_channels_last(array, channels_first[found.weight])
    return array


def to_numpy(tensor: Tensor) -> np.ndarray:
    """The tensor's values, in memory of their own."""
    return np.array(tensor.detach().cpu().numpy())


def cotangent_of(outputs: Tensor, batch: int, pulled: Pulled) -> Tensor:
    """What a network's outputs are multiplied by before gradients are taken."""
    dtype = str(outputs.dtype).removeprefix("torch.")
    by = pulled.by(outputs.shape, batch, "float32" if dtype == "bfloat16" else dtype)
    return torch.from_numpy(by).to(outputs)


def _kind(model: nn.Module, name: str) -> str | None:
    owner_name, _, own_name = name.rpartition(".")
    owner = model.get_submodule(owner_name)
    if own_name == "weight" and isinstance(owner, nn.modules.conv._ConvTransposeNd):
        return "transposed_convolution"
    if own_name == "weight" and isinstance(owner, nn.modules.conv._ConvNd):
        return "convolution"
    if own_name == "weight" and isinstance(owner, nn.Linear):
        return "dense"
    return None if isinstance(getattr(owner, own_name), nn.Parameter) else "as_is"
