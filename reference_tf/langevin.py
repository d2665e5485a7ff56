"""Langevin dynamics: samples are drawn by climbing the score under noise.

Each step, as published: add noise, clip, take each image's own score gradient at that noisy,
clipped image, clip the gradient elementwise, climb, clip.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from ebm.settings import PUBLISHED


def generate_samples(
    model: Callable[[tf.Tensor], tf.Tensor],
    images: tf.Tensor,
    steps: int,
    step_size: float,
    noise: float,
    gradient_clip: float = PUBLISHED.gradient_clip,
    return_every_step: bool = False,
) -> tf.Tensor:
    """Run Langevin dynamics from ``images`` and return where they end.

    Args:
        model: gives scores (B, 1) for images (B, H, W, C).
        images: (B, H, W, C), floating; B may be 0. Not changed.
        steps: how many steps, at least 1.
        step_size: factor on the clipped gradient.
        noise: standard deviation of the Gaussian noise added at each step, at least 0.
        gradient_clip: gradients are clipped to [-gradient_clip, gradient_clip].
        return_every_step: return the images after each step instead of the last ones only.

    Returns:
        Images (B, H, W, C) in [-1, 1], or (steps, B, H, W, C) with ``return_every_step``.
    """
    images = _checked(images, steps, step_size, noise, gradient_clip)
    images_per_step = []
    for _ in range(steps):
        images += tf.random.normal(tf.shape(images), stddev=noise, dtype=images.dtype)
        images = tf.clip_by_value(images, -1.0, 1.0)
        gradients = score_gradients(model, images)
        gradients = tf.clip_by_value(gradients, -gradient_clip, gradient_clip)
        images += step_size * gradients
        images = tf.clip_by_value(images, -1.0, 1.0)
        if return_every_step:
            images_per_step.append(images)
    return tf.stack(images_per_step) if return_every_step else images


def score_gradients(model: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """The gradient of every image's own score with respect to that image, (B, H, W, C)."""
    if images.shape[0] == 0:
        return images  # TensorFlow gives a strided convolution of no images the wrong shape
    with tf.GradientTape() as tape:
        tape.watch(images)
        scores = model(images)
    return tape.gradient(scores, images)


def _checked(
    images: tf.Tensor, steps: int, step_size: float, noise: float, gradient_clip: float
) -> tf.Tensor:
    images = tf.convert_to_tensor(images)
    if images.shape.rank != 4:
        raise ValueError(f"images must have shape (B, H, W, C), got {tuple(images.shape)}")
    if not images.dtype.is_floating:
        raise TypeError(f"images must be floating, got {images.dtype.name}; preprocess them first")
    if tf.executing_eagerly() and not tf.reduce_all(tf.math.is_finite(images)):
        raise ValueError("images must be finite, got NaN or infinity")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not math.isfinite(step_size):
        raise ValueError(f"step_size must be finite, got {step_size}")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    if not gradient_clip > 0:
        raise ValueError(f"gradient_clip must be above 0, got {gradient_clip}")
    return images
