"""SPECs name objects; one that does not import shows the user's own traceback, then one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from parity.declare.specs import DoesNotImport, entry, resolve
from parity.errors import BadCall


def test_by_module_and_by_file(tmp_path: Path) -> None:
    path = tmp_path / "a_port.py"
    path.write_text("side = 3\nclass other:\n    inner = 4\n")
    assert resolve("math:pi", "side") == pytest.approx(3.14159, abs=1e-5)
    assert resolve(str(path), "side") == 3
    assert resolve(f"{path}:other.inner", "side") == 4


def test_a_file_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Seen: of two ports of one length, written within a second, the first answered for both."""
    path = tmp_path / "edited_port.py"
    for number in range(8):
        path.write_text(f"side = {number}\n")
        os.utime(path, (1e9, 1e9))
        assert resolve(str(path), "side") == number


def test_a_file_may_import_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "a_neighbour_of_the_port.py").write_text("value = 5\n")
    (tmp_path / "b_port.py").write_text("from a_neighbour_of_the_port import value as side\n")
    assert resolve(str(tmp_path / "b_port.py"), "side") == 5


@pytest.mark.parametrize("spec", ["", "  ", "justaname", "module:"])
def test_what_is_no_spec(spec: str) -> None:
    with pytest.raises(BadCall, match="SPEC"):
        resolve(spec, "side")


def test_missing_file_module_and_attribute_are_named(tmp_path: Path) -> None:
    with pytest.raises(DoesNotImport, match=r"nowhere\.py does not exist"):
        resolve(str(tmp_path / "nowhere.py"), "side")
    with pytest.raises(DoesNotImport, match="No module named 'no_such_module'"):
        resolve("no_such_module:side", "side")
    (tmp_path / "c_port.py").write_text("sides = 1\n")
    with pytest.raises(DoesNotImport, match=r"has no attribute 'side'; it has: sides"):
        resolve(str(tmp_path / "c_port.py"), "side")


def test_the_users_traceback_comes_first_and_one_line_last(tmp_path: Path) -> None:
    path = tmp_path / "d_port.py"
    path.write_text("def build():\n    return 1 / 0\n\nside = build()\n")
    with pytest.raises(DoesNotImport) as caught:
        resolve(str(path), "side")
    lines = str(caught.value).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "line 4, in <module>" in str(caught.value)
    assert "line 2, in build" in str(caught.value)
    assert "specs.py" not in str(caught.value), "our own frames help nobody"
    assert lines[-1] == f"{str(path)!r} does not import: ZeroDivisionError: division by zero"


def test_entries_are_callables_or_strings() -> None:
    assert entry(len) is len
    assert entry("math:floor")(2.5) == 2
