"""Langevin dynamics: samples are drawn by climbing the score under noise.

Each step, as published: add noise, clip, take each image's own score gradient at that noisy,
clipped image, clip the gradient elementwise, climb, clip.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ebm.settings import PUBLISHED


def generate_samples(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    steps: int,
    step_size: float,
    noise: float,
    gradient_clip: float = PUBLISHED.gradient_clip,
    return_every_step: bool = False,
) -> Tensor:
    """Run Langevin dynamics from ``images`` and return where they end.

    Works whatever the caller's mode (training, ``no_grad``, ``inference_mode``) and leaves the
    model, its gradients and ``images`` as they were.

    Args:
        model: gives scores (B, 1) for images (B, C, H, W).
        images: (B, C, H, W), floating; B may be 0. Not changed.
        steps: how many steps, at least 1.
        step_size: factor on the clipped gradient.
        noise: standard deviation of the Gaussian noise added at each step, at least 0.
        gradient_clip: gradients are clipped to [-gradient_clip, gradient_clip].
        return_every_step: return the images after each step instead of the last ones only.

    Returns:
        Images (B, C, H, W) in [-1, 1], or (steps, B, C, H, W) with ``return_every_step``.
    """
    _check(images, steps, step_size, noise, gradient_clip)
    images_per_step = []
    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        images = images.clone()  # out of inference mode: a tensor that autograd may record
        for _ in range(steps):
            images = images + torch.randn_like(images) * noise
            images = images.clamp(-1.0, 1.0)
            gradients = score_gradients(model, images)
            gradients = gradients.clamp(-gradient_clip, gradient_clip)
            images = images + step_size * gradients
            images = images.clamp(-1.0, 1.0)
            if return_every_step:
                images_per_step.append(images)
        return torch.stack(images_per_step) if return_every_step else images


def score_gradients(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The gradient of every image's own score with respect to that image, (B, C, H, W).

    Autograd wants a scalar. The *sum* of the scores is the right one: no image's score depends on
    another image, so each image gets its own gradient, as from TensorFlow's tape. The mean would
    divide every gradient by the batch size.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()  # a leaf of a graph of its own
        scores = model(images)
        (gradients,) = torch.autograd.grad(scores.sum(), images)
    return gradients


@contextlib.contextmanager
def evaluating(model: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Evaluation mode, as a Keras model called without ``training=True``; restored per module."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    training = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, was_training in zip(modules, training, strict=True):
            module.training = was_training


def _check(
    images: Tensor, steps: int, step_size: float, noise: float, gradient_clip: float
) -> None:
    if images.ndim != 4:
        raise ValueError(f"images must have shape (B, C, H, W), got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating, got {images.dtype}; preprocess them first")
    if not torch.isfinite(images).all():
        raise ValueError("images must be finite, got NaN or infinity")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not math.isfinite(step_size):
        raise ValueError(f"step_size must be finite, got {step_size}")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    if not gradient_clip > 0:
        raise ValueError(f"gradient_clip must be above 0, got {gradient_clip}")
