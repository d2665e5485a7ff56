"""What GitHub shows beside the lines of a change: its workflow commands.

https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parity.verdict.comparison import Verdict


def annotations(report: Mapping[str, Any]) -> Iterator[str]:
    """An error for each cause, at its line where that is known; without causes, for each check."""
    for cause in report["causes"]:
        title = f"parity: {cause['id']}, {cause['where']}"
        yield _error(
            cause.get("place"), title, f"mend: {cause['fix']}\n{cause.get('evidence', '')}"
        )
    red = [c for c in report["checks"] if not Verdict(c["verdict"]).green and not c["accepted"]]
    if not report["causes"]:
        for check in red:
            lines = [*check.get("message", ()), *check.get("reproduction", ())]
            yield _error(check.get("place"), f"parity: {check['name']}", "\n".join(lines))
    for problem in report.get("problems", ()):
        yield _error(None, "parity", problem)
    for margin in report.get("margins", ()):
        if margin["worse"]:
            text = f"{margin['recorded']:.3g} -> {margin['now']:.3g} noise floors of 64"
            yield f"::warning title={_property('parity: margin of ' + margin['check'])}::{text}"


def _error(place: str | None, title: str, message: str) -> str:
    properties = f"title={_property(title)}"
    if place:
        file, _, line = place.rpartition(":")
        file = _in_repository(file)
        properties = f"file={_property(file)},line={line},{properties}"
    return f"::error {properties}::{_data(message.strip())}"


def _in_repository(file: str) -> str:
    """The path as GitHub knows it: from the top of the repository, not from where the run was."""
    top = os.environ.get("GITHUB_WORKSPACE")
    path = Path.cwd() / file
    if top and path.is_relative_to(top):
        return path.relative_to(top).as_posix()
    return file


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
