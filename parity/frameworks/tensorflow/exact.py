"""The exact reading: TensorFlow's float64 runs with the constants that a program says.

Many of TensorFlow's constants pass through float32 even in a float64 run: a slope of 0.3 is
0.30000001192092896, the root of 1/2 in GELU 0.70710677. Such a run is no truth: a port that says
0.3 is 1e-8 away from it, and right. Here a Python number that is cast becomes a constant of the
run's precision directly, and these functions are computed with the constants that they state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src import backend as keras_backend
from keras.src.backend.tensorflow import core as keras_core
from keras.src.backend.tensorflow import nn as keras_nn


@contextlib.contextmanager
def exact_reading(precision: str) -> Iterator[None]:
    """Constants as they are written, while active; nothing in float32."""
    if precision != "float64":
        yield
        return
    cast, keras_cast, backend_cast, leaky = (
        tf.cast,
        keras.ops.cast,
        keras_core.cast,
        tf.nn.leaky_relu,
    )

    def exactly(original: Any) -> Any:
        def casting(x: Any, dtype: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(x, float) and _is_float64(dtype):
                return tf.constant(x, tf.float64)
            return original(x, dtype, *args, **kwargs)

        return casting

    def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Any:
        features = tf.convert_to_tensor(features)
        if features.dtype != tf.float64:
            return leaky(features, alpha, name=name)
        return tf.where(features > 0, features, tf.constant(float(alpha), tf.float64) * features)

    tf.cast, keras.ops.cast, keras_core.cast = (
        exactly(cast),
        exactly(keras_cast),
        exactly(backend_cast),
    )
    keras_backend.cast, before_backend = exactly(keras_backend.cast), keras_backend.cast
    tf.nn.leaky_relu = leaky_relu
    gelu, before_gelu = _gelu, keras_nn.gelu
    keras_nn.gelu = gelu
    tf_gelu, tf.nn.gelu = tf.nn.gelu, gelu
    try:
        yield
    finally:
        tf.cast, keras.ops.cast, keras_core.cast = cast, keras_cast, backend_cast
        keras_backend.cast = before_backend
        tf.nn.leaky_relu, keras_nn.gelu, tf.nn.gelu = leaky, before_gelu, tf_gelu


def _is_float64(dtype: Any) -> bool:
    return str(getattr(dtype, "name", dtype)) == "float64"


def _gelu(x: Any, approximate: bool = False, name: str | None = None) -> Any:
    x = tf.convert_to_tensor(x)

    def number(value: float) -> Any:
        return tf.constant(value, x.dtype)

    if approximate:
        inner = number(0.7978845608028654) * (x + number(0.044715) * tf.pow(x, 3))
        return number(0.5) * x * (number(1.0) + tf.tanh(inner))
    return number(0.5) * x * (number(1.0) + tf.math.erf(x * number(0.7071067811865476)))
