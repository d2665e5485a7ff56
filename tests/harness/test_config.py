"""``[tool.parity]``: read strictly; waivers cover what they say, and no more."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from parity.commands.config import Waiver, apply_waivers, load_config
from parity.errors import BadCall
from parity.verdict.comparison import Comparison, Verdict
from parity.verdict.outcome import CheckResult, Outcome

TODAY = datetime.date(2026, 6, 1)
WAIVER = Waiver("energies", "", 1e-3, "known", datetime.date(2026, 6, 1))


def configured(folder: Path, text: str):  # type: ignore[no-untyped-def]
    (folder / "pyproject.toml").write_text(text)
    return load_config(folder)


def failing(residual: float = 1e-4, array: str = "energies", **changes: object) -> CheckResult:
    comparison = Comparison(array, Verdict.DIVERGENT, residual=residual, scale=1.0)
    outcome = Outcome("energies", (comparison,))
    result = CheckResult("energies", Verdict.DIVERGENT, (outcome,), 0.0, residual=residual)
    return dataclasses.replace(result, **changes)  # type: ignore[arg-type]


def test_the_nearest_file_upwards_is_read(tmp_path: Path) -> None:
    configured(tmp_path, '[tool.parity]\npair = "a:b"\n')
    (tmp_path / "deep" / "er").mkdir(parents=True)
    config = load_config(tmp_path / "deep" / "er")
    assert (config.root, config.pair, config.accept) == (tmp_path, "a:b", ())


def test_waivers_are_read(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        '[[tool.parity.accept]]\ncheck = "energies"\nwhere = ""\nmax_residual = 1\n'
        'reason = "known"\nexpires = 2026-06-01\n',
    )
    assert config.accept == (dataclasses.replace(WAIVER, max_residual=1.0),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.parity\n", "is not valid TOML"),
        ('[tool.parity]\npear = "a:b"\n', "unknown entries pear"),
        ("[tool.parity]\npair = 3\n", "pair must be 'module:attribute', got 3"),
        ("[tool.parity]\naccept = [3]\n", "each entry of .* accept has check, where"),
        ('[[tool.parity.accept]]\ncheck = "energies"\n', "each entry of .* accept has"),
        (
            '[[tool.parity.accept]]\ncheck = "e"\nwhere = ""\nmax_residual = "big"\n'
            'reason = "r"\nexpires = 2026-06-01\n',
            "max_residual = 'big', of the wrong type",
        ),
        (
            '[[tool.parity.accept]]\ncheck = "e"\nwhere = ""\nmax_residual = 1\n'
            'reason = "r"\nexpires = "soon"\n',
            "expires = 'soon'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadCall, match=says) as caught:
        configured(tmp_path, text)
    assert "pyproject.toml" in str(caught.value)


def test_a_waiver_covers_a_known_difference_up_to_its_last_day() -> None:
    (check,), problems = apply_waivers([failing()], [WAIVER], TODAY)
    assert check.accepted == "known"
    assert problems == []
    (check,), problems = apply_waivers([failing()], [WAIVER], TODAY + datetime.timedelta(days=1))
    assert check.accepted is None
    assert "expired on 2026-06-01" in problems[0]


def test_a_waiver_does_not_cover_more_than_it_says() -> None:
    elsewhere = dataclasses.replace(WAIVER, where="conv2")
    raised = failing(outcomes=(Outcome("energies", failure="ValueError"),))
    for check, waiver in (
        (failing(residual=2e-3), WAIVER),
        (failing(array="conv1"), elsewhere),
        (raised, WAIVER),
    ):
        (result,), problems = apply_waivers([check], [waiver], TODAY)
        assert result.accepted is None
        assert "is unused: remove it" in problems[0]


def test_a_waiver_of_a_check_that_did_not_run_is_no_problem() -> None:
    other = dataclasses.replace(WAIVER, check="losses")
    _, problems = apply_waivers([failing()], [other], TODAY)
    assert problems == []
