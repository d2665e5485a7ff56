"""The replay buffer: chains are continued rather than begun anew, so that short runs suffice."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ebm.settings import PUBLISHED, Settings
from port_torch.langevin import generate_samples


class ReplayBuffer:
    """The most recent samples, newest first.

    Attributes:
        images: (N, C, H, W) in [-1, 1], N at most ``settings.buffer_size``.
    """

    def __init__(self, settings: Settings = PUBLISHED) -> None:
        self.settings = settings
        self.images = uniform_images(settings.batch_size, settings)

    def sample(self, model: Callable[[Tensor], Tensor]) -> Tensor:
        """Draw starting images, run Langevin dynamics on them, keep and return the results.

        A batch is Binomial(batch_size, fresh_fraction) new uniform images, then old ones chosen
        with replacement. Three generators are involved: NumPy's, Python's and PyTorch's.

        Returns:
            (batch_size, C, H, W), in the order [new, old].
        """
        settings = self.settings
        n_new = int(np.random.binomial(settings.batch_size, settings.fresh_fraction))
        new = uniform_images(n_new, settings)
        chosen = random.choices(range(len(self.images)), k=settings.batch_size - n_new)
        old = self.images[torch.tensor(chosen, dtype=torch.long)]
        samples = generate_samples(
            model,
            torch.cat([new, old]),
            steps=settings.steps,
            step_size=settings.step_size,
            noise=settings.noise,
            gradient_clip=settings.gradient_clip,
        )
        self.images = torch.cat([samples, self.images])[: settings.buffer_size]
        return samples


def uniform_images(n: int, settings: Settings = PUBLISHED) -> Tensor:
    """Images of uniform noise, (n, C, H, W) in [-1, 1), in the default float type."""
    height, width, channels = settings.image_shape
    return torch.rand((n, channels, height, width)) * 2 - 1
