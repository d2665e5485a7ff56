"""One seed draws one list, whatever else is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness.ports import ROOT

DRAW = """
import sys
sys.path.insert(0, {folder!r})
{imports}
from hypothesis import given, seed, settings, strategies as st
from parity.draw.drawing import drawn
wide = st.tuples(st.integers(), st.floats(), st.text())
if {own}:
    print(drawn(wide, 40, 7))
else:
    found = []

    @seed(7)
    @settings(max_examples=40, database=None)
    @given(wide)
    def collect(value):
        found.append(value)

    collect()
    print(found)
"""


def draws(folder: Path, *, imports: str = "", own: bool = True) -> str:
    text = DRAW.format(folder=str(folder), imports=imports, own=own)
    ran = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ran.stdout


def test_a_module_that_is_loaded_changes_no_draw(tmp_path: Path) -> None:
    lines = [f"C{n} = ({n * 7919 + 101}, {n}.625, 'word {n}')" for n in range(300)]
    (tmp_path / "constants.py").write_text("\n".join(lines))
    assert draws(tmp_path) == draws(tmp_path, imports="import constants")
    plain = draws(tmp_path, own=False)
    assert plain != draws(tmp_path, imports="import constants", own=False), "nothing to guard from"
