"""Shared randomness in TensorFlow: the generated random operations are served while intercepted.

Every public route (``tf.random.*``, ``tf.random.Generator``, ``keras.random``, Dropout,
GaussianNoise) looks its operation up in one of TensorFlow's ``gen_*`` modules when it is called,
so replacing the functions there catches them all, eagerly. They receive standard normals and
uniforms on [0, 1); location and scale are ordinary arithmetic in TensorFlow and stay the user's.

A draw requested while a graph is being built cannot be served, for its numbers would be baked in;
it is left alone and logged as not served. ``tf.function`` therefore runs eagerly meanwhile;
a ``ConcreteFunction`` stays compiled.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import (
    gen_random_ops,
    gen_stateful_random_ops,
    gen_stateless_random_ops,
    gen_stateless_random_ops_v2,
)

from parity.randomness import SharedRandomness

Serve = Callable[[SharedRandomness, dict[str, Any]], Any]


@contextlib.contextmanager
def intercepted(randomness: SharedRandomness) -> Iterator[None]:
    """Serve every draw from ``randomness`` and log it; everything is put back at the end."""
    originals = [(module, name, getattr(module, name)) for module, name, _ in _OPERATIONS]
    eagerly = tf.config.functions_run_eagerly()
    try:
        for module, name, serve in _OPERATIONS:
            setattr(module, name, _serving(getattr(module, name), name, serve, randomness))
        tf.config.run_functions_eagerly(True)
        yield
    finally:
        tf.config.run_functions_eagerly(eagerly)
        for module, name, original in originals:
            setattr(module, name, original)


def _serving(
    original: Callable[..., Any], name: str, serve: Serve | None, randomness: SharedRandomness
) -> Callable[..., Any]:
    signature = inspect.signature(original)

    def served(*args: Any, **kwargs: Any) -> Any:
        if serve is None or not tf.executing_eagerly():
            result = original(*args, **kwargs)
            shape = tuple(n or 0 for n in result.shape) if result.shape.rank is not None else ()
            randomness.not_served(name, shape, result.dtype.name)
            return result
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return serve(randomness, bound.arguments)

    return served


def _shape(arguments: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in np.asarray(arguments["shape"]).ravel())


def _normal(randomness: SharedRandomness, arguments: dict[str, Any]) -> tf.Tensor:
    dtype = tf.as_dtype(arguments["dtype"])
    return tf.cast(randomness.normal(_shape(arguments), dtype.name), dtype)


def _uniform(randomness: SharedRandomness, arguments: dict[str, Any]) -> tf.Tensor:
    dtype = tf.as_dtype(arguments["dtype"])
    return tf.cast(randomness.uniform(_shape(arguments), dtype.name), dtype)


def _integers(randomness: SharedRandomness, arguments: dict[str, Any]) -> tf.Tensor:
    low = tf.convert_to_tensor(arguments["minval"])
    high = tf.convert_to_tensor(arguments["maxval"], dtype=low.dtype)
    dtype = low.dtype
    return tf.cast(randomness.integers(int(low), int(high), _shape(arguments), dtype.name), dtype)


def _shuffle(randomness: SharedRandomness, arguments: dict[str, Any]) -> tf.Tensor:
    value = tf.convert_to_tensor(arguments["value"])
    return tf.gather(value, randomness.permutation(int(value.shape[0]), "int64"))


#: What is replaced: (module, name, how it is served); None logs the draw and leaves it alone.
_OPERATIONS: list[tuple[ModuleType, str, Serve | None]] = [
    (gen_random_ops, "random_standard_normal", _normal),
    (gen_random_ops, "random_uniform", _uniform),
    (gen_random_ops, "random_uniform_int", _integers),
    (gen_random_ops, "random_shuffle", _shuffle),
    (gen_random_ops, "truncated_normal", None),
    (gen_random_ops, "parameterized_truncated_normal", None),
    (gen_random_ops, "multinomial", None),
    (gen_random_ops, "random_gamma", None),
    (gen_random_ops, "random_poisson_v2", None),
    (gen_stateless_random_ops, "stateless_random_normal", _normal),
    (gen_stateless_random_ops, "stateless_random_uniform", _uniform),
    (gen_stateless_random_ops, "stateless_random_uniform_int", _integers),
    (gen_stateless_random_ops, "stateless_multinomial", None),
    (gen_stateless_random_ops, "stateless_truncated_normal", None),
    (gen_stateless_random_ops, "stateless_random_binomial", None),
    (gen_stateless_random_ops, "stateless_random_poisson", None),
    (gen_stateless_random_ops_v2, "stateless_random_normal_v2", _normal),
    (gen_stateless_random_ops_v2, "stateless_random_uniform_v2", _uniform),
    (gen_stateless_random_ops_v2, "stateless_random_uniform_int_v2", _integers),
    (gen_stateless_random_ops_v2, "stateless_shuffle", _shuffle),
    (gen_stateless_random_ops_v2, "stateless_truncated_normal_v2", None),
    (gen_stateless_random_ops_v2, "stateless_random_gamma_v3", None),
    (gen_stateful_random_ops, "stateful_standard_normal", _normal),
    (gen_stateful_random_ops, "stateful_standard_normal_v2", _normal),
    (gen_stateful_random_ops, "stateful_uniform", _uniform),
    (gen_stateful_random_ops, "stateful_uniform_int", _integers),
    (gen_stateful_random_ops, "stateful_truncated_normal", None),
    (gen_stateful_random_ops, "stateful_random_binomial", None),
]
