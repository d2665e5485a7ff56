"""Margins, and to what a red verdict is put down: judged against a record of the green port."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from parity.errors import GoldenRefused
from parity.golden import baseline, goldens
from parity.golden.baseline import Difference, Margin, attributed
from parity.verdict.comparison import Comparison, Element, Verdict
from parity.verdict.outcome import CheckResult, Outcome, pool

NEWER_TORCH = Difference("torch", "2.13.0", "2.14.0")


def check(name: str = "energies", verdict: Verdict = Verdict.ROUNDING, floors: float = 1.0):  # type: ignore[no-untyped-def]
    """A check of one array that lies so many noise floors off."""
    worst = Element((0,), 1.0, 1.0)
    array = Comparison("a", verdict, residual=floors, floor=1.0, scale=1.0, worst=worst)
    return pool(name, [Outcome(name, (array,))], 0.0)


def test_margins_are_the_most_floors_of_green_checks_with_numbers() -> None:
    looked = pool("draw_log", [Outcome("draw_log", looked=True)], 0.0)
    red = check("activations", Verdict.DIVERGENT, 1e9)
    assert baseline.margins_of([check(floors=3.0), looked, red]) == {"energies": 3.0}


@pytest.mark.parametrize(
    ("recorded", "now", "worse"),
    [
        (1.0, 15.9, False),
        (1.0, 16.0, True),
        (3.9, 62.0, False),
        (0.0, 15.0, False),
        (0.0, 17, True),
    ],
)
def test_worse_is_sixteen_times_the_record_which_counts_as_one_floor_at_least(
    recorded: float, now: float, worse: bool
) -> None:
    assert Margin("energies", recorded, now).worse is worse


def red(*verdicts: Verdict) -> list[CheckResult]:
    return [check(verdict=verdict) for verdict in verdicts]


@pytest.mark.parametrize(
    ("verdict", "changed", "differences", "says"),
    [
        (Verdict.DIVERGENT, ["port.py"], [], "a regression of the port: in this very environment"),
        (Verdict.IMPRECISE, [], [NEWER_TORCH], "not the port, which is unchanged"),
        (Verdict.DIVERGENT, [], [NEWER_TORCH], "not the port, which is unchanged"),
        (Verdict.IMPRECISE, ["port.py"], [NEWER_TORCH], "float64 agrees, so it is still the same"),
        (Verdict.DIVERGENT, ["port.py"], [NEWER_TORCH], "no library's rounding makes float64"),
        (Verdict.DIVERGENT, [], [], "neither the port nor its environment changed"),
        (Verdict.INVALID, ["port.py"], [NEWER_TORCH], "nothing was compared that could tell which"),
    ],
)
def test_a_red_verdict_is_put_down_to_what_changed(
    verdict: Verdict, changed: list[str], differences: list[Difference], says: str
) -> None:
    sentence = attributed(red(Verdict.ROUNDING, verdict), changed, differences)
    assert says in sentence
    if changed:
        assert "port.py" in sentence
    if differences:
        assert "torch 2.13.0 -> 2.14.0" in sentence


def test_a_green_verdict_is_put_down_to_nothing() -> None:
    assert attributed(red(Verdict.ROUNDING), ["port.py"], [NEWER_TORCH]) == ""


class FakeSession:
    """A port's answers about itself."""

    root = Path()

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self._environment = root, environment

    def ask_port(self, method: str, **_: object) -> list[str]:
        assert method == "sources"
        return ["port.py"]

    def port_environment(self) -> dict[str, str]:
        return self._environment


HERE = {"python": "3.11.2", "torch": "2.13.0", "numpy": "2.4.6", "system": "Linux", "isa": "AVX2"}


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[goldens.Golden, FakeSession]:
    """A golden with the baseline of a port, and that port's session."""
    from tests.harness.test_goldens import write

    (tmp_path / "reference.py").write_text("energy = 1\n")
    (tmp_path / "port.py").write_text("energy = 1\n")
    write(tmp_path, environment={"tensorflow": "2.21.0", **HERE})
    session = FakeSession(tmp_path, dict(HERE))
    record(session, [check(floors=2.0)], tmp_path / "goldens")
    return goldens.load(tmp_path / "goldens", tmp_path, "package:pair"), session


def record(session: FakeSession, checks: list[CheckResult], golden: Path) -> str:
    """What ``parity record`` does with a port; what it says."""
    data, said = baseline.record(session, checks, golden)  # type: ignore[arg-type]
    (golden / goldens.BASELINE).write_bytes(data)
    return said


def since(
    recorded: tuple[goldens.Golden, FakeSession], checks: list[CheckResult], port: str | None = None
) -> baseline.Since:
    golden, session = recorded
    return baseline.since(golden, baseline.load(golden), session, checks, port)  # type: ignore[arg-type]


