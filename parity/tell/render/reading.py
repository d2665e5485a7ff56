"""Reading a JSON report: lenient about what is absent, strict about what is there.

A report may come from a file that anybody wrote, so that a page is never made of half of one: what
is of another kind than it should be is refused with its place in the report and its value.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from parity.errors import BadFile
from parity.verdict.comparison import Verdict

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Node:
    """A value of a report and its place, such as ``checks[3].residual``."""

    value: Any
    place: str = "the report"

    def refuse(self, wanted: str) -> NoReturn:
        shown = textwrap.shorten(repr(self.value), 80, placeholder=" ...")
        raise BadFile(f"no report of schema {SCHEMA}: {self.place} is {shown}, not {wanted}")

    def __bool__(self) -> bool:
        """Whether there is anything in it: absent, null and empty are the same to a reader."""
        return self.value is not None and self.value not in ("", [], {}, ())

    def __getitem__(self, key: str) -> Node:
        """What a report has to have."""
        found = self.get(key)
        if self.value is None or key not in self.value:
            raise BadFile(f"no report of schema {SCHEMA}: {found.place} is missing")
        return found

    def get(self, key: str) -> Node:
        """What it may have; an empty node if it is absent."""
        if not isinstance(self.value, (Mapping, type(None))):
            self.refuse("an object")
        place = key if self.place == "the report" else f"{self.place}.{key}"
        return Node((self.value or {}).get(key), place)

    def items(self) -> list[Node]:
        """The entries of a list; none if it is absent."""
        if self.value is None:
            return []
        if not isinstance(self.value, (list, tuple)):
            self.refuse("a list")
        return [Node(value, f"{self.place}[{i}]") for i, value in enumerate(self.value)]

    def entries(self) -> list[tuple[str, Node]]:
        """Key and value of an object, in its order; none if it is absent."""
        if self.value is None:
            return []
        if not isinstance(self.value, Mapping):
            self.refuse("an object")
        return [(str(key), self.get(key)) for key in self.value]

    def text(self, default: str | None = None) -> str:
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, str):
            self.refuse("text")
        return self.value

    def texts(self) -> list[str]:
        return [item.text() for item in self.items()]

    def whole(self, default: int | None = None) -> int:
        if self.value is None and default is not None:
            return default
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.refuse("a whole number")
        return self.value

    def number(self) -> float | None:
        """None if it is absent; what JSON cannot hold is the strings "inf", "-inf" and "nan"."""
        if self.value is None:
            return None
        if isinstance(self.value, str) and self.value in ("inf", "-inf", "nan"):
            return float(self.value)
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            self.refuse("a number")
        try:
            return float(self.value)
        except OverflowError:
            self.refuse("a number of 64 bits")

    def numbers(self) -> list[float | None]:
        return [item.number() for item in self.items()]

    def flag(self) -> bool:
        if not isinstance(self.value, (bool, type(None))):
            self.refuse("true or false")
        return bool(self.value)

    def verdict(self) -> Verdict:
        if not isinstance(self.value, str) or self.value not in list(Verdict):
            self.refuse(f"one of {', '.join(Verdict)}")
        return Verdict(self.value)

    def image(self) -> np.ndarray:
        """(H, W, C) float64; what is not finite is NaN."""
        try:
            image = np.array(self.value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            self.refuse("an image: rows of pixels of channels, all numbers")
        if image.ndim != 3 or not image.size:
            self.refuse("an image: rows of pixels of channels, all numbers")
        return image


def opened(report: Any) -> Node:
    """The report itself, if it is one of this schema."""
    node = Node(report)
    if not isinstance(report, Mapping):
        node.refuse("an object")
    schema = node["schema"]
    if isinstance(schema.value, bool) or schema.value != SCHEMA:
        schema.refuse(f"{SCHEMA}")
    return node
