"""Keras's Adam on given gradients, for a process that has no torch in it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


def keras_adam(
    start: np.ndarray, gradients: np.ndarray, hyperparameters: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Where Adam ends, in float64 and in float32, after one step for each row of ``gradients``."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    ends = []
    for dtype in ("float64", "float32"):
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        variable = keras.Variable(start.astype(dtype), dtype=dtype)
        beta_1, beta_2 = hyperparameters["betas"]
        optimizer = keras.optimizers.Adam(
            hyperparameters["lr"], beta_1=beta_1, beta_2=beta_2, epsilon=hyperparameters["eps"]
        )
        optimizer.build([variable])
        for gradient in gradients.astype(dtype):
            optimizer.apply([tf.constant(gradient)], [variable])
        ends.append(variable.numpy())
    return ends[0], ends[1]
