"""What a worker answers about a program: one class for each framework, the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.values import archive
from parity.values.randomness import generator
from parity.values.traces import PRECISIONS, Trace
from parity.verdict.comparison import FLOAT64_FLOORS
from parity.verdict.floor import NETWORK_COPIES, floors_of, moved

Arrays = dict[str, np.ndarray]


def packed(**groups: Mapping[str, np.ndarray]) -> bytes:
    """Groups of named arrays as one archive."""
    arrays = {f"{group}/{name}": a for group, named in groups.items() for name, a in named.items()}
    return archive.to_bytes(arrays, {"order": list(arrays)})


def unpacked(data: bytes) -> dict[str, Arrays]:
    """The inverse of :func:`packed`."""
    arrays, about = archive.from_bytes(data, "the arrays of a case")
    found: dict[str, Arrays] = {}
    for full in about["order"]:
        group, _, name = full.partition("/")
        found.setdefault(group, {})[name] = arrays[full]
    return found


def cotangent(key: int, name: str, shape: Sequence[int]) -> np.ndarray:
    """What an output is multiplied by before gradients are taken: float32 values, canonical."""
    values = generator(key, f"cotangent/{name}").standard_normal(tuple(shape))
    return values.astype(np.float32).astype(np.float64)


def cast(arrays: Mapping[str, np.ndarray], precision: str) -> Arrays:
    """Floating arrays in ``precision``, all else as it is."""
    return {n: a.astype(precision) if a.dtype.kind == "f" else a for n, a in arrays.items()}


class ReferenceRequests:
    """A reference that is nothing but a model."""

    def __init__(self, program: Any) -> None:
        self.program = program

    def describe(self) -> dict[str, Any]:
        return dict(self.program.describe())

    def environment(self) -> dict[str, str]:
        from importlib.metadata import version

        import keras
        import tensorflow as tf

        return {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": version("numpy")}

    def initial(self) -> bytes:
        """The weights that the model has when it is built."""
        return packed(weights=self.program.initial())

    def settled(self, case: bytes) -> bytes:
        given = unpacked(case)
        weights = self.program.settled(given["weights"], cast(given["inputs"], "float64"))
        return packed(weights={n: a.astype(np.float32) for n, a in weights.items()})

    def table(self, case: bytes) -> dict[str, Any]:
        given = unpacked(case)
        table = self.program.table(given.get("weights", {}), cast(given["inputs"], "float64"))
        return dict(table.to_plain())

    def departed(self, case: bytes, path: str, departures: Sequence[Mapping[str, Any]]) -> bytes:
        """What the layer at ``path`` is given (group "given") and gives ("result"), and what it
        would give if it were another ("departed", by number, where it can be)."""
        given = unpacked(case)
        found = self.program.departed(
            given.get("weights", {}),
            cast(given["inputs"], "float64"),
            path,
            departures,
            given.get("others", {}),
        )
        return packed(**found)

    def forward(self, case: bytes, key: int, precisions: Sequence[str] = PRECISIONS) -> bytes:
        """Outputs and gradients in each precision, with floors."""
        given = unpacked(case)
        weights = given.get("weights", {})
        arrays: dict[str, Arrays] = {}
        floors: dict[str, Arrays] = {}

        def cotangents(name: str, shape: tuple[int, ...]) -> np.ndarray:
            return cotangent(key, name, shape)

        for precision in precisions:
            inputs = cast(given["inputs"], precision)
            own = self.program.forward(precision, weights, inputs, cotangents)
            copies = []
            for number in range(NETWORK_COPIES):
                rng = generator(key, f"floor/{precision}/{number}")
                near = {n: moved(a, precision, rng) for n, a in weights.items()}
                around = {
                    n: moved(a, precision, rng) if a.dtype.kind == "f" else a
                    for n, a in inputs.items()
                }
                copies.append(self.program.forward(precision, near, around, cotangents))
            arrays[precision] = own
            floors[precision] = floors_of(own, copies, precision)
            if precision == "float64":
                native = self.program.forward(precision, weights, inputs, cotangents, exact=False)
                floors[precision] |= _with_reading(floors[precision], own, native)
        return Trace(arrays, floors).to_bytes()


def _with_reading(floors: Arrays, exact: Arrays, native: Arrays) -> Arrays:
    """Floors whose bound has what separates the program as written from the framework's own run,
    which keeps some constants in float32: a port may do either."""
    return {
        name: floors[name] + np.abs(array - native[name]).max(initial=0.0) / FLOAT64_FLOORS
        for name, array in exact.items()
        if array.dtype.kind == "f" and np.isfinite(native[name]).all()
    }


def _replaced(given: Mapping[str, Arrays], prints: Sequence[Any]) -> list[tuple[Any, np.ndarray]]:
    arrays = given.get("replaced", {})
    return [(tuple(print_), arrays[str(number)]) for number, print_ in enumerate(prints)]


class PortRequests:
    """A port that is nothing but a module."""

    def __init__(self, program: Any) -> None:
        self.program = program

    def describe(self) -> dict[str, Any]:
        return dict(self.program.describe())

    def environment(self) -> dict[str, str]:
        import torch

        return {"torch": str(torch.__version__), "torch_threads": str(torch.get_num_threads())}

    def take(self, named: bool) -> None:
        """Pass inputs by keyword from now on, or by position."""
        self.program.named = named

    def accepts(self, case: bytes, named: bool) -> str | None:
        self.take(named)
        found: str | None = self.program.accepts(cast(unpacked(case)["inputs"], "float64"))
        return found

    def table(self, case: bytes, replaced: Sequence[Any] = ()) -> dict[str, Any]:
        """What it computes; ``replaced`` are fingerprints, whose tensors are in the case's group
        "replaced", by number."""
        given = unpacked(case)
        table = self.program.table(
            given.get("values", {}), cast(given["inputs"], "float64"), _replaced(given, replaced)
        )
        return dict(table.to_plain())

    def tensors(
        self, case: bytes, wanted: Sequence[Sequence[float]], replaced: Sequence[Any] = ()
    ) -> bytes:
        """The tensors that have these fingerprints, as "number of it/number of the tensor"."""
        given = unpacked(case)
        inputs = cast(given["inputs"], "float64")
        found = self.program.tensors(
            given.get("values", {}),
            inputs,
            [tuple(print_) for print_ in wanted],
            _replaced(given, replaced),
        )
        return packed(tensors=found)

    def outputs(self, case: bytes) -> dict[str, list[int]]:
        """Names and shapes of the outputs."""
        given = unpacked(case)
        inputs = cast(given["inputs"], "float64")
        found = self.program.forward("float64", given.get("values", {}), inputs, None, dict)
        return {n.removeprefix("outputs/"): list(a.shape) for n, a in found.items()}

    def forward(
        self,
        case: bytes,
        key: int,
        outputs: Mapping[str, Sequence[Any]],
        precisions: Sequence[str] = PRECISIONS,
    ) -> bytes:
        """Outputs, as the reference names and lays them out, and gradients in each precision.

        Args:
            outputs: the reference's name -> (the port's, whether its channels come first).
        """
        given = unpacked(case)

        def as_reference(found: Mapping[str, Any]) -> dict[str, Any]:
            return {
                name: found[own].movedim(1, -1) if first else found[own]
                for name, (own, first) in outputs.items()
                if own in found
            }

        def cotangents(name: str, shape: tuple[int, ...]) -> np.ndarray:
            return cotangent(key, name, shape)

        arrays = {}
        for precision in precisions:
            inputs = cast(given["inputs"], precision)
            values = given.get("values", {})
            arrays[precision] = self.program.forward(
                precision, values, inputs, cotangents, as_reference
            )
        return Trace(arrays, notes={"changed": sorted(self.program.changed)}).to_bytes()
