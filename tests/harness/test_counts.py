"""Budgets are counts: no answer depends on how fast the machine is, or on how busy."""

from __future__ import annotations

import ast
import itertools
import json
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

import parity as package
from parity.draw.drawing import drawn
from tests.harness.ports import ROOT, write_port
from tests.harness.test_cli import parity

PACKAGE = Path(package.__file__).parent

CLOCKS = {"time", "timeit", "sched"}
"""Modules that read a clock or wait for one."""

READING = {"perf_counter": "time", "monotonic": "time", "process_time": "time"}
READING |= {"alarm": "signal", "setitimer": "signal", "sigtimedwait": "signal"}
"""Functions that do, of whatever they are called on."""

ONLY_REPORTED = {
    "commands/check.py",
    "commands/mutants.py",
    "commands/programs.py",
    "commands/record.py",
    "mutants/judge.py",
    "entries/runner.py",
}
"""Where times are taken, to be told and for nothing else."""

DATES = {"commands/check.py", "commands/config.py", "tell/messages.py", "tell/report.py"}
"""Where days are compared: a waiver expires."""


def clocks_read(source: str) -> set[str]:
    """The modules with a clock that a program imports, or names to importlib."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]
        elif isinstance(node, ast.Attribute):
            names = [node.attr] if node.attr in READING else []
        found |= {name for name in names if name in CLOCKS | {"datetime"}}
        found |= {READING[name] for name in names if name in READING}
    return found


def test_nothing_that_decides_reads_a_clock() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        found = clocks_read(path.read_text())
        allowed = {"time"} if name in ONLY_REPORTED else set()
        allowed |= {"datetime"} if name in DATES else set()
        assert found <= allowed, f"{name} reads {found - allowed}: budgets are counts"


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from time import monotonic",
        "def f():\n    import time as t\n    return t.time()",
        "import importlib\nimportlib.import_module('time')",
        "import datetime",
        "x.perf_counter()",
        "import signal\nsignal.alarm(3)",
        "from signal import setitimer",
    ],
)
def test_that_test_can_fail(source: str) -> None:
    assert clocks_read(source)


FAST_CLOCK = """
import time
def faster(clock, unit):
    began = clock()
    return lambda: began + 100 * (clock() - began)
for name in ("time", "monotonic", "perf_counter", "process_time"):
    setattr(time, name, faster(getattr(time, name), 1))
for name in ("time_ns", "monotonic_ns", "perf_counter_ns", "process_time_ns"):
    setattr(time, name, faster(getattr(time, name), 1))
"""


@pytest.mark.few(0)
@pytest.mark.parametrize(
    "mutants",
    [
        ["energies averaged before the gradient", "noise added after the update"],
        ["sign of the loss flipped"],
    ],
)
def test_on_a_machine_a_hundred_times_slower_causes_are_the_same(
    mutants: list[str], tmp_path: Path
) -> None:
    """The clock of every process runs a hundred times faster, so that all seems to take longer."""
    spec = write_port(mutants, tmp_path)
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(FAST_CLOCK)
    reports = []
    for path in (ROOT, f"{slow}:{ROOT}"):
        file = tmp_path / "report.json"
        run = parity(
            *("explain", "--golden", "goldens", "--port", spec, "--json", str(file)),
            environment={"PYTHONPATH": str(path)},
        )
        assert run.returncode == 1, run.stdout + run.stderr
        report = json.loads(file.read_text())
        seconds, _ = report.pop("seconds"), report.pop("environment")
        for check in report["checks"]:
            del check["accept"]  # has the day on which it expires
        reports.append((report, seconds["total"]))
    assert reports[0][0]["causes"]
    assert reports[0][0] == reports[1][0]
    assert reports[1][1] > 5 * reports[0][1], "the clock was not faster"


def test_drawing_from_a_slow_strategy_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis's health check measures seconds; on a busy machine it ended the run."""
    clock, lists = itertools.count(0.0, 30.0), st.lists(st.integers(0, 9), max_size=3)
    quiet = drawn(lists, 20, 0)
    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.load_profile("default")  # that of the tests has the check off already
    try:
        monkeypatch.setattr("time.perf_counter", lambda: next(clock))
        assert drawn(lists, 20, 0) == quiet
    finally:
        hypothesis.settings.load_profile(before)
