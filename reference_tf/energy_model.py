"""The energy model: a small convolutional network that gives each image one score.

The score is the *negative* energy, f(x) = -E(x): training pushes it up on real images and down
on generated ones, and Langevin dynamics climbs it.
"""

from __future__ import annotations

import keras

from ebm.settings import PUBLISHED, Settings


def energy_model(settings: Settings = PUBLISHED) -> keras.Model:
    """Build the network; kernels Glorot-uniform, biases zero (Keras's defaults).

    Takes images (B, height, width, channels) in [-1, 1]; returns scores (B, 1).
    """
    images = keras.Input(settings.image_shape, name="images")
    x = images
    for number, layer in enumerate(settings.convolutions, start=1):
        x = keras.layers.Conv2D(
            layer.filters,
            layer.kernel,
            strides=layer.stride,
            padding="same",
            activation=layer.activation,
            name=f"conv{number}",
        )(x)  # (B, ceil(h / stride), ceil(w / stride), filters)
    x = keras.layers.Flatten(name="flatten")(x)  # (B, h * w * c), rows first, channels last
    for number, hidden in enumerate(settings.dense, start=1):
        x = keras.layers.Dense(hidden.units, activation=hidden.activation, name=f"dense{number}")(x)
    score = keras.layers.Dense(1, name="score")(x)  # (B, 1)
    return keras.Model(images, score, name="energy_model")
