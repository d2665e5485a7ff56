"""Which lines of a port never ran: what is marked, where that is, and that nothing else changes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest

from parity.ask import warm
from parity.ask.recorded import Recorded
from parity.ask.session import Session
from parity.entries.runner import run_checks
from parity.golden import goldens
from tests.harness.ports import ROOT
from tests.harness.test_cli import SCHEMA, parity
from tests.harness.test_exercised import PAIR

PROGRAM = '''"""A program.

With lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import nothing

TABLE = {
    "used": lambda x: x + 1,
    "unused": lambda x: x - 1,
}


class Thing:
    """A class."""

    size: int = 3

    def grow(self, by: int) -> int:
        """Grow."""
        if by < 0:
            message = (
                "a thing cannot grow by less than nothing"
            )
            raise ValueError(message)
        self.size += by if by < 10 else 10
        return TABLE["used"](self.size)


def never() -> None:
    global SEEN
    SEEN = 1
    for _ in range(3):
        pass


try:
    result = Thing().grow(2)
except ValueError:
    result = 0
'''

RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from parity.side.lines import Marking
marking = Marking(Path({folder!r}))
import program, json
print(json.dumps([program.result, program.Thing.__doc__, program.__doc__, [
    [l.file, l.first, l.last] for l in marking.never_ran(marking.marked)
]]))
"""


def test_statements_lambdas_and_branches_that_never_ran(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    ran = subprocess.run(
        [*warm.interpreter("command"), "-u", "-c", RUN.format(folder=str(tmp_path))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    result, of_class, of_module, lines = json.loads(ran.stdout)
    assert (result, of_class, of_module[:10]) == (6, "A class.", "A program.")
    source = PROGRAM.splitlines()
    found = {source[first - 1].strip(): source[last - 1].strip() for _, first, last in lines}
    assert found == {
        '"unused": lambda x: x - 1,': '"unused": lambda x: x - 1,',
        "message = (": "raise ValueError(message)",
        "self.size += by if by < 10 else 10": "self.size += by if by < 10 else 10",
        "SEEN = 1": "pass",
        "result = 0": "result = 0",
    }


def answers(mark: bool) -> tuple[list[str], Session]:
    golden = goldens.load(ROOT / "goldens", ROOT, PAIR)
    recorded = Recorded(golden.answers, "the golden")
    with Session(PAIR, recorded=recorded, root=ROOT, mark=mark) as session:
        session.port_answers = []
        run_checks(session, golden.plan)
        assert (session.never_ran() is not None) == mark
        return session.port_answers, session


@pytest.mark.few(0)
def test_marks_change_no_bit_of_any_answer() -> None:
    (marked, _), (plain, _) = answers(True), answers(False)
    assert marked == plain
    assert len(marked) > 20


def test_a_port_that_died_has_no_lines(tmp_path: Path) -> None:
    golden = goldens.load(ROOT / "goldens", ROOT, PAIR)
    with Session(PAIR, recorded=Recorded(golden.answers, "it"), root=ROOT, mark=True) as session:
        assert session.never_ran()
        assert session.port is not None
        session.port.close()
        session.ask_port("environment")
        assert session.never_ran() is None, "another process ran nothing that the first had run"


@pytest.mark.few(0)
@pytest.mark.parametrize("narrowed", [False, True])
def test_what_was_not_exercised_is_in_the_report(narrowed: bool, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    only = ("--only", "energies") if narrowed else ()
    run = parity("check", "--golden", "goldens", "--json", str(path), *only)
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(path.read_text())
    jsonschema.validate(report, SCHEMA)
    files = {each["where"].partition(":")[0] for each in report["not_exercised"]}
    assert files <= {f"port_torch/{p.name}" for p in (ROOT / "port_torch").glob("*.py")}
    assert ("not exercised: lines that never ran: port_torch/" in run.stdout) != narrowed
    assert bool(files) != narrowed
