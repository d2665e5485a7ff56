"""Finding which slot of the port holds which piece of the reference, by running both.

A weight is told by what it is applied to: going along the data with the weights found so far, the
parameter of the port whose operand has the values of a weight's operand is a candidate for it.
Where several are (branches of one input and one shape), names and order make a first choice, and
what is computed behind them decides. Where no value decides, because the port departs before, order
and names do, and the answer says so.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.correspond.layout import Layout
from parity.correspond.pieces import Piece, Slot, stacked, way
from parity.values.table import Fingerprint, Table, meet

Arrays = Mapping[str, np.ndarray]

PASSES = 400
"""The most runs of the port."""


@dataclasses.dataclass(frozen=True)
class Placed:
    """A piece in its slot.

    Attributes:
        how: what told: "values" (its operand has the reference's values), "shape" (no other fits),
            "names", "order".
    """

    piece: Piece
    slot: Slot
    layout: Layout
    how: str


@dataclasses.dataclass(frozen=True)
class Correspondence:
    """Which parameter holds which weight.

    Attributes:
        placed: what was found, in the order of the reference's weights.
        missing: pieces without a slot.
        filled: parameter -> the number it is filled with: a second recurrent bias with 0, the
            scale of a normalisation that the reference has none of with 1.
        unused: parameters that hold nothing of the reference's.
    """

    placed: tuple[Placed, ...]
    missing: tuple[Piece, ...] = ()
    filled: Mapping[str, float] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def to_plain(self) -> list[dict[str, Any]]:
        """One row for each weight that was found, for reports."""
        return [
            {
                "weight": placed.piece.words,
                "parameters": [placed.slot.words],
                "layout": placed.layout.words,
                "how": placed.how,
            }
            for placed in self.placed
        ]

    def values(
        self, weights: Arrays, parameters: Mapping[str, Sequence[int]]
    ) -> dict[str, np.ndarray]:
        """The port's parameters from the reference's weights; those that hold none are left out."""
        found: dict[str, np.ndarray] = {}
        for name, number in self.filled.items():
            found[name] = np.full(parameters[name], number, np.float32)
        for placed in self.placed:
            array = np.asarray(weights[placed.piece.weight])
            if placed.piece.part is not None:
                array = array[placed.piece.part[0]]
            value = placed.layout.apply(array)
            if placed.slot.part is None:
                found[placed.slot.parameter] = value
                continue
            number, _ = placed.slot.part
            whole = found.setdefault(
                placed.slot.parameter, np.zeros(parameters[placed.slot.parameter], value.dtype)
            )
            size = placed.slot.shape[0]
            whole[number * size : (number + 1) * size] = value
        return found

    def gradients(
        self, arrays: Arrays, shapes: Mapping[str, Sequence[int]]
    ) -> dict[str, np.ndarray]:
        """The port's gradients by parameter as the reference's by weight, where they are whole."""
        found: dict[str, np.ndarray] = {}
        parts: dict[str, dict[int, np.ndarray]] = {}
        for placed in self.placed:
            if placed.slot.parameter not in arrays:
                continue
            array = arrays[placed.slot.parameter]
            if placed.slot.part is not None:
                number, size = placed.slot.part[0], placed.slot.shape[0]
                array = array[number * size : (number + 1) * size]
            value = placed.layout.invert(array, placed.piece.shape)
            if placed.piece.part is None:
                found[placed.piece.weight] = value
            else:
                parts.setdefault(placed.piece.weight, {})[placed.piece.part[0]] = value
        for weight, rows in parts.items():
            stack = np.stack([rows[n] for n in sorted(rows)])
            if stack.shape == tuple(shapes[weight]):
                found[weight] = stack
        return found


@dataclasses.dataclass(frozen=True)
class _Choice:
    """A piece for which values left several slots: what was found before, and the other slots."""

    piece: Piece
    before: dict[Piece, Placed]
    others: tuple[tuple[Slot, Layout], ...]


class Matching:
    """One search.

    Args:
        reference: the reference's table.
        pieces: of its weights.
        slots: of the port's parameters.
        weights: the values of the reference's weights, by name.
        parameters: the shape of each parameter.
        run: the port's table with given parameters.
    """

    def __init__(
        self,
        reference: Table,
        pieces: Sequence[Piece],
        slots: Sequence[Slot],
        weights: Arrays,
        parameters: Mapping[str, Sequence[int]],
        run: Callable[[dict[str, np.ndarray]], Table],
    ) -> None:
        self.reference, self.pieces, self.slots = reference, list(pieces), list(slots)
        self.weights, self.parameters, self._run = weights, parameters, run
        self.runs = 0
        self._found: dict[Piece, Placed] = {}
        self._choices: list[_Choice] = []
        self._table: Table | None = None
        self._operands = _operands(reference, {call.path: call.given for call in reference.calls})
        self._first: dict[str, int] = {}
        for number, use in enumerate(reference.uses):
            self._first.setdefault(use.weight, number)

    def find(self) -> Correspondence:
        """The correspondence."""
        self._stack_projections()
        self.run()
        self._alone()
        self._go_on()
        while self.runs < PASSES and self._open():
            self._revise()
            if not self._by_order():
                break
            self._go_on()
        self._revise()
        return self._answer()

    def _go_on(self) -> None:
        """Place by values until nothing more is found."""
        while self.runs < PASSES and (open_ := self._open()):
            if not self._by_values(self.run(), open_):
                return
        self.run()

    def _revise(self) -> None:
        """Where values left a choice, take another if more of the reference is then found.

        What was placed after the choice is placed anew, for it followed from it.
        """
        assert self._table is not None
        best = self.score(self._table)
        number = len(self._choices) - 1
        while number >= 0 and best < self._whole() and self.runs < PASSES:
            choice = self._choices[number]
            kept = dict(self._found), list(self._choices), self._table
            for slot, layout in choice.others:
                self._found, self._choices = dict(choice.before), self._choices[:number]
                self._place(choice.piece, slot, layout, "values")
                self._complete(choice.piece)
                self._go_on()
                score = self.score(self._table)
                if score > best:
                    best, number = score, len(self._choices)
                    break
                self._found, self._choices, self._table = dict(kept[0]), list(kept[1]), kept[2]
            number -= 1

    # Parts of the search.

    def run(self) -> Table:
        """The port's table with what was found so far."""
        self.runs += 1
        self._table = self._run(self._answer().values(self.weights, self.parameters))
        return self._table

    def _open(self) -> list[Piece]:
        """Pieces without a slot that some free slot fits, in the order in which they are used."""
        open_ = [p for p in self.pieces if p not in self._found and self._fitting(p)]
        return sorted(
            open_, key=lambda p: (self._first.get(p.weight, len(self._first)), p.part or ())
        )

    def _free(self) -> list[Slot]:
        taken = {placed.slot for placed in self._found.values()}
        return [slot for slot in self.slots if slot not in taken]

    def _fitting(self, piece: Piece) -> list[tuple[Slot, Layout]]:
        turned = {} if self._table is None else _turned(self._table)
        found = []
        for slot in self._free():
            layout = way(piece, slot, turned.get(slot.parameter))
            if layout is not None and _roles_agree(piece, slot):
                found.append((slot, layout))
        return found

    def _alone(self) -> None:
        """Pieces and slots that fit nothing else."""
        fits = {piece: self._fitting(piece) for piece in self.pieces}
        wanted: dict[Slot, int] = {}
        for options in fits.values():
            for slot, _ in options:
                wanted[slot] = wanted.get(slot, 0) + 1
        for piece, options in fits.items():
            if len(options) == 1 and wanted[options[0][0]] == 1:
                self._place(piece, *options[0], "shape")

    def _by_values(self, table: Table, open_: Sequence[Piece]) -> bool:
        """Place all whose operand is found, each with the rest of its layer."""
        operands = _operands(table, {call.path: call.given for call in table.calls})
        placed = False
        for piece in open_:
            if piece in self._found:
                continue
            mine = self._of(self._operands, piece)
            options = [
                (slot, layout)
                for slot, layout in self._fitting(piece)
                if meet(mine, operands.get(slot.parameter, ()) or operands.get(slot.owner, ()))
                or meet(mine, operands.get(slot.owner, ()))
            ]
            if options:
                best, *others = self._ranked(piece, options, names_first=True)
                if others:
                    self._choices.append(_Choice(piece, dict(self._found), tuple(others)))
                self._place(piece, *best, "values")
                self._complete(piece)
                placed = True
        return placed

    def _by_order(self) -> bool:
        """Place the first layer that is left, as the order of use has it, and names."""
        for piece in self._open():
            if len(piece.shape) < 2 and any(
                p.layer == piece.layer and len(p.shape) > 1 for p in self._open()
            ):
                continue  # its layer's kernel says more
            options = self._fitting(piece)
            if options:
                self._place(piece, *self._ranked(piece, options, names_first=False)[0], "order")
                self._complete(piece)
                return True
        return False

    def _complete(self, piece: Piece) -> None:
        """The rest of a piece's layer, where its slot's module leaves one place for it."""
        owner = self._found[piece].slot.owner
        for other in self.pieces:
            if other.layer != piece.layer or other in self._found:
                continue
            options = [option for option in self._fitting(other) if option[0].owner == owner]
            if options:
                best = self._ranked(other, options, names_first=True)[0]
                self._place(other, *best, self._found[piece].how)

    def _place(self, piece: Piece, slot: Slot, layout: Layout, how: str) -> None:
        self._found[piece] = Placed(piece, slot, layout, how)

    def _ranked(
        self, piece: Piece, options: Sequence[tuple[Slot, Layout]], *, names_first: bool
    ) -> list[tuple[Slot, Layout]]:
        """Options, the likeliest first."""
        order = {} if self._table is None else _order(self._table)
        layer = {p.slot.owner for q, p in self._found.items() if q.layer == piece.layer}

        def rank(option: tuple[Slot, Layout]) -> tuple[float, ...]:
            slot = option[0]
            place = self.slots.index(slot)
            when = (order.get(slot.parameter, len(order) + place), place)
            named = -_names_alike(piece, slot)
            return (
                -float(slot.owner in layer),
                *((named, *when) if names_first else (*when, named)),
            )

        return sorted(options, key=rank)

    def _stack_projections(self) -> None:
        """Matrices of the port that hold several of the reference's, one above another."""
        wanted = [p for p in self.pieces if p.role in ("dense", "einsum", "vector")]
        for slot in list(self.slots):
            if slot.part is not None or slot.layout != "out in" or slot.kind != "Linear":
                continue
            if any(way(piece, slot, None) for piece in self.pieces):
                continue
            for parts in (2, 3, 4):
                if slot.shape[0] % parts:
                    continue
                split = stacked(slot, parts)
                if sum(way(piece, split[0], None) is not None for piece in wanted) >= parts:
                    at = self.slots.index(slot)
                    self.slots[at : at + 1] = split
                    break

    def _of(self, operands: Mapping[str, Sequence[Fingerprint]], piece: Piece) -> list[Fingerprint]:
        return [*operands.get(piece.weight, ()), *operands.get(piece.layer, ())]

    def score(self, table: Table, but: Sequence[Fingerprint] = ()) -> int:
        """How much of what the reference's layers give, and of what uses of weights give, the port
        has too; values like those of ``but`` do not count."""
        index = table.index()
        found = [f for call in self.reference.calls for f in call.result]
        found += [use.result for use in self.reference.uses if use.result is not None]
        return sum(f in index and not meet([f], but) for f in found)

    def _whole(self) -> int:
        return sum(len(call.result) for call in self.reference.calls) + sum(
            use.result is not None for use in self.reference.uses
        )

    def _answer(self) -> Correspondence:
        placed = tuple(self._found[p] for p in self.pieces if p in self._found)
        filled, unused = _left(self._free(), placed)
        return Correspondence(
            placed, tuple(p for p in self.pieces if p not in self._found), filled, unused
        )


def _operands(
    table: Table, given: Mapping[str, Sequence[Fingerprint]]
) -> dict[str, list[Fingerprint]]:
    """By weight and by layer: the values that it is applied to."""
    found: dict[str, list[Fingerprint]] = {}
    for use in table.uses:
        kept = found.setdefault(use.weight, [])
        if len(kept) < 64:
            kept += use.operands
    for call in table.calls:
        found.setdefault(call.path, []).extend(call.given)
    return found


def _turned(table: Table) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for use in table.uses:
        if use.transposed is not None:
            found.setdefault(use.weight, use.transposed)
    return found


def _order(table: Table) -> dict[str, int]:
    found: dict[str, int] = {}
    for use in table.uses:
        found.setdefault(use.weight, len(found))
    return found


_ROLES = {
    "gamma": ("weight", "gamma", "scale", "g"),
    "scale": ("weight", "gamma", "scale", "g"),
    "beta": ("bias", "beta", "shift", "b"),
    "bias": ("bias", "beta", "shift", "b"),
    "moving_mean": ("running_mean", "mean"),
    "moving_variance": ("running_var", "var", "variance"),
    "bias_ih": ("bias_ih",),
    "bias_hh": ("bias_hh",),
}
_STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}


