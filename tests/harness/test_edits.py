"""The harness can fail: each wrong port in ``edits.py`` is red in the right check, and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.explain.catalogue import CATALOGUE
from parity.explain.causes import Explanation
from parity.explain.explain import explain
from parity.profiles import Profile
from parity.runner import run_checks
from parity.session import Session
from tests.harness.edits import EDITS, Edit, write_port

# Few cases are enough: the fixed ones (trained weights, sixty steps, binding clips) are in it.
FOLLOW = {
    "input-mutated": ("trajectory-aliased", "no-grad-context"),
    "gradient-not-tracked": ("no-grad-context",),
}
"""What else is true of a wrong port, besides the fault that was put into it."""

FEW = Profile("edits", 2, 4, 1, 1, 4, 1, 1, 2, 1)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_a_wrong_port_is_red_and_its_fault_is_named(
    edit: Edit, parity_session: Session, tmp_path: Path
) -> None:
    with parity_session.with_port(str(write_port(edit, tmp_path))):
        checks = run_checks(parity_session, FEW, only=(*edit.red, *edit.green))
        found = explain(parity_session, checks)
    red = {check.name for check in checks if not check.verdict.green}
    assert set(edit.red) <= red, f"{edit.name} is not seen: {checks}"
    assert not set(edit.green) & red, f"{edit.name} is blamed on the wrong check: {checks}"
    ids = [cause.id for cause in found.causes]
    if edit.fault is None:
        assert ids == []
        assert found.unexplained
    else:
        assert edit.fault in ids, f"{edit.name} is explained by {found}"
        assert set(ids) <= {edit.fault, *FOLLOW.get(edit.fault, ())}, found
        assert not found.unexplained, found


def test_the_port_itself_is_green_and_nothing_is_named_in_it(parity_session: Session) -> None:
    checks = run_checks(parity_session, FEW)
    assert [check.name for check in checks if not check.verdict.green] == []
    assert explain(parity_session, checks) == Explanation()


def test_every_fault_of_the_catalogue_has_a_wrong_port() -> None:
    assert {edit.fault for edit in EDITS} - {None} == set(CATALOGUE)
