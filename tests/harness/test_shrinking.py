"""The failing case, small, and the lines of Python that run it by themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from parity.cases import Case
from parity.mutants.mutant import write
from parity.plan import Plan, draw
from parity.profiles import Profile
from parity.runner import run_checks
from parity.session import Session
from parity.shrinking import keep, smallest
from parity.testing import reproduce
from tests.harness.ports import ROOT, mutant, write_port
from tests.harness.test_cli import parity


def size(case: Case) -> int:
    """Numbers in its images, times the steps that they go."""
    return case.images.size * (case.sampler.steps if case.sampler is not None else 1)


PROFILE = Profile("shrinking", 4, 6, 2, 2, 4, 1, 1, 1, 1, published_steps=4)


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


def test_a_green_check_has_no_failing_case(parity_session: Session) -> None:
    (check,) = run_checks(parity_session, draw(parity_session, PROFILE, 0), only=("energies",))
    assert smallest(parity_session, check, PROFILE, 0) is None


def test_the_lines_that_are_printed_run_by_themselves(tmp_path: Path) -> None:
    spec = write_port(["swish to relu"], tmp_path)
    ran = parity("check", "--port", spec, "--only", "energies")
    assert ran.returncode == 1
    lines = re.findall(r"^ +((?:from parity|reproduce\().*)$", ran.stdout, re.MULTILINE)
    assert len(lines) == 2, ran.stdout
    python = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True
    )
    assert python.returncode == 1
    assert "AssertionError: energies: divergent" in python.stderr
    (path,) = re.findall(r"'(\.parity/failing/energies-[0-9a-f]{8}\.safetensors)'", lines[1])
    reproduce("ebm.pair:pair", ROOT / path, "energies")  # the port itself is green on it
