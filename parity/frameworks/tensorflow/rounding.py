"""The rounding that moved inputs and weights do not show: in derivatives of activations.

Where a smooth activation saturates, its derivative is a small difference: 1 - y² of tanh, y + 1 of
elu. One unit in the last place of y is 1e-16 of that difference's *terms*, and of the difference
itself as much as you like. Inputs that move by one unit leave a saturated y where it is, so copies
of the reference that only move those agree, where another correct tanh need not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

EXACT = ("linear", "relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_tanh", "hard_shrink")
"""Activations whose derivatives are constants."""


@contextlib.contextmanager
def rough_derivatives(layers: list[keras.layers.Layer]) -> Iterator[None]:
    """Let the derivative of each smooth activation be one rounding unit of 1 off, either way."""
    changed = [
        (layer, layer.activation)
        for layer in layers
        if callable(getattr(layer, "activation", None))
        and getattr(layer.activation, "__name__", "") not in EXACT
    ]
    for layer, activation in changed:
        layer.activation = _rough(activation)
    try:
        yield
    finally:
        for layer, activation in changed:
            layer.activation = activation


def _rough(activation: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def rough(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = activation(x)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # The last bit of x, which differs from copy to copy, says which way.
            integer = tf.int64 if x.dtype == tf.float64 else tf.int32
            odd = tf.cast(tf.bitwise.bitwise_and(tf.bitcast(x, integer), 1), x.dtype)
            unit = float(np.finfo(x.dtype.as_numpy_dtype).eps)
            own = tape.gradient(y, x, output_gradients=upstream)
            return own + upstream * (unit * (1 - 2 * odd))

        return y, gradient

    wrapped: Callable[[Any], Any] = rough
    return wrapped
