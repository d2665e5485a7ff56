"""The kill matrix in a report of ``parity mutants``: mutant by check, and what went wrong."""

from __future__ import annotations

import dataclasses

from parity.tell.render.reading import Node

JOIN = " + "


@dataclasses.dataclass(frozen=True)
class Mutant:
    """What became of a port with these mutants in it."""

    names: tuple[str, ...]
    faults: tuple[str, ...]
    visible: tuple[str, ...]
    caught: bool
    named: bool
    red: tuple[str, ...]
    found: tuple[str, ...]
    missed: tuple[str, ...]
    wrong: tuple[str, ...]
    seconds: float | None

    @property
    def good(self) -> bool:
        """Caught and named, or green if it is the reference's program."""
        return self.named and self.caught == bool(self.visible)


@dataclasses.dataclass(frozen=True)
class Size:
    """How many combinations of so many mutants there are, caught and named."""

    faults: int
    ports: int
    caught: int
    named: int


@dataclasses.dataclass(frozen=True)
class KillMatrix:
    """``singles`` are the rows of the matrix; ``bad`` what is not good; the rest is counted."""

    checks: tuple[str, ...]
    singles: tuple[Mutant, ...]
    sizes: tuple[Size, ...]
    bad: tuple[Mutant, ...]
    masked: tuple[Mutant, ...]
    equivalent: tuple[Mutant, ...]


def kill_matrix(report: Node) -> KillMatrix | None:
    """None for a report that judged no mutants."""
    nodes = report.get("mutants")
    if nodes.value is None:
        return None
    mutants = [_mutant(node) for node in nodes.items()]
    names = [check["name"].text() for check in report["checks"].items()]
    names += sorted({check for mutant in mutants for check in mutant.red} - set(names))
    counted = [m for m in mutants if m.visible == m.names]
    return KillMatrix(
        checks=tuple(names),
        singles=tuple(m for m in mutants if len(m.names) == 1),
        sizes=tuple(
            _size(n, [m for m in counted if len(m.names) == n])
            for n in sorted({len(m.names) for m in counted})
        ),
        bad=tuple(m for m in mutants if not m.good),
        masked=tuple(m for m in mutants if m.visible and m.visible != m.names),
        equivalent=tuple(m for m in mutants if not m.visible),
    )


def _size(n: int, mutants: list[Mutant]) -> Size:
    return Size(n, len(mutants), sum(m.caught for m in mutants), sum(m.named for m in mutants))


def _mutant(node: Node) -> Mutant:
    names = tuple(node["id"].text().split(JOIN))
    visible = node.get("visible")
    return Mutant(
        names=names,
        faults=tuple(node["faults"].texts()),
        visible=names if visible.value is None else tuple(visible.texts()),
        caught=node["caught"].flag(),
        named=node["named"].flag(),
        red=tuple(node.get("red").texts()),
        found=tuple(node.get("found").texts()),
        missed=tuple(node.get("missed").texts()),
        wrong=tuple(node.get("wrong").texts()),
        seconds=node.get("seconds").number(),
    )
