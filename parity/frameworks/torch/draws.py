"""Which torch operations draw, and how each is served from the shared streams.

An operation is run as it is, so that whatever it returns has just the strides, dtype, device and
aliasing that torch gives it, its arguments are checked by torch, and torch's own generator moves
on; its values are then overwritten with served ones. What an operation's arguments mean is read
from its schema by name, so that overloads, ``generator=``, ``out=`` and in-place forms are one
case.

That torch's generator moves on is what makes ``torch.utils.checkpoint`` right: it puts the
generator back before it computes a segment again in the backward pass, so a draw there that finds
the generator where an earlier draw found it *is* that draw, and is given the same numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.values.randomness import SharedRandomness

_WIDEST = 2**62  # how many different integers the stream has

#: What ``random_`` may reach in a floating dtype: the integers it holds exactly
#: (``aten/src/ATen/native/DistributionTemplates.h``, ``random_from_to``).
_EXACT_INTEGERS = {
    torch.float64: 2**53,
    torch.float32: 2**24,
    torch.float16: 2**11,
    torch.bfloat16: 2**8,
}

#: Tagged because an operation they stand in for draws; they themselves do not.
_TAGGED_FOR_NOTHING = frozenset(
    {
        "_flash_attention_forward_no_dropout_inplace",
        "_fused_sdp_choice",
        "_nested_tensor_softmax_with_shape",
    }
)

_NO_BACKWARD = -1  # torch._C._current_graph_task_id() outside a backward pass


@dataclasses.dataclass(frozen=True)
class _Call:
    """One drawing operation on its way through: what it was given and where its numbers come from.

    Attributes:
        operation: ATen's name without the underscore of the in-place form, "normal" say.
        given: argument -> value, defaults included. Tensors that an ``out=`` may overwrite are
            copies.
    """

    operation: str
    given: dict[str, Any]
    randomness: SharedRandomness

    def normal(self, result: Tensor) -> None:
        """z * std + mean in the result's dtype, as TensorFlow computes it."""
        values = self._standard(result, self.randomness.normal)
        if "std" in self.given:
            values = values * _like(values, self.given["std"]) + _like(values, self.given["mean"])
        result.copy_(values)

    def uniform(self, result: Tensor) -> None:
        """u * (b - a) + a with a and b in the result's dtype, as TensorFlow computes it."""
        values = self._standard(result, self.randomness.uniform)
        if "from" in self.given:
            low, high = _like(values, self.given["from"]), _like(values, self.given["to"])
            values = values * (high - low) + low
        result.copy_(values)

    def bernoulli(self, result: Tensor) -> None:
        """One where u >= 1 - p; ``dropout`` asks for p = 1 - rate."""
        p = self.given.get("p")
        if p is None:
            p = self.given["self"]  # bernoulli(probabilities)
        result.copy_(self._kept(result, 1 - torch.as_tensor(p, dtype=torch.float64)))

    def native_dropout(self, result: tuple[Tensor, Tensor]) -> None:
        """``(output, mask)``, the mask one where u >= rate, as TensorFlow's dropout has it."""
        output, mask = result
        rate, given = self.given["p"], self.given["input"]
        mask.copy_(self._kept(given, torch.tensor(rate, dtype=torch.float64)))
        output.copy_(given * mask * (0.0 if rate == 1 else 1 / (1 - rate)))

    def randint(self, result: Tensor) -> None:
        """Integers in [low, high)."""
        self._integers(result, int(self.given.get("low", 0)), int(self.given["high"]))

    def random(self, result: Tensor) -> None:
        """``random_()``, ``random_(to)``, ``random_(from, to)``; if open, all of the dtype."""
        low, high = self.given.get("from", 0), self.given.get("to")
        self._integers(result, low, _end(result.dtype) if high is None else high)

    def randperm(self, result: Tensor) -> None:
        """A permutation of range(n)."""
        values = self.randomness.permutation(int(self.given["n"]), _name(result.dtype))
        result.copy_(torch.from_numpy(values))

    def _integers(self, result: Tensor, low: int, high: int) -> None:
        high = min(high, low + _WIDEST)  # of a wider range the lower part is served
        values = self.randomness.integers(low, high, tuple(result.shape), _name(result.dtype))
        result.copy_(torch.from_numpy(values))

    def _kept(self, like: Tensor, rate: Tensor) -> Tensor:
        """u >= rate of the shape of ``like``, both rounded to its dtype first: so does TensorFlow,
        and the grid of u makes ties possible."""
        dtype = like.dtype if like.dtype.is_floating_point else torch.get_default_dtype()
        u = torch.from_numpy(self.randomness.uniform(tuple(like.shape), _name(dtype))).to(dtype)
        return u >= rate.to(device="cpu", dtype=dtype)

    def _standard(self, result: Tensor, stream: Callable[..., np.ndarray]) -> Tensor:
        """Stream values of the result's shape, in its dtype and on its device."""
        values = torch.from_numpy(stream(tuple(result.shape), _name(result.dtype)))
        return values.to(device=result.device, dtype=result.dtype)


_SERVED: dict[str, Callable[[_Call, Any], None]] = {
    "normal": _Call.normal,
    "normal_functional": _Call.normal,
    "randn": _Call.normal,
    "randn_like": _Call.normal,
    "uniform": _Call.uniform,
    "rand": _Call.uniform,
    "rand_like": _Call.uniform,
    "bernoulli": _Call.bernoulli,
    "native_dropout": _Call.native_dropout,
    "randint": _Call.randint,
    "randint_like": _Call.randint,
    "random": _Call.random,
    "randperm": _Call.randperm,
}


_FAMILIES: dict[Callable[[_Call, Any], None], str] = {
    _Call.normal: "normal",
    _Call.uniform: "uniform",
    _Call.bernoulli: "uniform",
    _Call.native_dropout: "uniform",
    _Call.randint: "integers",
    _Call.random: "integers",
    _Call.randperm: "permutation",
}


def family_of(operation: str) -> str:
    """The stream that an operation is served from; its own name if from none."""
    served = _SERVED.get(operation)
    return operation if served is None else _FAMILIES[served]


class Draws:
    """Serves the drawing operations of one run from ``randomness``, and logs them there.

    Args:
        repeated: told the name of an operation that finds its generator where an earlier draw of
            the same found it, and so would by itself draw the same numbers again.
    """

    def __init__(self, randomness: SharedRandomness, repeated: Callable[[str], None]) -> None:
        self._randomness, self._repeated = randomness, repeated
        self._bookmarks: dict[tuple[object, ...], dict[str, Any]] = {}

    def serve(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func``, an operation tagged ``nondeterministic_seeded``, with served values."""
        operation = func._schema.name.partition("::")[2].rstrip("_")
        given = _given(func, args, kwargs)
        device = _device(given)
        if _draws_nothing(operation, given) or device.type == "meta":
            return func(*args, **kwargs)
        state = _generator_state(given.get("generator"), device)
        result = func(*args, **kwargs)
        call = _Call(operation, given, self._randomness)
        drawn = (operation, tuple(_first(result).shape), state)
        if drawn in self._bookmarks and torch._C._current_graph_task_id() != _NO_BACKWARD:
            with self._randomness.replaying(self._bookmarks[drawn]):
                _overwrite(call, result)
        else:
            again = drawn in self._bookmarks
            if again and _generator_state(given.get("generator"), device) != state:  # it has moved
                self._repeated(operation)
            self._bookmarks[drawn] = self._randomness.bookmark()
            _overwrite(call, result)
        return result


def _overwrite(call: _Call, result: Any) -> None:
    first, served = _first(result), _SERVED.get(call.operation)
    if served is None or first.is_complex():
        call.randomness.not_served(call.operation, tuple(first.shape), _name(first.dtype))
    else:
        served(call, result)


def _draws_nothing(operation: str, given: dict[str, Any]) -> bool:
    """Dropout, attention and recurrent operations have the tag also when they draw nothing."""
    if operation in _TAGGED_FOR_NOTHING or False in (given.get("train"), given.get("training")):
        return True
    if operation == "native_dropout":
        return bool(given["p"] == 0)
    return given.get("dropout_p", given.get("dropout")) == 0


def _given(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """argument -> value by the schema; tensors that are only read are copied if others are written,
    for they may be the same: ``torch.bernoulli(p, out=p)``."""
    schema = func._schema
    given = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    given |= {a.name: value for a, value in zip(schema.arguments, args, strict=False)}
    given |= kwargs
    if schema.is_mutable:
        for argument in schema.arguments:
            value = given.get(argument.name)
            if isinstance(value, Tensor) and argument.alias_info is None:
                given[argument.name] = value.clone()
    return given


def _device(given: dict[str, Any]) -> torch.device:
    for value in given.values():
        if isinstance(value, Tensor):
            return value.device
    return torch.device(given.get("device") or "cpu")


def _generator_state(generator: torch.Generator | None, device: torch.device) -> int:
    """A fingerprint of where the generator stands that the operation is about to use."""
    if generator is not None:
        state = generator.get_state()
    elif device.type == "cpu":
        state = torch.default_generator.get_state()
    else:
        module = torch.get_device_module(device)
        state = module.get_rng_state(*(() if device.type == "mps" else (device,)))
    return hash(state.numpy().tobytes())


def _first(result: Any) -> Tensor:
    first = result[0] if isinstance(result, (tuple, list)) else result
    assert isinstance(first, Tensor)
    return first


def _like(values: Tensor, number: Any) -> Tensor:
    return torch.as_tensor(number, dtype=values.dtype, device=values.device)


def _end(dtype: torch.dtype) -> int:
    """One more than the greatest integer that ``random_`` gives in ``dtype``."""
    if dtype.is_floating_point:
        return _EXACT_INTEGERS[dtype] + 1
    return 2 if dtype == torch.bool else torch.iinfo(dtype).max + 1


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
