"""A named cause, and a divergence for which none was found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from parity.explain.catalogue import CATALOGUE

DROP = 1e6
"""By how much undoing a cause must lower the residual, where it does not lower it to the bound."""


@dataclasses.dataclass(frozen=True)
class Cause:
    """A fault found in a port.

    Attributes:
        id: of the catalogue.
        where: layer, sub-step or quantity.
        residual_before: relative residual as the port is; None for a fault that is an event and not
            a number, such as a mode that is left behind.
        residual_after: the same with the fault undone.
        evidence: what was seen, one sentence.
        fix: one line; the catalogue's unless this place needs another.
        reading: what else the same behaviour may be, if two readings are possible.
        reading_ids: the faults of each such reading.
        part: the path of the part of the port concerned, under which its place is looked for
            (``frameworks.torch.places``).
        place: of the port's source, "port_torch/langevin.py:58"; empty if it is not known.
    """

    id: str
    where: str
    residual_before: float | None = None
    residual_after: float | None = None
    evidence: str = ""
    fix: str = ""
    reading: str = ""
    reading_ids: tuple[tuple[str, ...], ...] = ()
    part: str = ""
    place: str = ""

    def __post_init__(self) -> None:
        if self.id not in CATALOGUE:
            raise KeyError(f"fault {self.id!r} is not in the catalogue")
        if not self.fix:
            object.__setattr__(self, "fix", CATALOGUE[self.id].fix)

    @property
    def title(self) -> str:
        return CATALOGUE[self.id].title

    @property
    def source(self) -> str:
        """The thread or page that describes the fault."""
        return CATALOGUE[self.id].source

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "where": self.where,
            "place": self.place or None,
            "fix": self.fix,
            "source": self.source,
            "residual_before": self.residual_before,
            "residual_after": self.residual_after,
            "evidence": self.evidence,
            "reading": self.reading,
        }


@dataclasses.dataclass(frozen=True)
class Unexplained:
    """A divergence that nothing in the catalogue reproduces; said plainly, never guessed.

    ``part`` and ``place`` are as a cause's.
    """

    where: str
    evidence: str
    part: str = ""
    place: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"where": self.where, "place": self.place or None, "evidence": self.evidence}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What was found: causes, and what none was found for.

    ``training_waits``: training is red too, and can only be told once the causes are mended.
    ``errors``: those of parity's own, which kept it from looking for causes somewhere.
    """

    causes: tuple[Cause, ...] = ()
    unexplained: tuple[Unexplained, ...] = ()
    training_waits: bool = False
    errors: tuple[Exception, ...] = ()


Found = TypeVar("Found", Cause, Unexplained)


def placed(found: Sequence[Found], places: Mapping[str, str]) -> list[Found]:
    """Each with the place of its part or, where there is none, of what that is a part of."""
    return [dataclasses.replace(each, place=_place(each.part, places)) for each in found]


def _place(part: str, places: Mapping[str, str]) -> str:
    while part and part not in places:
        part = part.rpartition("/")[0]
    return places.get(part, "")


def verified(before: float, after: float, bound: float) -> bool:
    """Whether undoing a cause mends it: down to the bound, or by a factor of ``DROP``."""
    return before > bound and (after <= bound or before >= DROP * after)
