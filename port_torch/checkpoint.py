"""The state of a training run as plain arrays, which the reference's ``checkpoint.py`` reads too.

Names: ``weights/<w>``, ``momentum/<w>``, ``velocity/<w>`` for each weight w ("conv1/kernel"),
``iterations``, and ``buffer``. Layouts are TensorFlow's: kernels HWIO, dense kernels in x out,
images NHWC. So training may start in TensorFlow and go on in PyTorch, or the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from port_torch.keras_adam import KerasAdam
from port_torch.replay_buffer import ReplayBuffer


def training_state(
    model: nn.Module, optimizer: KerasAdam, buffer: ReplayBuffer
) -> dict[str, np.ndarray]:
    """Everything that the next step depends on, besides the generators of random numbers."""
    state, iterations = {}, 0
    for name, parameter in model.named_parameters():
        kept = optimizer.state.get(parameter, {})
        iterations = max(iterations, kept.get("step", 0))
        for what, tensor in (
            ("weights", parameter),
            ("momentum", kept.get("momentum", torch.zeros_like(parameter))),
            ("velocity", kept.get("velocity", torch.zeros_like(parameter))),
        ):
            state[f"{what}/{_keras_name(name)}"] = _to_tensorflow(tensor)
    state["iterations"] = np.array(iterations, dtype=np.int64)
    state["buffer"] = np.ascontiguousarray(buffer.images.permute(0, 2, 3, 1).numpy())
    return state


def load_training_state(
    model: nn.Module,
    optimizer: KerasAdam,
    buffer: ReplayBuffer,
    state: Mapping[str, np.ndarray],
) -> None:
    """The inverse of :func:`training_state`."""
    for name, parameter in model.named_parameters():
        weight, momentum, velocity = (
            _from_tensorflow(state[f"{what}/{_keras_name(name)}"], parameter)
            for what in ("weights", "momentum", "velocity")
        )
        with torch.no_grad():
            parameter.copy_(weight)
        optimizer.state[parameter] = {
            "step": int(state["iterations"]),
            "momentum": momentum,
            "velocity": velocity,
        }
    buffer.images = torch.from_numpy(state["buffer"]).permute(0, 3, 1, 2).contiguous()


def _keras_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{layer}/{'kernel' if kind == 'weight' else 'bias'}"


def _to_tensorflow(tensor: Tensor) -> np.ndarray:
    """OIHW to HWIO, (out, in) to (in, out)."""
    array = tensor.detach().numpy()
    order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim, (0,))
    return array.transpose(order).copy(order="C")


def _from_tensorflow(array: np.ndarray, like: Tensor) -> Tensor:
    """The inverse of :func:`_to_tensorflow`, in the type of ``like``."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim, (0,))
    return torch.from_numpy(array.transpose(order).copy(order="C")).to(like.dtype)
