"""Is a port with known faults caught, and are its faults, and no others, named?"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from parity.ask.session import Session
from parity.draw.plan import Plan, draw
from parity.draw.profiles import Profile
from parity.entries.runner import run_checks
from parity.explain.causes import Explanation
from parity.explain.explain import explain
from parity.mutants.mutant import Mutant, write
from parity.mutants.reached import Reached

LEAN = Profile("mutants", 2, 4, 1, 1, 4, 1, 1, 0, 1, more=0, published_steps=6, training_steps=1)
"""Few cases: a fault that needs luck to be seen is not seen by a gate either."""

Named = tuple[str, str]
"""A fault's id and where it is; of a reading that is only given besides, the place is ANYWHERE."""

ANYWHERE = ""


@dataclasses.dataclass(frozen=True)
class Mask:
    """A smaller combination, which may be all that shows of a larger one.

    Attributes:
        visible: its mutants whose faults show.
        answers, all_answers: digests of what it answered to the checks, and to explanation besides;
            None if the others of the larger combination are the same program anyway.
    """

    visible: tuple[Mutant, ...]
    answers: str | None = None
    all_answers: str | None = None


@dataclasses.dataclass(frozen=True)
class Judged:
    """What became of a port with one mutant's fault, or with those of several.

    Attributes:
        mutants: their names.
        faults: their ids, one for each mutant.
        visible: names of those whose faults can show in any answer; the others are masked by them
            from checks and probes alike. None of them, if together they are the reference's
            program.
        masked: names of those whose faults show to the probes alone: to the checks the port answers
            as without them.
        red: checks that were not green.
        found: "id at where" of each cause that was named.
        unexplained: what was said to have no cause.
        missed: "id at where" that had to be named and was not.
        wrong: "id at where" that was named and is not there, or was left unexplained.
        unnamed: names of those whose faults were missed, at one of their places or at all.
        answers: digest of all that the port answered to the checks.
        all_answers: the same, and of all that it answered to explanation.
        seconds: that it took.
    """

    mutants: tuple[str, ...]
    faults: tuple[str, ...]
    visible: tuple[str, ...]
    red: tuple[str, ...]
    found: tuple[str, ...]
    unexplained: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    answers: str = ""
    all_answers: str = ""
    seconds: float = 0.0

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
            "masked": list(self.masked),
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
    session: Session,
    mutants: Sequence[Mutant],
    folder: Path,
    masks: Sequence[Mask] = (),
    plan: Plan | None = None,
    known: Reached | None = None,
) -> Judged:
    """Check and explain the session's port with the mutants in it.

    Args:
        folder: where the mutated packages are written.
        masks: where one of these answers as this port does, only its faults can show.
        plan: of the checks; drawn here if it is not given.
        known: what other ports have answered that this one would answer alike; gets its answers.

    Raises:
        Conflict: no port can have all of them.
    """
    start = time.perf_counter()
    overlay = write(mutants, session.root, folder)
    session.port_answers = []
    places, session.finds_places = session.finds_places, False  # which lines mutants edit is known
    try:
        with session.with_overlay(overlay):
            if known is not None:
                known.lay_over(overlay)
                session.port_known = known
            plan = plan or draw(session, LEAN, 0)
            checks = run_checks(session, plan)
            answers = _digest(session.port_answers)
            explanation = explain(session, checks, plan)
            all_answers = _digest(session.port_answers)
    finally:
        session.port_answers, session.finds_places = None, places
        session.port_known = None
    alike = [mask for mask in masks if mask.answers in (None, answers)]
    hidden = [mask.visible for mask in alike if mask.all_answers in (None, all_answers)]
    # Several may answer as this port does, and nothing can tell which of them it is.
    visible = min(
        hidden or [tuple(mutants)],
        key=lambda some: len(compare(some, mutants, explanation)[0]),
    )
    missed, wrong = compare(visible, mutants, explanation)
    to_checks = max((mask.visible for mask in alike), key=len, default=tuple(mutants))
    masked = tuple(m for m in visible if m not in to_checks)
    return Judged(
        mutants=names_of(mutants),
        faults=tuple(mutant.fault for mutant in mutants),
        visible=names_of(visible),
        red=tuple(check.name for check in checks if not check.verdict.green),
        found=tuple(dict.fromkeys(in_words((c.id, c.where)) for c in explanation.causes)),
        unexplained=tuple(f"{u.where}: {u.evidence}" for u in explanation.unexplained),
        missed=tuple(in_words(named) for named in missed),
        wrong=tuple(in_words(named) for named in wrong),
        masked=names_of(masked),
        unnamed=tuple(m.name for m in visible if m.named & set(missed)),
        answers=answers,
        all_answers=all_answers,
        seconds=time.perf_counter() - start,
    )


def _digest(answers: Sequence[str]) -> str:
    return hashlib.sha256("".join(answers).encode()).hexdigest()


def names_of(mutants: Sequence[Mutant]) -> tuple[str, ...]:
    return tuple(mutant.name for mutant in mutants)


def in_words(named: Named) -> str:
    return f"{named[0]} at {named[1]}"


UNEXPLAINED = "unexplained"


def compare(
    visible: Sequence[Mutant],
    mutants: Sequence[Mutant],
    explanation: Explanation,
) -> tuple[tuple[Named, ...], tuple[Named, ...]]:
    """(faults that are visible and not named, what is named or left unexplained and is not there).

    Where rules that behave alike give several readings, the one nearest to the mutants counts.
    """
    names = set(names_of(mutants))
    together = [i for mutant in mutants for i in mutant.interactions if set(i.mutants) <= names]
    allowed = {named for mutant in mutants for named in mutant.named}
    allowed |= {(id_, ANYWHERE) for mutant in mutants for id_ in mutant.follows}
    allowed |= {named for each in together for named in each.more}
    expected = {named for mutant in visible for named in mutant.named}
    expected -= {named for each in together for named in each.gone}
    may = {where for mutant in mutants for where, _ in mutant.unexplained}
    may |= {where for each in together for where in each.unexplained}
    left = {(UNEXPLAINED, u.where) for u in explanation.unexplained if u.where not in may}

    def compared(named: Set[Named]) -> tuple[set[Named], set[Named]]:
        missed = {e for e in expected if not _among(e, named)}
        return missed, {n for n in named if not _among(n, allowed)} | left

    best = min((compared(named) for named in readings(explanation)), key=_counted)
    return tuple(sorted(best[0])), tuple(sorted(best[1]))


def _counted(compared: tuple[set[Named], set[Named]]) -> tuple[int, int]:
    return len(compared[0]), len(compared[1])


def _among(one: Named, some: Set[Named]) -> bool:
    """Whether a fault at a place is among some, of which either may be anywhere."""
    id_, where = one
    if where == ANYWHERE:
        return any(id_ == other for other, _ in some)
    return (id_, where) in some or (id_, ANYWHERE) in some


def readings(explanation: Explanation) -> list[Set[Named]]:
    """The faults that an explanation may be read as, the reading it prefers first."""
    plain = {(cause.id, cause.where) for cause in explanation.causes if not cause.reading_ids}
    groups: dict[tuple[Any, ...], set[Named]] = {}
    for cause in explanation.causes:
        if cause.reading_ids:
            groups.setdefault(cause.reading_ids, set()).add((cause.id, cause.where))
    choices = [
        [frozenset(named), *(frozenset((id_, ANYWHERE) for id_ in ids) for ids in others)]
        for others, named in groups.items()
    ]
    return [plain.union(*chosen) for chosen in itertools.product(*choices)]
