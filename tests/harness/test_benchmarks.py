"""What ``make bench`` makes of times; that they are kept is its own to say, on an idle machine."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks.timing import Timed, in_turn, ratios
from tests.harness.ports import ROOT

CLOCKS = {f"time.{name}" for name in ("time", "perf_counter", "monotonic")}


def test_commands_run_in_turn_and_the_first_round_is_not_counted() -> None:
    ran: list[str] = []

    def run(command: Sequence[str]) -> None:
        ran.extend(command)

    timed = in_turn({"one": ("a",), "other": ("b",)}, 2, run)
    assert ran == ["a", "b"] * 3
    assert [(each.name, len(each.wall)) for each in timed] == [("one", 2), ("other", 2)]


def test_a_command_that_fails_has_no_time() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        in_turn({"fails": ("-c", "raise SystemExit(3)")}, 1)


def test_ratios_are_of_the_same_round() -> None:
    """The second round was slow for both, as where the machine had other work."""
    base = Timed("base", (1.0, 10.0, 1.0), (1.0, 1.0, 1.0))
    twice = Timed("twice", (2.0, 20.0, 2.5), (2.0, 2.0, 2.0))
    assert ratios([base, twice]) == [1.0, 2.0]


def test_a_promise_that_is_not_kept_is_said() -> None:
    def found(bare: float, gate: float) -> list[str]:
        return bench.broken([Timed("bare calls", (bare,), (0,)), Timed("gate", (gate,), (0,))])

    assert found(3.0, 4.0) == []
    assert found(3.0, 6.0) == [
        "gate takes 2.00 times what bare calls take; promised is at most 1.5"
    ]
    assert found(9.0, 12.0) == ["gate takes 12.0 s; promised is 10 s"]


def clocks(path: Path) -> set[str]:
    """The wall clocks that a file reads."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {ast.unparse(call.func).removesuffix("_ns") for call in calls} & CLOCKS


def test_no_test_compares_times_that_other_work_makes_longer(tmp_path: Path) -> None:
    """``soak`` tells how long it took, and compares nothing."""
    read = {str(p.relative_to(ROOT)): clocks(p) for p in (ROOT / "tests").rglob("*.py")}
    assert {name for name, found in read.items() if found} <= {"tests/soak.py"}
    bad = tmp_path / "test_bad.py"
    bad.write_text("import time\nassert time.perf_counter() < time.time()\n")
    assert clocks(bad) == {"time.perf_counter", "time.time"}
