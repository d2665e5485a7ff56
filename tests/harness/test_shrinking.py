"""The failing case, small, and the lines of Python that run it by themselves."""

from __future__ import annotations

import itertools
import re
import subprocess
import types
from pathlib import Path

import pytest
from hypothesis import strategies as st

from parity.ask import warm
from parity.ask.session import Session
from parity.cli import _parser
from parity.commands import check as check_command
from parity.draw.plan import Plan, draw
from parity.draw.profiles import Profile
from parity.entries import shrinking
from parity.entries.runner import run_checks
from parity.entries.shrinking import keep, smallest
from parity.mutants.mutant import write
from parity.testing import reproduce
from parity.values.cases import Case
from parity.verdict.outcome import CheckResult, Outcome, pool
from tests.harness.ports import ROOT, mutant, write_port
from tests.harness.test_cli import parity


def size(case: Case) -> int:
    """Numbers in its images, times the steps that they go."""
    return case.images.size * (case.sampler.steps if case.sampler is not None else 1)


PROFILE = Profile("shrinking", 4, 6, 2, 2, 4, 1, 1, 1, 1, published_steps=4)


@pytest.mark.few(0)
@pytest.mark.parametrize(
    ("name", "check", "images"),
    [
        ("energies averaged before the gradient", "samples_teacher_forced", 2),
        ("swish to relu", "energies", 1),
        ("sign of the loss flipped", "losses", 2),
    ],
)
def test_a_failing_case_gets_small_and_still_fails(
    name: str, check: str, images: int, parity_session: Session, tmp_path: Path
) -> None:
    with parity_session.with_overlay(write([mutant(name)], ROOT, tmp_path)):
        (red,) = run_checks(parity_session, draw(parity_session, PROFILE, 0), only=(check,))
        case = smallest(parity_session, red, PROFILE, 0)
        assert case is not None
        (again,) = run_checks(parity_session, Plan(), only=(check,), case=case)
    assert not again.verdict.green
    assert red.first_bad is not None
    assert red.first_bad.case is not None
    assert len(case.images) <= images < len(red.first_bad.case.images)
    assert size(case) < size(red.first_bad.case)
    path = keep(case, check, tmp_path)
    assert Case.load(tmp_path / path).digest == case.digest


@pytest.mark.few(0)
def test_a_green_check_has_no_failing_case(parity_session: Session) -> None:
    (check,) = run_checks(parity_session, draw(parity_session, PROFILE, 0), only=("energies",))
    assert smallest(parity_session, check, PROFILE, 0) is None


@pytest.mark.few(0)
def test_the_lines_that_are_printed_run_by_themselves(tmp_path: Path) -> None:
    spec = write_port(["swish to relu"], tmp_path)
    ran = parity("check", "--port", spec, "--only", "energies")
    assert ran.returncode == 1
    told = ran.stdout.splitlines()
    (smallest_at,) = [n for n, line in enumerate(told) if "or its smallest case" in line]
    verdicts = [n for n, line in enumerate(told) if line.startswith("NO PARITY: divergent")]
    assert verdicts[0] < smallest_at < verdicts[1] == len(told) - 1
    lines = re.findall(r"^ +((?:from parity|reproduce\().*)$", ran.stdout, re.MULTILINE)
    assert len(lines) == 2, ran.stdout
    python = subprocess.run(
        [*warm.interpreter("command"), "-u", "-c", "\n".join(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert python.returncode == 1
    assert "AssertionError: energies: divergent" in python.stderr
    (path,) = re.findall(r"'(\.parity/failing/energies-[0-9a-f]{8}\.safetensors)'", lines[1])
    reproduce("ebm.pair:pair", ROOT / path, "energies")  # the port itself is green on it


class Asked:
    """Stands for a session whose recipes are numbers, and whose check is red from 1,000 on."""

    port_hung = False

    def __init__(self, monkeypatch: pytest.MonkeyPatch, least: int = 1000) -> None:
        self.runs: list[int] = []
        self.fails_at: int | None = None
        monkeypatch.setattr(shrinking, "_like", lambda *_: st.integers(0, 10**6))
        monkeypatch.setattr(shrinking, "make_case", lambda _, recipe: recipe)

        def run(_: object, plan: Plan, *, only: tuple[str, ...], case: int) -> list[CheckResult]:
            self.runs.append(case)
            if len(self.runs) == self.fails_at:
                raise RuntimeError("the search for a cause of this went wrong")
            return [red_check() if case >= least else green_check()]

        monkeypatch.setattr(shrinking, "run_checks", run)


def red_check() -> CheckResult:
    case = types.SimpleNamespace(
        origin={"weights": {}}, settings=None, sampler=None, training=None, to_bytes=lambda: b""
    )
    return pool("energies", [Outcome("energies", failure="it raised", case=case)], 0.0)  # type: ignore[arg-type]


def green_check() -> CheckResult:
    return pool("energies", [Outcome("energies", looked=True)], 0.0)


def shrunk(asked: Asked, found: list[object] | None = None) -> object:
    kept = [] if found is None else found
    return smallest(asked, red_check(), PROFILE, 0, found=kept.append)  # type: ignore[arg-type]


def test_shrinking_ends_by_count_where_nothing_smaller_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, found = Asked(monkeypatch), []  # type: ignore[var-annotated]
    assert shrunk(asked, found) == 1000 == found[-1]
    assert len(asked.runs) <= shrinking.TRIES
    after = len(asked.runs) - 1 - asked.runs.index(1000)
    assert after <= shrinking.STALE
    monkeypatch.setattr(shrinking, "STALE", 3)
    few = Asked(monkeypatch)
    shrunk(few)
    assert len(few.runs) < len(asked.runs)
    monkeypatch.setattr(shrinking, "TRIES", 5)
    least = Asked(monkeypatch)
    shrunk(least)
    assert len(least.runs) == 5


def test_a_case_that_no_recipe_repeats_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, least=10**7)
    assert isinstance(shrunk(asked), types.SimpleNamespace)
    assert len(asked.runs) <= shrinking.TRIES


def test_what_ends_the_search_leaves_what_it_had_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, found = Asked(monkeypatch), []  # type: ignore[var-annotated]
    asked.fails_at = 12
    with pytest.raises(RuntimeError, match="went wrong"):
        shrunk(asked, found)
    assert len(asked.runs) == 12
    assert found
    assert found == sorted(found, reverse=True)


def test_a_fast_clock_ends_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis itself would stop after five minutes."""
    quiet = Asked(monkeypatch)
    shrunk(quiet)
    clock = itertools.count(0.0, 1000.0)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    busy = Asked(monkeypatch)
    shrunk(busy)
    assert busy.runs == quiet.runs


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("it went wrong")])
@pytest.mark.parametrize("had", [True, False])
def test_a_search_that_is_stopped_takes_nothing_away(
    error: BaseException, had: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _parser().parse_args(["check", "--golden", str(ROOT / "goldens")])
    run = check_command._Run(options)
    run.checks = [green_check(), red_check()]
    drawn, smaller = run.checks[1].outcomes[0].case, object()

    def stopped(*arguments: object) -> None:
        if had:
            arguments[-1](smaller)  # type: ignore[operator]
        raise error

    monkeypatch.setattr(shrinking, "smallest", stopped)
    monkeypatch.setattr(shrinking, "keep", lambda *_: Path("kept"))
    run._shrink(None, lambda *_: None)  # type: ignore[arg-type]
    assert run.failing == {"energies": (smaller if had else drawn, Path("kept"))}
    assert len(run.remarks) == 1
    assert (run.ending is error) == isinstance(error, KeyboardInterrupt)
    assert run.stopped is None
