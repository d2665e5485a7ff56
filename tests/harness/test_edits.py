"""The harness can fail: each of the wrong ports in ``edits.py`` is red in the right check."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.comparison import Verdict
from parity.profiles import Profile
from parity.runner import run_checks
from parity.session import Session
from tests.harness.edits import EDITS, Edit, write_port

# Few cases are enough: the fixed ones (trained weights, sixty steps, binding clips) are in it.
FEW = Profile("edits", 2, 6, 2, 2, 6, 2, 1, 2, 1)


def test_the_port_itself_is_green(parity_session: Session) -> None:
    checks = run_checks(parity_session, FEW)
    assert [check.name for check in checks if not check.verdict.green] == []


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_a_wrong_port_is_red(edit: Edit, parity_session: Session, tmp_path: Path) -> None:
    with parity_session.with_port(str(write_port(edit, tmp_path))):
        verdicts = {check.name: check.verdict for check in run_checks(parity_session, FEW)}
    red = {name for name, verdict in verdicts.items() if not verdict.green}
    assert set(edit.red) <= red, f"{edit.name} is not seen: {verdicts}"
    assert not set(edit.green) & red, f"{edit.name} is blamed on the wrong check: {verdicts}"
    assert Verdict.worst(verdicts.values()) in (Verdict.DIVERGENT, Verdict.INVALID)
