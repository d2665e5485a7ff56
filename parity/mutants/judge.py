"""Is a port with known faults caught, and are its faults, and no others, named?"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from parity.explain.causes import Explanation
from parity.explain.explain import explain
from parity.mutants.mutant import Mutant, write
from parity.plan import draw
from parity.profiles import Profile
from parity.runner import run_checks
from parity.session import Session

LEAN = Profile("mutants", 2, 4, 1, 1, 4, 1, 1, 0, 1, published_steps=6)
"""Few cases: a fault that needs luck to be seen is not seen by a gate either."""

Mask = tuple[tuple[Mutant, ...], str | None]
"""A smaller combination, and the digest of its answers; None if it is the same program anyway."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """What became of a port with one mutant's fault, or with those of several.

    Attributes:
        mutants: their names.
        faults: their ids, one for each mutant.
        visible: names of those whose faults can show in any answer; the others are masked by them.
            None of them, if together they are the reference's program.
        red: checks that were not green.
        found: ids that were named.
        unexplained: what was said to have no cause.
        missed: faults that had to be named and were not.
        wrong: ids that were named and are not there.
        answers: digest of all that the port answered to the checks.
        seconds: that it took.
    """

    mutants: tuple[str, ...]
    faults: tuple[str, ...]
    visible: tuple[str, ...]
    red: tuple[str, ...]
    found: tuple[str, ...]
    unexplained: tuple[str, ...]
    missed: tuple[str, ...]
    wrong: tuple[str, ...]
    answers: str
    seconds: float

    @property
    def caught(self) -> bool:
        return bool(self.red)

    @property
    def named(self) -> bool:
        return not self.missed and not self.wrong

    def to_dict(self) -> dict[str, Any]:
        """For a report: ``id`` is all names, and what else there is to know."""
        return {
            "id": " + ".join(self.mutants),
            "faults": list(self.faults),
            "caught": self.caught,
            "named": self.named,
            "visible": list(self.visible),
            "red": list(self.red),
            "found": list(self.found),
            "missed": list(self.missed),
            "wrong": list(self.wrong),
            "unexplained": list(self.unexplained),
            "seconds": round(self.seconds, 3),
        }

    @property
    def good(self) -> bool:
        """As it should be: caught and named, or green if it is the reference's program."""
        return self.named and self.caught == bool(self.visible)


def judge(
    session: Session, mutants: Sequence[Mutant], folder: Path, masks: Sequence[Mask] = ()
) -> Judged:
    """Check and explain the session's port with the mutants in it.

    Args:
        folder: where the mutated packages are written.
        masks: where one of these answers as this port does, only its faults can show.

    Raises:
        Conflict: no port can have all of them.
    """
    start = time.perf_counter()
    overlay = write(mutants, session.root, folder)
    session.port_answers = []
    try:
        with session.with_overlay(overlay):
            plan = draw(session, LEAN, 0)
            checks = run_checks(session, plan)
            answers = hashlib.sha256("".join(session.port_answers).encode()).hexdigest()
            explanation = explain(session, checks, plan)
    finally:
        session.port_answers = None
    alike = [mask for mask, digest in masks if digest in (None, answers)] or [tuple(mutants)]
    # Several may answer as this port does, and no check can tell which of them it is.
    visible = min(alike, key=lambda mask: len(compare(mask, mutants, explanation)[0]))
    missed, wrong = compare(visible, mutants, explanation)
    return Judged(
        mutants=names_of(mutants),
        faults=tuple(mutant.fault for mutant in mutants),
        visible=names_of(visible),
        red=tuple(check.name for check in checks if not check.verdict.green),
        found=tuple(dict.fromkeys(cause.id for cause in explanation.causes)),
        unexplained=tuple(f"{u.where}: {u.evidence}" for u in explanation.unexplained),
        missed=missed,
        wrong=wrong,
        answers=answers,
        seconds=time.perf_counter() - start,
    )


def names_of(mutants: Sequence[Mutant]) -> tuple[str, ...]:
    return tuple(mutant.name for mutant in mutants)


def compare(
    visible: Sequence[Mutant], mutants: Sequence[Mutant], explanation: Explanation
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(faults that are visible and not named, ids that are named and are not there).

    Where rules that behave alike give several readings, the one nearest to the mutants counts.
    """
    expected = {mutant.fault for mutant in visible}
    allowed = {id_ for mutant in mutants for id_ in (mutant.fault, *mutant.follows)}
    best = min(readings(explanation), key=lambda ids: (len(expected - ids), len(ids - allowed)))
    return tuple(sorted(expected - best)), tuple(sorted(best - allowed))


def readings(explanation: Explanation) -> list[Set[str]]:
    """The sets of ids that an explanation may be read as, the one it prefers first."""
    plain = {cause.id for cause in explanation.causes if not cause.reading_ids}
    groups: dict[tuple[Any, ...], set[str]] = {}
    for cause in explanation.causes:
        if cause.reading_ids:
            groups.setdefault(cause.reading_ids, set()).add(cause.id)
    choices = [[frozenset(ids), *map(frozenset, others)] for others, ids in groups.items()]
    return [plain.union(*chosen) for chosen in itertools.product(*choices)]
