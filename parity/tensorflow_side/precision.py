"""Making TensorFlow and Keras compute in one precision, and proving that they do.

``set_floatx("float64")`` alone is a trap: once any layer exists Keras has cached its dtype policy,
and the model silently runs in float32. ``set_dtype_policy("float64")`` alone is another: ``Input``
stays float32 and rounds the images. Both are set here, and what was built is asserted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from parity.errors import ReferenceFailed


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Set float type and dtype policy to ``dtype``, "float32" or "float64"; put both back."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def assert_dtypes(model: keras.Model, dtype: str) -> None:
    """Prove that the model takes, keeps and computes in ``dtype`` throughout.

    Raises:
        ReferenceFailed: lists every input, layer and weight that does not.
    """
    offenders = [
        f"input {tensor.name} is {tensor.dtype}"
        for tensor in model.inputs or ()
        if tensor.dtype != dtype
    ]
    for layer in model._flatten_layers():
        if layer.compute_dtype != dtype:
            offenders.append(f"layer {layer.name} computes in {layer.compute_dtype}")
    for variable in model.weights:
        name = keras.backend.standardize_dtype(variable.dtype)
        if name.startswith("float") and name != dtype:
            offenders.append(f"weight {variable.path} is {name}")
    if offenders:
        raise ReferenceFailed(
            f"the reference does not run in {dtype}: {'; '.join(offenders)}; leave dtype= out of "
            "its layers, so that Keras's default applies"
        )
