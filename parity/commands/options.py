"""What several commands make of their options; a wrong one ends the call with status 2."""

from __future__ import annotations

import tempfile
from pathlib import Path

from parity.errors import BadCall


def pair_of(given: str | None, configured: str | None) -> str:
    """The pair named in the call, or else in pyproject.toml."""
    pair = given or configured
    if pair is None:
        raise BadCall(
            "no pair given: name one as 'module:attribute', or put it into pyproject.toml as "
            "[tool.parity] pair = 'module:attribute'"
        )
    return pair


def at_least(option: str, value: int, least: int) -> None:
    """Refuse a number that is too small."""
    if value < least:
        raise BadCall(f"{option} must be at least {least}, got {value}")


def refuse_timeout(seconds: float) -> None:
    """Refuse a time in which nothing can be answered."""
    if not seconds > 0:
        raise BadCall(f"--timeout must be above 0 seconds, got {seconds:g}")


def refuse_unwritable(path: Path | None, option: str) -> None:
    """Fail before the run, not after it."""
    if path is None:
        return
    folder = path.parent
    if path.is_dir():
        raise BadCall(f"{option} {path} is a folder; expected a file to write")
    if not folder.is_dir():
        raise BadCall(f"{option} {path}: the folder {folder} does not exist")
    if path.exists() and not path.is_file():
        raise BadCall(f"{option} {path} is not an ordinary file; expected one to write")
    try:
        with tempfile.TemporaryFile(dir=folder):  # permissions do not tell: one may be root
            pass
    except OSError as error:
        raise BadCall(f"{option} {path} cannot be written: {error.strerror}") from error
