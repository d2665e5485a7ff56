"""The replay buffer: chains are continued rather than begun anew, so that short runs suffice."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ebm.settings import PUBLISHED, Settings
from reference_tf.langevin import generate_samples


class ReplayBuffer:
    """The most recent samples, newest first.

    Attributes:
        images: (N, H, W, C) in [-1, 1], N at most ``settings.buffer_size``.
    """

    def __init__(self, settings: Settings = PUBLISHED) -> None:
        self.settings = settings
        self.images = uniform_images(settings.batch_size, settings)

    def sample(self, model: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Draw starting images, run Langevin dynamics on them, keep and return the results.

        A batch is Binomial(batch_size, fresh_fraction) new uniform images, then old ones chosen
        with replacement. Three generators are involved: NumPy's, Python's and TensorFlow's.

        Returns:
            (batch_size, H, W, C), in the order [new, old].
        """
        settings = self.settings
        n_new = int(np.random.binomial(settings.batch_size, settings.fresh_fraction))
        new = uniform_images(n_new, settings)
        chosen = random.choices(range(len(self.images)), k=settings.batch_size - n_new)
        old = tf.gather(self.images, tf.constant(chosen, tf.int32))
        samples = generate_samples(
            model,
            tf.concat([new, old], axis=0),
            steps=settings.steps,
            step_size=settings.step_size,
            noise=settings.noise,
            gradient_clip=settings.gradient_clip,
        )
        self.images = tf.concat([samples, self.images], axis=0)[: settings.buffer_size]
        return samples


def uniform_images(n: int, settings: Settings = PUBLISHED) -> tf.Tensor:
    """Images of uniform noise, (n, H, W, C) in [-1, 1), in the default float type."""
    shape = (n, *settings.image_shape)
    return tf.random.uniform(shape, dtype=tf.keras.backend.floatx()) * 2 - 1
