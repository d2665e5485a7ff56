"""Which room of the harness may import which, and that no import goes round in a circle."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping

import pytest

from tests.harness.ports import ROOT

ROOMS = (
    "errors",
    "values",
    "declare",
    "verdict",
    "correspond",
    "side",
    "frameworks",
    "ask",
    "draw",
    "entries",
    "explain",
    "golden",
    "tell",
    "mutants",
    "doctor",
    "commands",
)
"""From the ground up: a room imports itself and those before it. What lies beside them in the
package (``cli``, ``testing``, the plugin for pytest) is used by no room."""

MOST = 22
"""Files and folders at the top of the package."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "parity").rglob("*.py")
}

Imports = Mapping[str, set[str]]


def imported(source: str, modules: Mapping[str, object]) -> set[str]:
    """The modules that a source text imports, anywhere in it, also where only types are checked."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in inside}
    return found & set(modules)


def imports() -> dict[str, set[str]]:
    return {name: imported(path.read_text(), MODULES) - {name} for name, path in MODULES.items()}


def upward(found: Imports) -> Iterator[str]:
    """Every import of a room above, or of what belongs to no room, in words."""
    order = {f"parity.{room}": floor for floor, room in enumerate(ROOMS)}

    def floor(module: str) -> int:
        return order.get(".".join(module.split(".")[:2]), len(ROOMS))

    for module, others in found.items():
        for other in others - {"parity"}:  # its version, and what a declaration is made of
            if floor(other) > floor(module):
                yield f"{module} imports {other}"


def test_a_room_imports_no_room_above_it() -> None:
    assert sorted(upward(imports())) == []


def test_no_import_goes_round_in_a_circle() -> None:
    graphlib.TopologicalSorter(imports()).prepare()


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("parity.values.cases", "parity.ask.session"),
        ("parity.entries.runner", "parity.explain.explain"),
        ("parity.ask.workers", "parity.cli"),
    ],
)
def test_that_an_import_upward_would_be_seen(module: str, other: str) -> None:
    assert {module, other} <= set(MODULES)
    assert list(upward({**imports(), module: {other}})) == [f"{module} imports {other}"]


def test_that_a_circle_would_be_seen() -> None:
    source = "if TYPE_CHECKING:\n    from parity.ask import session\n"
    found = imports()
    found["parity.ask.worker"] |= imported(source, MODULES)
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(found).prepare()


def test_there_is_a_room_for_everything() -> None:
    names = {
        path.name
        for path in (ROOT / "parity").iterdir()
        if path.is_file() or any(path.rglob("*.py"))  # what has moved leaves its __pycache__
    }
    assert len(names) <= MOST
    beside = {"__init__.py", "__main__.py", "cli.py", "py.typed", "pytest_plugin.py", "testing.py"}
    assert names - beside == {"errors.py", *ROOMS} - {"errors"}
