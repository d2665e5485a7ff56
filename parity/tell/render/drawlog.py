"""The draw logs of both sides, draw beside draw."""

from __future__ import annotations

import dataclasses

from parity.tell.render.reading import Node

AROUND = 4
"""Draws shown at once on both sides of the first that differs."""


@dataclasses.dataclass(frozen=True)
class DrawRow:
    number: int
    reference: tuple[str, ...] | None
    port: tuple[str, ...] | None

    @property
    def same(self) -> bool:
        return self.reference == self.port


@dataclasses.dataclass(frozen=True)
class Draws:
    """The draw logs of both sides; ``first`` is the first draw that is not the same, or None."""

    title: str
    first: int | None
    lengths: tuple[int, int]
    rows: tuple[DrawRow, ...]

    @property
    def near(self) -> tuple[DrawRow, ...]:
        """What is shown at once: the draws around the first difference."""
        first = self.first
        if first is None:
            return ()
        return tuple(row for row in self.rows if abs(row.number - first) <= AROUND)


def draws(evidence: Node) -> tuple[Draws, ...]:
    return tuple(_draws(node) for node in evidence.get("draws").items())


def _draws(node: Node) -> Draws:
    sides = [[_draw(draw) for draw in node[side].items()] for side in ("reference", "port")]
    begin, first = node.get("begin").whole(0), node["first_difference"]
    n = max(map(len, sides))
    padded = [[*side, *[None] * (n - len(side))] for side in sides]
    lengths = [length.whole() for length in node.get("lengths").items()] or list(map(len, sides))
    if len(lengths) != 2:
        node["lengths"].refuse("two numbers")
    return Draws(
        title=node["title"].text(),
        first=None if first.value is None else first.whole(),
        lengths=(lengths[0], lengths[1]),
        rows=tuple(DrawRow(begin + i, *pair) for i, pair in enumerate(zip(*padded, strict=True))),
    )


def _draw(node: Node) -> tuple[str, ...]:
    """Family, count, dtype, position, and whether the harness served it."""
    return (
        node["family"].text(),
        str(node["count"].whole()),
        node["dtype"].text(),
        str(node["position"].whole()),
        "served" if node["served"].flag() else "own",
    )
