"""Which files a process has opened: what a program is made of, besides its modules.

A golden is stale when any of them changes. Files that a framework opens by itself, in C++, are not
seen; a side declares those (``sources``).
"""

from __future__ import annotations

import sys
from typing import Any

OPENED: set[str] = set()


def watch() -> None:
    """From now on, for good: an audit hook cannot be taken away (https://peps.python.org/pep-0578/)."""
    sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        OPENED.add(arguments[0])
