"""The energy model: a small convolutional network that gives each image one score.

The score is the *negative* energy, f(x) = -E(x): training pushes it up on real images and down
on generated ones, and Langevin dynamics climbs it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm.settings import PUBLISHED, Settings

# Keras's leaky_relu has slope 0.2 where torch's default is 0.01. TensorFlow keeps the slope, and
# the root of 1/2 in gelu, as float32 constants even in float64: a port that does not is 1e-9 away.
LEAKY_SLOPE = torch.tensor(0.2, dtype=torch.float32).item()
ROOT_OF_HALF = torch.tensor(0.5, dtype=torch.float32).sqrt().item()

# Above its threshold torch's softplus is the identity: at the default of 20 that is off by e^-20,
# 2e-9; TensorFlow switches where the difference is lost in rounding, at 34 in float64.
SOFTPLUS_THRESHOLD = 34.0

# Keras's functions of these names. In place, torch's elu takes its gradient from the result, y + 1,
# as TensorFlow does; otherwise from exp(x), which is better where a unit is saturated, and another.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": lambda x: F.elu(x, inplace=True),
    "gelu": lambda x: 0.5 * x * torch.erfc(-x * ROOT_OF_HALF),
    "leaky_relu": lambda x: F.leaky_relu(x, LEAKY_SLOPE),
    "linear": lambda x: x,
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "softplus": lambda x: F.softplus(x, threshold=SOFTPLUS_THRESHOLD),
    "swish": F.silu,
    "tanh": torch.tanh,
}


class EnergyModel(nn.Module):
    """The network; kernels Glorot-uniform, biases zero (Keras's defaults, not torch's).

    Takes images (B, channels, height, width) in [-1, 1]; returns scores (B, 1).
    """

    def __init__(self, settings: Settings = PUBLISHED) -> None:
        super().__init__()
        self.settings = settings
        height, width, channels = settings.image_shape
        for number, layer in enumerate(settings.convolutions, start=1):
            conv = SameConv2d(channels, layer.filters, layer.kernel, layer.stride)
            self.add_module(f"conv{number}", conv)
            height = -(-height // layer.stride[0])  # SAME: ceil(h / stride)
            width = -(-width // layer.stride[1])
            channels = layer.filters
        features = height * width * channels
        for number, hidden in enumerate(settings.dense, start=1):
            self.add_module(f"dense{number}", nn.Linear(features, hidden.units))
            features = hidden.units
        self.add_module("score", nn.Linear(features, 1))
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_uniform_(parameter)  # Glorot-uniform
            else:
                nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for number, layer in enumerate(self.settings.convolutions, start=1):
            x = self.get_submodule(f"conv{number}")(x)
            x = ACTIVATIONS[layer.activation](x)
            # (B, filters, ceil(h / stride), ceil(w / stride))
        x = x.permute(0, 2, 3, 1).flatten(1)  # (B, h * w * c), rows first, channels last
        for number, hidden in enumerate(self.settings.dense, start=1):
            x = self.get_submodule(f"dense{number}")(x)
            x = ACTIVATIONS[hidden.activation](x)
        scores: Tensor = self.get_submodule("score")(x)  # (B, 1)
        return scores


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding.

    The output has ceil(n / stride) rows; the zeros needed for that are shared out with the larger
    half *after* the image: (1, 2) for kernel 5, stride 2 on 32 rows, (0, 1) for kernel 3, stride 2
    on 16. No symmetric padding equals it, which is why ``Conv2d(padding="same")`` refuses strides.
    Source: "Notes on padding", https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """

    def __init__(
        self, in_channels: int, filters: int, kernel: tuple[int, int], stride: tuple[int, int]
    ) -> None:
        super().__init__(in_channels, filters, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = same_padding(x.shape[-2], self.kernel_size[0], self.stride[0])
        left, right = same_padding(x.shape[-1], self.kernel_size[1], self.stride[1])
        return super().forward(F.pad(x, (left, right, top, bottom)))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of ``size`` under SAME padding."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def energy_model(settings: Settings = PUBLISHED) -> EnergyModel:
    """Build the network."""
    return EnergyModel(settings)
