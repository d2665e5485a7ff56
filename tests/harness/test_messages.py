"""The wording of what is wrong, and that what a message offers is what the project accepts."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path

from parity.commands.config import apply_waivers, load_config
from parity.tell.messages import acceptance, command, failure_lines, headline
from parity.values.frames import place_in
from parity.verdict.comparison import Comparison, Element, Verdict
from parity.verdict.outcome import CheckResult, Outcome, pool

TODAY = datetime.date(2026, 1, 1)


def divergent(**fields: object) -> CheckResult:
    worst = Element((1, 2), 0.5, 0.75)
    numbers = {"residual": 0.25, "floor": 1e-16, "scale": 0.5, "mismatched": 3, "size": 6}
    array = Comparison("samples[4]", Verdict.DIVERGENT, worst=worst, **{**numbers, **fields})  # type: ignore[arg-type]
    return pool("samples_free_running", [Outcome("samples_free_running", (array,))], 0.0)


def test_headline_then_count_worst_and_bound_with_its_origin() -> None:
    assert headline(divergent()) == "samples_free_running: divergent first at samples[4]"
    assert failure_lines(divergent())[:3] == [
        "3 of 6 elements differ by more than the bound",
        "worst at [1, 2]: reference 0.5, port 0.75, difference 0.25",
        "allowed: 6.4e-15 = 64 x the noise floor 1e-16, measured on the reference with every "
        "input, weight and bias moved by one unit in the last place",
    ]


def test_the_offered_entry_waives_exactly_this(tmp_path: Path) -> None:
    check = divergent()
    entry = acceptance(check, TODAY + datetime.timedelta(days=90))
    (tmp_path / "pyproject.toml").write_text(f"[tool.parity]\naccept = [{entry}]\n")
    waivers = load_config(tmp_path).accept
    (accepted,), problems = apply_waivers([check], waivers, TODAY)
    assert accepted.accepted == "why this may be so"
    assert problems == []
    (worse,), problems = apply_waivers([divergent(residual=0.5)], waivers, TODAY)
    assert worse.accepted is None
    assert "is unused: remove it" in problems[0]


def test_what_raised_or_was_left_behind_cannot_be_waived() -> None:
    for outcome in (
        Outcome("state_restored", findings=({"id": "x", "message": "left in eval mode"},)),
        Outcome("energies", failure="the port raised ValueError: no"),
    ):
        assert acceptance(pool(outcome.check, [outcome], 0.0), TODAY) is None
    invalid = divergent(problem="energies has shape () from the port")
    assert acceptance(invalid, TODAY) is None


def test_a_command_is_quoted_for_the_shell() -> None:
    options = [("--port", "my port.py"), ("--golden", None)]
    assert command("m:p", options, "energies") == (
        "parity check m:p --port 'my port.py' --only energies"
    )
    assert tomllib.loads('a = "b"')  # the format that entries are in


def test_the_place_of_a_traceback_is_the_users_own_last_line() -> None:
    here = Path.cwd() / "port" / "model.py"
    text = (
        "Traceback (most recent call last):\n"
        '  File "/x/site-packages/torch/nn/module.py", line 1, in _call_impl\n'
        f'  File "{here}", line 12, in forward\n'
        '  File "/elsewhere/helper.py", line 7, in pad\n'
        '  File "/x/site-packages/torch/functional.py", line 99, in pad\n'
        "RuntimeError: no\n"
    )
    assert place_in(text) == "/elsewhere/helper.py:7"
    assert place_in(text.replace("/elsewhere/helper.py", str(here))) == "port/model.py:7"
    assert place_in("RuntimeError: no") is None
