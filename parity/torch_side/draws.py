"""Which torch operations draw, and how each is served from the shared streams.

An operation is run as it is, so that whatever it returns has just the strides, dtype, device and
aliasing that torch gives it, and its values are then overwritten with served ones. What an
operation's arguments mean is read from its schema by name, so that overloads, ``generator=``,
``out=`` and in-place forms are one case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.randomness import SharedRandomness

NAMES = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


def draw(func: Any, args: Any, kwargs: Any, randomness: SharedRandomness) -> Any:
    """Run a drawing operation with served values; log it either way."""
    result = func(*args, **kwargs)
    named = _named(func, args, kwargs)
    operation = func._schema.name.removeprefix("aten::").rstrip("_")
    serve = _SERVED.get(operation)
    if serve is None:
        tensor = result[0] if isinstance(result, (tuple, list)) else result
        if _draws_nothing(operation, named):
            return result
        randomness.not_served(operation, tuple(tensor.shape), _dtype(tensor))
        return result
    return serve(result, named, randomness)


def _normal(result: Tensor, named: dict[str, Any], randomness: SharedRandomness) -> Tensor:
    values = _served(result, randomness.normal)
    mean, std = named.get("mean", 0.0), named.get("std", 1.0)
    return result.copy_(_scaled(values, std, mean))


def _uniform(result: Tensor, named: dict[str, Any], randomness: SharedRandomness) -> Tensor:
    values = _served(result, randomness.uniform)
    low, high = named.get("from", 0.0), named.get("to", 1.0)
    return result.copy_(_scaled(values, high - low, low))


def _bernoulli(result: Tensor, named: dict[str, Any], randomness: SharedRandomness) -> Tensor:
    """One where u >= 1 - p: TensorFlow's dropout keeps where u >= rate, and rate is 1 - p."""
    u = randomness.uniform(tuple(result.shape), _dtype(result))
    p = named.get("p")
    if p is None:
        p = named["self"]  # bernoulli(probabilities)
    threshold = 1 - torch.as_tensor(p, dtype=torch.float64)
    return result.copy_(torch.from_numpy(np.ascontiguousarray(u)) >= threshold)


def _native_dropout(
    result: tuple[Tensor, Tensor], named: dict[str, Any], randomness: SharedRandomness
) -> tuple[Tensor, Tensor]:
    output, mask = result
    rate, given = named["p"], named["input"]
    if named.get("train") is False or rate == 0:
        return result
    u = torch.from_numpy(randomness.uniform(tuple(given.shape), _dtype(given)))
    mask.copy_(u >= rate)
    scale = 0.0 if rate == 1 else 1 / (1 - rate)
    output.copy_(given * mask * scale)
    return output, mask


def _integers(result: Tensor, named: dict[str, Any], randomness: SharedRandomness) -> Tensor:
    low, high = named.get("low", 0), named["high"]
    values = randomness.integers(int(low), int(high), tuple(result.shape), str(result.dtype)[6:])
    return result.copy_(torch.from_numpy(values))


def _permutation(result: Tensor, named: dict[str, Any], randomness: SharedRandomness) -> Tensor:
    values = randomness.permutation(int(named["n"]), str(result.dtype)[6:])
    return result.copy_(torch.from_numpy(values))


_SERVED: dict[str, Callable[..., Any]] = {
    "normal": _normal,
    "randn": _normal,
    "randn_like": _normal,
    "uniform": _uniform,
    "rand": _uniform,
    "rand_like": _uniform,
    "bernoulli": _bernoulli,
    "native_dropout": _native_dropout,
    "randint": _integers,
    "randint_like": _integers,
    "randperm": _permutation,
}


def _served(result: Tensor, stream: Callable[[tuple[int, ...], str], np.ndarray]) -> Tensor:
    """Stream values of the result's shape, in its dtype: the shift and scale are then computed in
    the run's precision, as TensorFlow does, which draws standard numbers and scales afterwards."""
    values = torch.from_numpy(stream(tuple(result.shape), _dtype(result)))
    return values.to(device=result.device, dtype=result.dtype)


def _scaled(values: Tensor, scale: Any, shift: Any) -> Tensor:
    if not (isinstance(scale, (int, float)) and scale == 1):
        values = values * scale
    if not (isinstance(shift, (int, float)) and shift == 0):
        values = values + shift
    return values


def _draws_nothing(operation: str, named: dict[str, Any]) -> bool:
    """Attention and recurrent operations carry the tag although without dropout they draw nothing."""
    rate = named.get("dropout_p", named.get("dropout"))
    return rate == 0 or named.get("train") is False


def _named(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    arguments = func._schema.arguments
    named = {a.name: a.default_value for a in arguments if a.has_default_value()}
    named |= {a.name: value for a, value in zip(arguments, args, strict=False)}
    return named | kwargs


def _dtype(tensor: Tensor) -> str:
    return NAMES.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
