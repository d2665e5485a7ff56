"""Wrong ports for the tests: the project's own with mutants in it."""

from __future__ import annotations

from pathlib import Path

from ebm.mutants import MUTANTS
from parity.mutants.mutant import Mutant, write

ROOT = Path(__file__).resolve().parents[2]


def mutant(name: str) -> Mutant:
    """The project's mutant of that name."""
    (found,) = [each for each in MUTANTS if each.name == name]
    return found


def write_port(names: list[str], folder: Path) -> str:
    """The port with the named mutants in it, written to ``folder``; returns its SPEC."""
    overlay = write([mutant(name) for name in names], ROOT, folder / "overlay")
    path = folder / "mutated.py"
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(overlay)!r})\nfrom ebm.pair import port as side\n"
    )
    return str(path)
