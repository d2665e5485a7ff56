"""Activation functions that a port may use in place of the reference's, in float64.

Some are of a family with one number, as the slope of a leaky ReLU: "leaky_relu, slope 0.05". The
number is solved for (``refit``), not looked up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import special

Array = np.ndarray
Function = Callable[[Array], Array]

SAME_NAME = {"silu": "swish"}
TWICE = " twice"

_ROOT_OF_HALF = float(np.sqrt(np.float32(0.5)))


def _tanh_gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


ACTIVATIONS: Mapping[str, Function] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "swish": lambda x: x * special.expit(x),
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * special.erfc(-x * _ROOT_OF_HALF),
    "gelu, torch's constant": lambda x: 0.5 * x * special.erfc(-x * np.sqrt(0.5)),
    "gelu, tanh approximation": _tanh_gelu,
    "quick gelu": lambda x: x * special.expit(1.702 * x),
    "elu": _elu,
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
    "leaky_relu": lambda x: np.where(x > 0, x, float(np.float32(0.2)) * x),
    "softplus": lambda x: np.logaddexp(x, 0),
    "softplus, threshold 20": lambda x: np.where(x > 20, x, np.logaddexp(x, 0)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "log_sigmoid": lambda x: -np.logaddexp(-x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sine": np.sin,
}


@dataclasses.dataclass(frozen=True)
class Family:
    """Activations that differ in one number.

    Attributes:
        word: what the number is called.
        usual: the number that the plain name stands for.
        of: (x, number) -> values.
        grid: numbers of which one is near enough to find any from; empty where values are linear in
            the number.
    """

    word: str
    usual: float
    of: Callable[[Array, float], Array]
    grid: Sequence[float] = ()


FAMILIES: Mapping[str, Family] = {
    "leaky_relu": Family("slope", 0.2, lambda x, slope: np.where(x > 0, x, slope * x)),
    "elu": Family("alpha", 1.0, lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0)))),
    "swish": Family(
        "beta", 1.0, lambda x, b: x * special.expit(b * x), (0.2, 0.5, 0.8, 1.3, 2, 3, 5, 10)
    ),
    "softplus": Family(
        "beta", 1.0, lambda x, b: np.logaddexp(b * x, 0) / b, (0.2, 0.5, 0.8, 1.3, 2, 3, 5, 10)
    ),
    "celu": Family(
        "alpha",
        1.0,
        lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0) / a)),
        (0.1, 0.2, 0.4, 0.7, 1.3, 2, 4, 8),
    ),
}


def known(name: str) -> bool:
    """Whether :func:`activation` has it."""
    family, _, number = name.partition(", ")
    return name in ACTIVATIONS or (
        family in FAMILIES and number.startswith(f"{FAMILIES[family].word} ")
    )


def activation(name: str) -> Function:
    """The function of a name: a key of ACTIVATIONS, one of a family, or either applied twice."""
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    if name.endswith(TWICE):
        once = activation(name.removesuffix(TWICE))
        return lambda x: once(once(x))
    family, _, number = name.partition(", ")
    value = float(number.rpartition(" ")[2])
    return lambda x: FAMILIES[family].of(x, value)


def of_family(family: str, number: float) -> str:
    """Its name: "leaky_relu, slope 0.05"."""
    return f"{family}, {FAMILIES[family].word} {number!r}"


def compared(value: str, expected: str) -> tuple[str, bool]:
    """How a port's activation differs from the reference's, and whether only in a number.

    ("slope is 0.05, the reference's 0.2", True) or ("is relu, not swish", False).
    """
    family, _, number = value.partition(", ")
    if family == expected.partition(", ")[0]:
        if family in FAMILIES and number.startswith(FAMILIES[family].word):
            word, usual = FAMILIES[family].word, FAMILIES[family].usual
            own = expected.rpartition(" ")[2] if ", " in expected else f"{usual:g}"
            return f"{word} is {number.rpartition(' ')[2]}, the reference's {own}", True
        return f"is {value}, the reference's {expected}", True
    if value == "linear":
        return f"is missing: the reference has {expected}", False
    if value == expected + TWICE:
        return f"is applied twice: the reference applies {expected} once", False
    shown = f"{family} ({number})" if number and family in FAMILIES else value
    return f"is {expected}, not {shown}", False
