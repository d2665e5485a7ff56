"""``parity`` imports without either framework, and neither side's code knows of ``parity``."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.harness.ports import ROOT

LIGHT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "tensorflow", "keras"):
            raise ImportError(f"{{name}} is imported")

sys.meta_path.insert(0, Refuse())
import {modules}
"""
PARENT = (
    *sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "parity").rglob("*.py")
        if not {"frameworks", "__main__.py"} & set(path.parts)
    ),
    "ebm.pair",
)


def imports(*modules: str) -> subprocess.CompletedProcess[str]:
    """Import ``modules`` where importing a framework raises."""
    command = [sys.executable, "-c", LIGHT.format(modules=", ".join(modules))]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_parent_imports_no_framework() -> None:
    assert "parity.commands.check" in PARENT
    found = imports(*(module.removesuffix(".__init__") for module in PARENT))
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("module", ["port_torch.langevin", "parity.frameworks.torch.side"])
def test_that_test_can_fail(module: str) -> None:
    found = imports(module)
    assert found.returncode != 0
    assert "torch" in found.stderr


@pytest.mark.parametrize("package", ["reference_tf", "port_torch"])
def test_neither_side_knows_of_parity(package: str) -> None:
    for path in (ROOT / package).glob("*.py"):
        assert "parity" not in imported_names(path.read_text()), path


def test_that_a_side_that_knew_would_be_seen() -> None:
    assert "parity" in imported_names("def f():\n    from parity.values.cases import Case\n")


@pytest.mark.parametrize(
    "name", ["energy_model", "langevin", "images", "replay_buffer", "training", "checkpoint"]
)
def test_the_two_sides_mirror_each_other(name: str) -> None:
    """The same files with the same public functions and classes, in the same order."""
    reference, port = (
        [
            node.name
            for node in ast.parse((ROOT / package / f"{name}.py").read_text()).body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        ]
        for package in ("reference_tf", "port_torch")
    )
    own = {"EnergyModel", "SameConv2d", "same_padding", "evaluating"}  # torch's share of the work
    assert [n for n in port if n not in own] == reference


def imported_names(text: str) -> set[str]:
    """Top-level packages that a source text imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names
