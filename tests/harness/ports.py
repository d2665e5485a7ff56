"""Wrong ports for the tests, the project's own with mutants in it; and a golden with a gap."""

from __future__ import annotations

from pathlib import Path

from ebm.mutants import MUTANTS
from parity.golden import goldens
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


def write_golden_without(file: str, folder: Path) -> None:
    """The committed golden without the answers of one file, and a manifest that hides it."""
    golden = goldens.read(ROOT / "goldens")
    groups = {
        name.removesuffix(".safetensors"): {key: golden.answers[key] for key in keys}
        for name, keys in golden.files.items()
        if name != file
    }
    goldens.write(
        folder,
        pair=golden.pair,
        seed=golden.seed,
        plan=golden.plan,
        environment=golden.environment,
        sources=golden.sources,
        groups=groups,
    )
