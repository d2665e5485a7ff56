"""One training step and one validation step, by contrastive divergence.

The loss pulls the scores of real images up and those of samples down; a small regulariser on the
squared scores keeps them from drifting off (Du & Mordatch 2019, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from ebm.settings import PUBLISHED, Settings
from reference_tf.replay_buffer import ReplayBuffer, uniform_images


def make_optimizer(
    model: keras.Model, settings: Settings = PUBLISHED
) -> keras.optimizers.Optimizer:
    """Adam as published: the learning rate given, everything else Keras's default."""
    optimizer = keras.optimizers.Adam(learning_rate=settings.learning_rate)
    optimizer.build(model.trainable_variables)
    return optimizer


def train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    real: tf.Tensor,
    buffer: ReplayBuffer,
    settings: Settings = PUBLISHED,
    score: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> dict[str, tf.Tensor]:
    """Update ``model`` once from real images (B, H, W, C) in [-1, 1] and samples of its own.

    ``score`` is what samples and losses are computed through: the model itself, or a faster
    callable that equals it, ``tf.function(model)`` say.

    Returns:
        Scalars: ``loss`` = ``contrastive_divergence`` + ``regulariser``, and the mean scores
        ``real_score`` and ``fake_score``.
    """
    score = model if score is None else score
    real = tf.convert_to_tensor(real)
    real += tf.random.normal(tf.shape(real), stddev=settings.noise, dtype=real.dtype)
    real = tf.clip_by_value(real, -1.0, 1.0)
    fake = buffer.sample(score)
    with tf.GradientTape() as tape:
        losses = _losses(score, real, fake, settings)
    gradients = tape.gradient(losses["loss"], model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return losses


def validate(
    model: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor, settings: Settings = PUBLISHED
) -> dict[str, tf.Tensor]:
    """The same figures without an update: real images as they are, against uniform noise."""
    real = tf.convert_to_tensor(real)
    return _losses(model, real, uniform_images(len(real), settings), settings)


def _losses(
    model: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor, fake: tf.Tensor, settings: Settings
) -> dict[str, tf.Tensor]:
    scores = model(tf.concat([real, fake], axis=0))  # (B_real + B_fake, 1)
    if settings.score_split == "halves" and scores.shape[0] % 2:
        raise ValueError(
            f"score_split='halves' needs an even number of images, got {len(real)} real and "
            f"{len(fake)} fake; use score_split='counts'"
        )
    n_real = scores.shape[0] // 2 if settings.score_split == "halves" else len(real)
    real_scores, fake_scores = scores[:n_real], scores[n_real:]
    real_score, fake_score = tf.reduce_mean(real_scores), tf.reduce_mean(fake_scores)
    contrastive_divergence = fake_score - real_score
    squares = tf.reduce_mean(real_scores**2) + tf.reduce_mean(fake_scores**2)
    regulariser = settings.alpha * squares
    return {
        "loss": contrastive_divergence + regulariser,
        "contrastive_divergence": contrastive_divergence,
        "regulariser": regulariser,
        "real_score": real_score,
        "fake_score": fake_score,
    }
