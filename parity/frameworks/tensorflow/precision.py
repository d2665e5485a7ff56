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
from parity.values.traces import PRECISIONS


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Set float type and dtype policy to ``dtype``, "float32" or "float64"; put both back.

    Raises:
        ValueError: another dtype; the program asks its questions in these two only.
    """
    if dtype not in PRECISIONS:
        raise ValueError(f"precision must be 'float32' or 'float64', got {dtype!r}")
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    try:
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def assert_dtypes(model: keras.Model, dtype: str, *, integers: bool = False) -> None:
    """Prove that the model takes, keeps and computes in ``dtype`` throughout.

    An input of integers offends too, for Keras would round the images to them; variables of
    integers (states of seed generators) have no precision to lose. A model without declared inputs
    casts them to its compute dtype, which is looked at. A cast inside a layer's own ``call`` is
    not seen here.

    Args:
        integers: inputs and layers of integers are meant to be so.

    Raises:
        ReferenceFailed: lists every input, layer and variable that does not.
    """
    offenders = [
        f"input {tensor.name} is {tensor.dtype}"
        for tensor in keras.tree.flatten(getattr(model, "inputs", None))
        if tensor is not None
        and tensor.dtype != dtype
        and not (integers and "float" not in str(tensor.dtype))
    ]
    for layer in model._flatten_layers():
        if layer.compute_dtype != dtype and not (
            integers and "float" not in str(layer.compute_dtype)
        ):
            offenders.append(f"layer {layer.name} computes in {layer.compute_dtype}")
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype) and variable.dtype != dtype:
            offenders.append(f"variable {variable.path} is {variable.dtype}")
    if offenders:
        raise ReferenceFailed(
            f"the reference does not run in {dtype}: {'; '.join(offenders)}; leave dtype= out of "
            "its layers, so that Keras's default applies"
        )
