"""A trace: what one side answered for one case."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.errors import BadFile
from parity.values import archive
from parity.values.randomness import Draw

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
        errors: name -> max|float32 - float64| of the reference's own, () or (steps,), in place of
            its float32 arrays; see :meth:`reduced`.
        digests: name -> SHA-256 of the float32 array that was left out.
    """

    arrays: Mapping[str, Mapping[str, np.ndarray]]
    floors: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    draws: tuple[Draw, ...] = ()
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    errors: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def array(self, precision: str, name: str) -> np.ndarray | None:
        """The named array, or None if this side did not answer it."""
        return self.arrays.get(precision, {}).get(name)

    def reduced(self) -> Trace:
        """A reference's trace with errors and digests in place of its float32 arrays.

        That is all that a comparison asks of them: how far float32 lies from the truth, step by
        step where there are floors by step, and whether a port's bits are the same.
        """
        if "float32" not in self.arrays:
            return self
        exact, rounded = (self.arrays.get(precision, {}) for precision in PRECISIONS)
        errors = {}
        for name in exact:  # in order, so that a recording has the same bytes again
            if name not in rounded:
                continue
            difference = np.abs(rounded[name].astype(np.float64) - exact[name])
            by_step = np.ndim(self.floors.get("float64", {}).get(name, 0.0)) == 1
            axes = tuple(range(1, difference.ndim)) if by_step else None
            errors[name] = np.asarray(difference.max(axis=axes, initial=0.0))
        return dataclasses.replace(
            self,
            arrays={p: named for p, named in self.arrays.items() if p != "float32"},
            errors=errors,
            digests={name: array_digest(rounded[name]) for name in rounded},
        )

    def joined(self, other: Trace) -> Trace:
        """This trace in float64 and the other in float32, as one; draws are those of float32."""
        return Trace(
            {**self.arrays, **other.arrays},
            {**self.floors, **other.floors},
            other.draws,
            {**self.notes, **other.notes},
        )

    def same_bits(self, port: Trace, name: str) -> bool:
        """Whether the port's float32 array is this reference's to the last bit."""
        ours = port.array("float32", name)
        return ours is not None and array_digest(ours) == self.digests.get(name)

    def to_bytes(self) -> bytes:
        arrays = {
            f"{kind}/{precision}/{name}": np.asarray(array)
            for kind, by_precision in (
                ("arrays", self.arrays),
                ("floors", self.floors),
                ("errors", {"float32": self.errors}),
            )
            for precision, named in by_precision.items()
            for name, array in named.items()
        }
        about = {
            "kind": "trace",
            "schema": SCHEMA,
            "order": list(arrays),
            "digests": dict(self.digests),
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
        parts: dict[str, dict[str, dict[str, np.ndarray]]]
        parts = {"arrays": {}, "floors": {}, "errors": {}}
        for full_name in about["order"]:
            kind, precision, array_name = full_name.split("/", 2)
            parts[kind].setdefault(precision, {})[array_name] = arrays[full_name]
        draws = tuple(Draw(**draw) for draw in about["draws"])
        return cls(
            parts["arrays"],
            parts["floors"],
            draws,
            about["notes"],
            parts["errors"].get("float32", {}),
            about["digests"],
        )


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and bytes."""
    sha = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    sha.update(np.ascontiguousarray(array).data if array.size else b"")
    return sha.hexdigest()


def chosen(steps: int) -> list[int]:
    """Of a long trajectory: those after 1, 2, 4, 8, ... steps, and the last."""
    kept = {2**n - 1 for n in range(steps.bit_length()) if 2**n - 1 < steps}
    return sorted({*kept, steps - 1})
