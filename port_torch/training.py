"""One training step and one validation step, by contrastive divergence.

The loss pulls the scores of real images up and those of samples down; a small regulariser on the
squared scores keeps them from drifting off (Du & Mordatch 2019, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ebm.settings import PUBLISHED, Settings
from port_torch.keras_adam import KerasAdam
from port_torch.replay_buffer import ReplayBuffer, uniform_images


def make_optimizer(model: nn.Module, settings: Settings = PUBLISHED) -> torch.optim.Optimizer:
    """Adam as published: the learning rate given, everything else Keras's default."""
    return KerasAdam(model.parameters(), lr=settings.learning_rate)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    real: Tensor,
    buffer: ReplayBuffer,
    settings: Settings = PUBLISHED,
) -> dict[str, Tensor]:
    """Update ``model`` once from real images (B, C, H, W) in [-1, 1] and samples of its own.

    Returns:
        Scalars: ``loss`` = ``contrastive_divergence`` + ``regulariser``, and the mean scores
        ``real_score`` and ``fake_score``.
    """
    real = real + torch.randn_like(real) * settings.noise
    real = real.clamp(-1.0, 1.0)
    fake = buffer.sample(model)
    losses = _losses(model, real, fake, settings)
    optimizer.zero_grad()
    losses["loss"].backward()
    optimizer.step()
    return {name: value.detach() for name, value in losses.items()}


@torch.no_grad()
def validate(
    model: Callable[[Tensor], Tensor], real: Tensor, settings: Settings = PUBLISHED
) -> dict[str, Tensor]:
    """The same figures without an update: real images as they are, against uniform noise."""
    if not real.is_floating_point():
        raise TypeError(f"images must be floating, got {real.dtype}; preprocess them first")
    return _losses(model, real, uniform_images(len(real), settings), settings)


def _losses(
    model: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, settings: Settings
) -> dict[str, Tensor]:
    scores = model(torch.cat([real, fake]))  # (B_real + B_fake, 1)
    if settings.score_split == "halves" and len(scores) % 2:
        raise ValueError(
            f"score_split='halves' needs an even number of images, got {len(real)} real and "
            f"{len(fake)} fake; use score_split='counts'"
        )
    n_real = len(scores) // 2 if settings.score_split == "halves" else len(real)
    real_scores, fake_scores = scores[:n_real], scores[n_real:]
    real_score, fake_score = real_scores.mean(), fake_scores.mean()
    contrastive_divergence = fake_score - real_score
    squares = real_scores.square().mean() + fake_scores.square().mean()
    regulariser = settings.alpha * squares
    return {
        "loss": contrastive_divergence + regulariser,
        "contrastive_divergence": contrastive_divergence,
        "regulariser": regulariser,
        "real_score": real_score,
        "fake_score": fake_score,
    }
