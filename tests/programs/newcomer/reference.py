"""A small classifier as a newcomer writes it, default names."""

import keras
from keras import layers


def build():
    return keras.Sequential(
        [
            keras.Input((28, 20, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(12, 3, padding="same"),
            layers.LeakyReLU(),
            layers.MaxPooling2D(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
