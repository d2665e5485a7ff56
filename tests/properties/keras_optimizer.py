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
    return tuple(  # type: ignore[return-value]
        _end(start.astype(dtype), gradients.astype(dtype), hyperparameters, dtype)
        for dtype in ("float64", "float32")
    )


def _end(
    start: np.ndarray, gradients: np.ndarray, hyperparameters: dict[str, Any], dtype: str
) -> np.ndarray:
    import keras
    import tensorflow as tf

    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    variable = keras.Variable(start, dtype=dtype)
    beta_1, beta_2 = hyperparameters["betas"]
    optimizer = keras.optimizers.Adam(
        hyperparameters["lr"], beta_1=beta_1, beta_2=beta_2, epsilon=hyperparameters["eps"]
    )
    optimizer.build([variable])

    @tf.function  # as ``fit`` runs it
    def steps(gradients: Any) -> None:
        for gradient in gradients:  # rows of a tensor: a loop of the graph
            optimizer.apply([gradient], [variable])

    steps(tf.constant(gradients))
    return np.asarray(variable.numpy())
