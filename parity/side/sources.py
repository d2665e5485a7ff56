"""The files that a side's answers may depend on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from parity.values.frames import PACKAGE

OTHERS = ("build", "dist", "docs", "goldens", "node_modules", "tests")
"""Folders of a project that its reference is not made of; nor are those that begin with a dot."""

GENERATED = "__autograph_generated_file"
"""How TensorFlow calls what it makes of a program's own functions, in a temporary folder."""


def files_of(root: Path) -> list[Path]:
    """The files that an answer may depend on: the project's, and the harness's own."""
    found = list(_files(PACKAGE.resolve()))
    found += _files(root.resolve(), OTHERS)
    return sorted(set(found))


def _files(folder: Path, without: tuple[str, ...] = ()) -> Iterator[Path]:
    for path, folders, names in os.walk(folder):
        top = Path(path) == folder
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__pycache__")) and not (top and name in without)
        ]
        yield from (Path(path) / name for name in names if not name.startswith("."))


def installed(path: str) -> bool:
    """Whether it belongs to Python or to an installed package, which its version stands for."""
    prefixes = (sys.prefix, sys.base_prefix)
    return "site-packages" in path or path.startswith(prefixes) or path.endswith(".zip")


def strangers(root: Path) -> list[str]:
    """Source files that this process has imported and :func:`files_of` does not have."""
    known = {str(path) for path in files_of(root)}
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    return sorted(
        file
        for file in files
        if os.path.isabs(file)
        and not installed(file)
        and not os.path.basename(file).startswith(GENERATED)
        and os.path.realpath(file) not in known
    )
