"""The two programs of the story that are wrong, each in a way that people's ports are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ebm.pair
import port_torch.langevin
import port_torch.replay_buffer
from ebm.settings import PUBLISHED, Settings


def averaged() -> object:
    """The port, but the scores of a batch are averaged before the gradient is taken, not summed."""

    def score_gradients(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            (gradients,) = torch.autograd.grad(model(images).mean(), images)
        return gradients

    port_torch.langevin.score_gradients = score_gradients
    return ebm.pair.port


class DefaultsModel(nn.Module):
    """The network as a person writes it who takes torch's defaults: padding 1, Kaiming init."""

    def __init__(self, settings: Settings = PUBLISHED) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv2d(64, 64, 3, stride=2, padding=1)
        self.dense1 = nn.Linear(256, 64)
        self.score = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.silu(convolution(x))
        x = x.permute(0, 2, 3, 1).flatten(1)
        scores: Tensor = self.score(F.silu(self.dense1(x)))
        return scores


def default_adam(model: nn.Module, settings: Settings = PUBLISHED) -> torch.optim.Optimizer:
    """Adam with torch's epsilon in torch's place."""
    return torch.optim.Adam(model.parameters(), lr=settings.learning_rate)


def defaults() -> object:
    """The port with torch's own padding, initial weights and Adam."""
    return dataclasses.replace(ebm.pair.port, model=DefaultsModel, make_optimizer=default_adam)


# SPECs for ``parity check --port ebm.story.programs:averaged_side``, each in a process of its own.
def __getattr__(name: str) -> object:
    sides = {"averaged_side": averaged, "defaults_side": defaults}
    if name in sides:
        return sides[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
