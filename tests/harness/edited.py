"""The project's port with a few words of it changed, for the tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.harness.ports import ROOT


def overlay(file: str, before: str, after: str, folder: Path) -> Path:
    """A copy of ``port_torch`` in ``folder`` in which ``before`` is ``after``; for
    ``Session.with_overlay``."""
    copied = folder / "port_torch"
    shutil.copytree(ROOT / "port_torch", copied, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copied / file).read_text()
    assert text.count(before) == 1, f"{before!r} is {text.count(before)} times in {file}"
    (copied / file).write_text(text.replace(before, after))
    return folder