def _roles_agree(piece: Piece, slot: Slot) -> bool:
    """Statistics are buffers and gammas no biases, in modules that have both by name."""
    if slot.family is not None and piece.family is not None and slot.family != piece.family:
        return False
    if (piece.name in _STATISTICS) != (slot.leaf in _STATISTICS.values()):
        return (piece.name not in _STATISTICS and slot.leaf not in _STATISTICS.values()) or (
            piece.name in _STATISTICS
            and not slot.trainable
            and slot.leaf not in _STATISTICS.values()
        )
    if piece.name in _STATISTICS:
        return slot.leaf == _STATISTICS[piece.name]
    if piece.name in ("gamma", "beta") and slot.leaf in ("weight", "bias") and len(slot.shape) == 1:
        return (piece.name == "gamma") == (slot.leaf == "weight")
    if piece.name == "bias" and slot.leaf == "weight" and len(slot.shape) == 1:
        return False
    if piece.name in ("bias_ih", "bias_hh") and slot.kind in ("GRU", "GRUCell"):
        return slot.leaf.startswith(piece.name)
    if piece.name.startswith("recurrent") and slot.leaf.startswith("weight_ih"):
        return False
    if piece.name == "kernel" and slot.leaf.startswith("weight_hh"):
        return False
    return not (piece.name == "bias" and slot.leaf.startswith("bias_hh"))


