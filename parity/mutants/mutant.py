"""A mutant: edits of a port's files that put one fault into it; several go together."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

from parity.errors import BadCall
from parity.explain.catalogue import CATALOGUE


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One fault, as an edit of the port, so that what is checked differs in nothing else.

    Attributes:
        name: what is wrong, in a few words.
        fault: what ``parity explain`` must name, an id of the catalogue.
        file: of the port, relative to the project, ``package/module.py``.
        replacements: (text of the file, which is there once; text to put there).
        red: checks that must not be green.
        green: checks that must stay green, for the fault is not theirs.
        where: every place that the fault must be named at, as a cause's ``where``.
        follows: ids that may be named besides, for they are true of this port too.
        unexplained: places that may be left unexplained, each with the reason why.
        interactions: what it shows together with others and not alone.
    """

    name: str
    fault: str
    file: str
    replacements: tuple[tuple[str, str], ...]
    red: tuple[str, ...]
    green: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    unexplained: tuple[tuple[str, str], ...] = ()
    interactions: tuple[Interaction, ...] = ()

    def __post_init__(self) -> None:
        if self.fault not in CATALOGUE:
            raise BadCall(f"mutant {self.name!r}: fault {self.fault!r} is not in the catalogue")
        if len(Path(self.file).parts) < 2:
            raise BadCall(f"mutant {self.name!r}: {self.file} must be 'package/module.py'")
        if not self.where:
            raise BadCall(f"mutant {self.name!r}: say where its fault must be named, where=(...)")

    @property
    def named(self) -> frozenset[tuple[str, str]]:
        """The fault at each place that it must be named at."""
        return frozenset((self.fault, place) for place in self.where)


@dataclasses.dataclass(frozen=True)
class Interaction:
    """What mutants show together and not alone, and why that is right.

    Attributes:
        mutants: names; it holds for every combination that has all of them.
        why: one sentence.
        gone: (id, where) of theirs that need not be named.
        more: (id, where) that may be named besides; an empty ``where`` is any.
        unexplained: places that may be left unexplained.
    """

    mutants: tuple[str, ...]
    why: str
    gone: tuple[tuple[str, str], ...] = ()
    more: tuple[tuple[str, str], ...] = ()
    unexplained: tuple[str, ...] = ()


def interacting(
    mutants: Sequence[Mutant], interactions: Sequence[Interaction]
) -> tuple[Mutant, ...]:
    """The mutants, each with the interactions that it has a part in.

    Raises:
        BadCall: an interaction is of a name that is no mutant's.
    """
    names = {mutant.name for mutant in mutants}
    if unknown := sorted({name for each in interactions for name in each.mutants} - names):
        raise BadCall(f"interactions of {unknown}, which are no mutants")
    return tuple(
        dataclasses.replace(m, interactions=tuple(i for i in interactions if m.name in i.mutants))
        for m in mutants
    )


class Conflict(Exception):
    """Mutants that change the same text, so that no port can have both."""


def edited(mutants: Sequence[Mutant], root: Path) -> dict[str, str]:
    """The files that the mutants change, by name, with all their edits.

    Edits are tried in every order: one may leave the text that another needs only if it comes
    second.

    Raises:
        Conflict: in no order does each find its text exactly once.
        BadCall: a mutant alone does not fit the port.
    """
    original = {m.file: (root / m.file).read_text() for m in mutants}
    for order in itertools.permutations(mutants):
        files = dict(original)
        if all(_apply(mutant, files) for mutant in order):
            return files
    if len(mutants) == 1:
        raise BadCall(
            f"mutant {mutants[0].name!r} does not fit {mutants[0].file}: each text it replaces "
            "must be there exactly once"
        )
    raise Conflict(" and ".join(mutant.name for mutant in mutants))


def _apply(mutant: Mutant, files: dict[str, str]) -> bool:
    text = files[mutant.file]
    for old, new in mutant.replacements:
        if text.count(old) != 1:
            return False
        text = text.replace(old, new)
    files[mutant.file] = text
    return True


def write(mutants: Sequence[Mutant], root: Path, folder: Path) -> Path:
    """The packages that the mutants change, edited, in ``folder``; returns it, an overlay."""
    files = edited(mutants, root)
    for package in {Path(name).parts[0] for name in files}:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / package, folder / package, ignore=ignored, dirs_exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder
