"""Weights and parameters as the pieces that correspond one to one, and the usual way between them.

Not every weight is one parameter: attention stacks three projections, a recurrent layer of torch
has a second bias. What is stacked is looked at piece by piece. The way from a weight to a parameter
is the usual conversion of the kind of layer and no other: an arrangement that would make a fault
vanish is no correspondence.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from parity.correspond.layout import Layout, full_map, matrix, permuted

GATES = (1, 0, 2)
"""Keras packs a GRU's gates as z, r, h; torch as r, z, n."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """A weight of the reference, or one row of a stacked one.

    Attributes:
        weight: its name, that is its place among the model's weights.
        shape: of the piece.
        path: for people, and for names.
        role: "dense", "convolution", "transposed", "depthwise", "table", "einsum", "gru", "vector".
        layer: path of the layer that has it.
        name: its own name in that layer, "kernel".
        part: (number, of how many) along the first axis; None for a whole weight.
        equation: of an einsum.
        trainable: whether it is trained.
    """

    weight: str
    shape: tuple[int, ...]
    path: str
    role: str
    layer: str
    name: str
    part: tuple[int, int] | None = None
    equation: str | None = None
    trainable: bool = True
    kind: str = ""

    @property
    def family(self) -> str | None:
        """What sort of layer has it, where its class says so."""
        return family(self.kind)

    @property
    def words(self) -> str:
        return (
            f"{self.path}/{self.name}"
            if self.part is None
            else f"{self.path}/{self.name}[{self.part[0]}]"
        )


@dataclasses.dataclass(frozen=True)
class Slot:
    """A parameter of the port, or one of the pieces that are stacked in it.

    Attributes:
        parameter: its name.
        shape: of the piece.
        owner, kind: path and class of the module that has it.
        layout: what the owner's class says of the order of its axes; None if nothing.
        part: (number, of how many) along the first axis; None for a whole parameter.
        hint: what the piece is by the owner's class, "query" say.
    """

    parameter: str
    shape: tuple[int, ...]
    owner: str
    kind: str
    layout: str | None
    part: tuple[int, int] | None = None
    hint: str = ""
    trainable: bool = True

    @property
    def family(self) -> str | None:
        """What sort of module has it, where its class says so."""
        return family(self.kind)

    @property
    def words(self) -> str:
        if self.part is None:
            return self.parameter
        return f"{self.parameter}[{self.hint or self.part[0]}]"

    @property
    def leaf(self) -> str:
        return self.parameter.rpartition(".")[2]


def family(kind: str) -> str | None:
    """Normalisations, slopes and tables hold nothing of another's; all else may."""
    if "Norm" in kind:
        return "normalisation"
    if "PReLU" in kind:
        return "slope"
    if kind in ("Embedding", "EmbeddingBag"):
        return "table"
    plain = r"(Linear|Dense|EinsumDense|(Depthwise|Separable)?Conv(Transpose)?\dd?(Transpose|d)?)"
    return "kernel" if re.fullmatch(plain, kind) else None


_CONVOLUTIONS = re.compile(r"(Conv|Separable)\w*")
_OPERATIONS = {
    "MatMul": "dense",
    "BatchMatMulV2": "dense",
    "Conv2D": "convolution",
    "Conv3D": "convolution",
    "DepthwiseConv2dNative": "depthwise",
    "Conv2DBackpropInput": "transposed",
    "Conv3DBackpropInputV2": "transposed",
    "ResourceGather": "table",
    "GatherV2": "table",
}


def role_of(weight: Mapping[str, Any], operations: Sequence[str]) -> str:
    """What a weight is for: by its layer if that is known, else by what takes it."""
    kind, name, rank = weight["kind"], weight.get("role", ""), len(weight["shape"])
    if rank >= 2 and kind.startswith("GRU"):
        return "gru"
    if "kernel" in name or name == "embeddings":
        if kind.startswith("Depthwise") or name == "depthwise_kernel":
            return "depthwise"
        if "Transpose" in kind:
            return "transposed"
        if _CONVOLUTIONS.match(kind):
            return "convolution"
        if kind == "EinsumDense":
            return "einsum"
        if kind == "Embedding":
            return "table"
        if rank == 2:
            return "dense"
    if kind == "EinsumDense" and weight.get("equation"):
        return "einsum"
    for operation in operations:
        if operation in _OPERATIONS and rank >= 2:
            return _OPERATIONS[operation]
    return "vector"


def pieces(
    weights: Sequence[Mapping[str, Any]], operations: Mapping[str, Sequence[str]]
) -> list[Piece]:
    """The pieces of the reference's weights."""
    found = []
    for weight in weights:
        role = role_of(weight, operations.get(weight["name"], ()))
        path = weight["path"].rpartition("/")[0] or weight["path"]
        piece = Piece(
            weight["name"],
            tuple(weight["shape"]),
            path,
            role,
            _layer(weight),
            weight.get("role") or weight["path"].rpartition("/")[2],
            equation=weight.get("equation"),
            trainable=weight["trainable"],
            kind=weight["kind"],
        )
        if role == "gru" and piece.name == "bias" and len(piece.shape) == 2:
            found += [
                dataclasses.replace(piece, shape=piece.shape[1:], part=(n, 2), name=f"bias_{side}h")
                for n, side in enumerate("ih")
            ]
        else:
            found.append(piece)
    return found


def _layer(weight: Mapping[str, Any]) -> str:
    """The layer that is given what the weight is applied to: of a recurrent cell the one around
    it, for the cell is given a step of it."""
    layer = str(weight["layer"] or weight["name"])
    return layer.rpartition("/")[0] or layer if weight["kind"].endswith("Cell") else layer