def test_the_same_port_in_the_same_environment(recorded) -> None:  # type: ignore[no-untyped-def]
    found = since(recorded, [check(floors=2.0)])
    assert found == baseline.Since(margins=(Margin("energies", 2.0, 2.0),))


def test_a_worse_margin_is_told(recorded) -> None:  # type: ignore[no-untyped-def]
    (margin,) = since(recorded, [check(floors=40.0)]).margins
    assert margin.worse
    assert "40 noise floors, 2 were recorded" in margin.in_words()


def test_in_another_environment_margins_are_not_judged_and_it_is_shown(recorded) -> None:  # type: ignore[no-untyped-def]
    recorded[1]._environment |= {"torch": "2.14.0", "isa": "AVX512"}
    found = since(recorded, [check(verdict=Verdict.DIVERGENT), check("losses", floors=60.0)])
    assert found.margins == ()
    names = [difference.name for difference in found.differences]
    assert names == ["isa", "torch", "reference's isa"]
    assert "not the port, which is unchanged since it was green" in found.attribution
    assert found.not_judged.startswith("margins were not judged, for last bits differ")
    assert "torch 2.13.0 -> 2.14.0" in found.not_judged


def test_a_patch_level_of_python_is_no_other_environment(recorded) -> None:  # type: ignore[no-untyped-def]
    for version, judged in (("3.11.7", True), ("3.11.9", True), ("3.13.7", False)):
        recorded[1]._environment["python"] = version
        found = since(recorded, [check()])
        assert bool(found.margins) is judged, version


def test_a_changed_port_is_named(recorded) -> None:  # type: ignore[no-untyped-def]
    (recorded[1].root / "port.py").write_text("energy = 2\n")
    found = since(recorded, [check(verdict=Verdict.DIVERGENT)])
    assert found.changed == ("port.py",)
    assert "a regression of the port" in found.attribution
    other = since(recorded, [check(verdict=Verdict.DIVERGENT)], port="other.py")
    assert other.changed == ("other.py",)


def test_of_a_port_that_is_not_green_the_other_margins_are_kept(recorded) -> None:  # type: ignore[no-untyped-def]
    golden, session = recorded
    checks = [check(floors=3.0), check("losses", Verdict.DIVERGENT), check("x", Verdict.UNCHECKED)]
    assert "the port is not green in losses: margins of the other" in record(
        session, checks, golden.folder
    )
    found = since(recorded, [check(floors=3.0), check("losses", Verdict.DIVERGENT)])
    assert found.margins == (Margin("energies", 3.0, 3.0),)
    assert found.attribution == "", "it was not green then either"
    said = record(session, [check(), check("x", Verdict.UNCHECKED)], golden.folder)
    assert said.endswith("but for what is unchecked: x")


def test_without_a_baseline_the_golden_still_tells_where_it_was_made(recorded) -> None:  # type: ignore[no-untyped-def]
    golden, session = recorded
    session._environment |= {"isa": "NEON"}
    (golden.folder / goldens.BASELINE).unlink()
    assert baseline.load(golden) is None
    found = since(recorded, [check(verdict=Verdict.DIVERGENT)])
    assert found.differences == (Difference("reference's isa", "AVX2", "NEON"),)
    assert found.attribution == ""
    assert found.not_judged == "margins were not judged: none are recorded"


def test_any_byte_changed_or_cut_off_is_refused(recorded) -> None:  # type: ignore[no-untyped-def]
    golden, _ = recorded
    path = golden.folder / goldens.BASELINE
    data = path.read_bytes()
    for place in range(len(data)):
        for altered in (data[:place], data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]):
            path.write_bytes(altered)
            with pytest.raises(GoldenRefused, match="baseline"):
                baseline.load(golden)


def test_the_baseline_of_another_golden_or_schema_is_refused(recorded) -> None:  # type: ignore[no-untyped-def]
    golden, _ = recorded
    path = golden.folder / goldens.BASELINE
    content = json.loads(path.read_text())["content"]
    path.write_bytes(goldens.sealed({**content, "golden": "0"}))
    with pytest.raises(GoldenRefused, match="belongs to another golden"):
        baseline.load(golden)
    path.write_bytes(goldens.sealed({**content, "schema": 2}))
    with pytest.raises(GoldenRefused, match="schema 2; this version of parity reads 1"):
        baseline.load(golden)
    for margin in ("x", "inf", -1, None):
        path.write_bytes(goldens.sealed({**content, "margins": {"energies": margin}}))
        with pytest.raises(GoldenRefused, match="holds no baseline"):
            baseline.load(golden)


def test_a_new_recording_drops_the_old_margins(recorded) -> None:  # type: ignore[no-untyped-def]
    from tests.harness.test_goldens import write

    golden, _ = recorded
    write(golden.folder.parent, seed=golden.seed + 1)
    again = dataclasses.replace(golden, seed=golden.seed + 1)
    assert baseline.load(again) is None
