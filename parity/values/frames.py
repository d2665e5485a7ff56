"""Whose code a frame is: the harness's, Python's, an installed package's or the user's."""

from __future__ import annotations

import os
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
"""The harness's own files, as they are imported."""


def place_in(traceback: str) -> str | None:
    """file:line of the last frame of a traceback that is the user's own."""
    for file, line in reversed(re.findall(r'^  File "([^"]+)", line (\d+)', traceback, re.M)):
        foreign = file.startswith((str(PACKAGE), "<")) or "site-packages" in file
        if not (foreign or file.startswith(os.path.dirname(os.__file__))):
            path = Path(file)
            here = path.is_relative_to(Path.cwd())
            return f"{path.relative_to(Path.cwd()) if here else path}:{line}"
    return None