def slots(parameters: Sequence[Mapping[str, Any]]) -> list[Slot]:
    """The pieces of the port's parameters."""
    found = []
    for parameter in parameters:
        shape = tuple(parameter["shape"])
        whole = Slot(
            parameter["name"],
            shape,
            parameter["owner"],
            parameter["kind"],
            parameter["layout"],
            trainable=parameter["trainable"],
        )
        if parameter["heads"] and shape and shape[0] % 3 == 0:
            part = (shape[0] // 3, *shape[1:])
            found += [
                dataclasses.replace(whole, shape=part, part=(n, 3), hint=hint)
                for n, hint in enumerate(("query", "key", "value"))
            ]
        else:
            found.append(whole)
    return found


def stacked(slot: Slot, parts: int) -> list[Slot]:
    """A slot as ``parts`` that are stacked in it."""
    size = (slot.shape[0] // parts, *slot.shape[1:])
    return [dataclasses.replace(slot, shape=size, part=(n, parts)) for n in range(parts)]


def way(piece: Piece, slot: Slot, turned: bool | None) -> Layout | None:
    """The usual conversion of the piece to the slot, or None if there is none.

    Args:
        turned: whether the port gives the parameter, a bare matrix, to an operation as its
            transpose; None if that is not known.
    """
    shape, target = piece.shape, slot.shape
    if piece.role in ("vector",) or len(shape) < 2:
        return _vector(piece, slot)
    if len(target) < 2:
        return _vector(piece, slot) if piece.role == "einsum" else None
    if piece.role == "table":
        return permuted(shape, (0, 1), target, "rows columns") if len(shape) == 2 else None
    if piece.role == "gru":
        return _gru(shape, slot, turned)
    if piece.role == "einsum":
        return _einsum(piece, slot, turned)
    if piece.role == "dense" and len(shape) == 2:
        return _dense(shape[0], shape[1], slot, turned, "in out")
    if slot.layout == "in out ..." and piece.role != "transposed":
        return None
    rank = len(shape)
    spatial = tuple(range(rank - 2))
    if piece.role == "convolution":
        return permuted(shape, (rank - 1, rank - 2, *spatial), target, "... in out -> out in ...")
    if piece.role == "transposed":
        if slot.layout == "out in ...":
            return None
        return permuted(shape, (rank - 1, rank - 2, *spatial), target, "... out in -> in out ...")
    if piece.role == "depthwise":
        channels = shape[-2] * shape[-1]
        if target[0] != channels or math.prod(target) != math.prod(shape):
            return None
        axes = (rank - 2, rank - 1, *spatial)
        if [n for n in target[1:] if n != 1] != [n for n in shape[:-2] if n != 1]:
            return None
        return Layout(shape, axes, target, "... in m -> (in m) 1 ...")
    return None


def _vector(piece: Piece, slot: Slot) -> Layout | None:
    shape, target = piece.shape, slot.shape
    if math.prod(shape) != math.prod(target):
        return None
    if slot.layout == "gru" and len(shape) == 1 and shape[0] % 3 == 0 and "bias" in piece.name:
        units = shape[0] // 3
        return Layout((3, units), (0, 1), target, "z r h -> r z n", (0, GATES))
    if piece.role == "einsum" and len(target) == 1:
        return Layout(shape, tuple(range(len(shape))), target, "flattened")
    if len(shape) >= 2:
        first = (len(shape) - 1, *range(len(shape) - 1))
        return permuted(shape, first, target, "... c -> c ...") or permuted(
            shape, range(len(shape)), target, "as it is"
        )
    return permuted(shape, range(len(shape)), target, "as it is")


def _dense(inputs: int, outputs: int, slot: Slot, turned: bool | None, words: str) -> Layout | None:
    if slot.layout == "rows columns":
        return None
    if slot.layout in ("out in", "gru"):
        return matrix(inputs, outputs, slot.shape, f"{words} -> out in")
    if slot.layout == "out in ...":
        return matrix(inputs, outputs, slot.shape, f"{words} -> out in ...") or full_map(
            inputs, outputs, slot.shape
        )
    if slot.layout == "in out ...":
        return None
    straight = matrix(inputs, outputs, slot.shape, words, turned=False)
    other = matrix(inputs, outputs, slot.shape, f"{words} -> out in")
    if turned is None:
        return straight or other
    return other if turned else straight


def _gru(shape: tuple[int, ...], slot: Slot, turned: bool | None) -> Layout | None:
    inputs, outputs = shape
    if slot.layout != "gru":
        return _dense(inputs, outputs, slot, turned, "in out")
    if slot.shape != (outputs, inputs):
        return None
    return Layout(
        (inputs, 3, outputs // 3), (1, 2, 0), slot.shape, "in (z r h) -> (r z n) in", (1, GATES)
    )


def _einsum(piece: Piece, slot: Slot, turned: bool | None) -> Layout | None:
    """A kernel of any rank as the matrix that it is: what is summed over, and what is left."""
    assert piece.equation is not None
    operands, result = piece.equation.replace(" ", "").split("->")
    _, letters = operands.split(",")
    if len(letters) != len(piece.shape):
        return None
    left = [n for n, letter in enumerate(letters) if letter in result]
    summed = [n for n in range(len(letters)) if n not in left]
    if sorted([*summed, *left]) != [*summed, *left]:
        return None
    inputs = math.prod(piece.shape[n] for n in summed)
    outputs = math.prod(piece.shape[n] for n in left)
    flat = _dense(inputs, outputs, slot, turned, "(in) (out)")
    return flat