_ALIKE = {
    "kernel": "weight",
    "embeddings": "weight",
    "embedding": "weight",
    "gamma": "weight",
    "beta": "bias",
    "backward": "reverse",
    "conv2d": "conv",
    "conv1d": "conv",
    "dense": "linear",
    "fc": "linear",
    "query": "q",
    "key": "k",
    "value": "v",
}


def _tokens(text: str) -> set[str]:
    words = re.split(r"[^a-zA-Z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower())
    return {_ALIKE.get(word, word) for word in words if word}


def _names_alike(piece: Piece, slot: Slot) -> float:
    one = _tokens(f"{piece.path} {piece.name}")
    other = _tokens(
        f"{slot.parameter} {slot.hint} {'reverse' if slot.leaf.endswith('reverse') else ''}"
    )
    if slot.hint and slot.hint in f"{piece.path}/{piece.name}":
        return 10.0
    return len(one & other) / max(1, min(len(one), len(other)))


def _left(
    free: Sequence[Slot], placed: Sequence[Placed]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """What becomes of parameters without a weight: filled, if their module is otherwise known."""
    owners = {p.slot.owner for p in placed}
    filled: dict[str, float] = {}
    unused = []
    for slot in free:
        known = slot.owner in owners
        if known and slot.leaf.startswith("bias_hh"):
            filled[slot.parameter] = 0.0
        elif known and "Norm" in slot.kind and slot.leaf in ("weight", "bias"):
            filled[slot.parameter] = 1.0 if slot.leaf == "weight" else 0.0
        else:
            unused.append(slot.parameter)
    return filled, tuple(dict.fromkeys(unused))
