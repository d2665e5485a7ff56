"""The state of a training run as plain arrays, which the port's ``checkpoint.py`` reads too.

Names: ``weights/<w>``, ``momentum/<w>``, ``velocity/<w>`` for each weight w ("conv1/kernel"),
``iterations``, and ``buffer``. Layouts are TensorFlow's: kernels HWIO, dense kernels in x out,
images NHWC.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from reference_tf.replay_buffer import ReplayBuffer


def training_state(
    model: keras.Model, optimizer: keras.optimizers.Adam, buffer: ReplayBuffer
) -> dict[str, np.ndarray]:
    """Everything that the next step depends on, besides the generators of random numbers."""
    state = {f"weights/{v.path}": v.numpy() for v in model.weights}
    for name, moments in _moments(optimizer).items():
        for weight, moment in zip(model.trainable_variables, moments, strict=True):
            state[f"{name}/{weight.path}"] = moment.numpy()
    state["iterations"] = np.array(int(optimizer.iterations), dtype=np.int64)
    state["buffer"] = buffer.images.numpy()
    return state


def load_training_state(
    model: keras.Model,
    optimizer: keras.optimizers.Adam,
    buffer: ReplayBuffer,
    state: Mapping[str, np.ndarray],
) -> None:
    """The inverse of :func:`training_state`."""
    for weight in model.weights:
        weight.assign(state[f"weights/{weight.path}"])
    for name, moments in _moments(optimizer).items():
        for weight, moment in zip(model.trainable_variables, moments, strict=True):
            moment.assign(state[f"{name}/{weight.path}"])
    optimizer.iterations.assign(int(state["iterations"]))
    buffer.images = tf.constant(state["buffer"])


def _moments(optimizer: keras.optimizers.Adam) -> dict[str, list[keras.Variable]]:
    return {"momentum": optimizer._momentums, "velocity": optimizer._velocities}
