"""A trace: what one side answered for one case."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from parity import archive
from parity.errors import BadFile
from parity.randomness import Draw

SCHEMA = 1
PRECISIONS = ("float64", "float32")


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """Named arrays in canonical layout, by precision, and how they came about.

    Attributes:
        arrays: precision -> name -> array. ``energies`` (B,), ``energy_gradients`` (B, H, W, C),
            ``activations/<layer>``, ``samples`` (steps, B, H, W, C).
        floors: precision -> name -> noise floor, () or (steps,); only from a reference.
        draws: the draw log of the float32 run.
        notes: findings of the side's own, such as operations that would not run in float64.
    """

    arrays: Mapping[str, Mapping[str, np.ndarray]]
    floors: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    draws: tuple[Draw, ...] = ()
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def array(self, precision: str, name: str) -> np.ndarray | None:
        """The named array, or None if this side did not answer it."""
        return self.arrays.get(precision, {}).get(name)

    def to_bytes(self) -> bytes:
        arrays = {
            f"{kind}/{precision}/{name}": np.asarray(array)
            for kind, by_precision in (("arrays", self.arrays), ("floors", self.floors))
            for precision, named in by_precision.items()
            for name, array in named.items()
        }
        about = {
            "kind": "trace",
            "schema": SCHEMA,
            "order": list(arrays),
            "draws": [dataclasses.asdict(draw) for draw in self.draws],
            "notes": dict(self.notes),
        }
        return archive.to_bytes(arrays, about)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "trace") -> Trace:
        """The inverse of :meth:`to_bytes`.

        Raises:
            BadFile: cut short, altered, of another kind, or of a newer schema.
        """
        arrays, about = archive.from_bytes(data, name)
        if about.get("kind") != "trace" or about.get("schema") != SCHEMA:
            raise BadFile(
                f"{name} holds a {about.get('kind')} of schema {about.get('schema')}; expected a "
                f"trace of schema {SCHEMA}"
            )
        parts: dict[str, dict[str, dict[str, np.ndarray]]] = {"arrays": {}, "floors": {}}
        for full_name in about["order"]:
            kind, precision, array_name = full_name.split("/", 2)
            parts[kind].setdefault(precision, {})[array_name] = arrays[full_name]
        draws = tuple(Draw(**draw) for draw in about["draws"])
        return cls(parts["arrays"], parts["floors"], draws, about["notes"])
