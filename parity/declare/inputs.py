"""Inputs of a program: what is known of each, and drawing them."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np

from parity.errors import BadCall

FREE = (7, 11, 5, 13)
"""What open dimensions are drawn as: not equal, so that swapped axes show."""

_SPEC = re.compile(r"(?:([^=]+)=)?([\d,]*)(?::(\w+)(?::(-?[\d.e+-]+?)\.\.(-?[\d.e+-]+))?)?")


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """A named input.

    Attributes:
        name: of the argument; empty if it was not given.
        shape: without the batch.
        dtype: "float" for that of the run, or an integer's.
        low, high: the range of its values, both included.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float"
    low: float = -1.0
    high: float = 1.0

    @classmethod
    def parse(cls, text: str) -> InputSpec:
        """From ``NAME=SHAPE[:DTYPE[:LOW..HIGH]]``.

        Raises:
            BadCall: says what was expected.
        """
        found = _SPEC.fullmatch(text.strip())
        if found is None:
            raise BadCall(
                f"--input {text!r}: expected NAME=SHAPE[:DTYPE[:LOW..HIGH]], such as x=32,32,3 or "
                "ids=16:int32:0..999"
            )
        name, shape, dtype, low, high = found.groups()
        dtype = dtype or "float"
        integer = "int" in dtype
        if not integer and dtype not in ("float", "float32", "float64"):
            raise BadCall(f"--input {text!r}: unknown dtype {dtype!r}; expected float or int32")
        spec = cls(
            name or "",
            tuple(int(n) for n in shape.split(",") if n),
            dtype if integer else "float",
            float(low) if low else (0.0 if integer else -1.0),
            float(high) if high else (9.0 if integer else 1.0),
        )
        if not spec.low <= spec.high:
            raise BadCall(f"--input {text!r}: the range {spec.low:g}..{spec.high:g} is empty")
        return spec

    def named(self, name: str) -> InputSpec:
        """The same under the name that the program itself has for it."""
        return dataclasses.replace(self, name=self.name or name)

    @property
    def integer(self) -> bool:
        return self.dtype != "float"

    def drawn(self, batch: int, rng: np.random.Generator) -> np.ndarray:
        """(batch, *shape); float32 values, or integers."""
        shape = (batch, *self.shape)
        if self.integer:
            return rng.integers(math.ceil(self.low), math.floor(self.high) + 1, shape).astype(
                self.dtype
            )
        return rng.uniform(self.low, self.high, shape).astype(np.float32)

    def zeros(self, precision: str) -> np.ndarray:
        return np.zeros((1, *self.shape), self.dtype if self.integer else precision)

    def to_plain(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> InputSpec:
        return cls(**{**plain, "shape": tuple(plain["shape"])})
