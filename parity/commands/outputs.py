"""The files a report is written to: JSON, JUnit, HTML, and a Markdown summary."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity import archive
from parity.commands.options import refuse_unwritable
from parity.errors import BadCall
from parity.render import github
from parity.report import Report, to_json

FILES = ("json", "junit", "html", "summary")


def refuse(options: argparse.Namespace) -> None:
    """Fail before the run if one of the files cannot be written."""
    paths: dict[Path, str] = {}
    for name in FILES:
        path = getattr(options, name, None)
        refuse_unwritable(path, f"--{name}")
        if path is not None and paths.setdefault(path.resolve(), name) != name:
            other = paths[path.resolve()]
            raise BadCall(f"--{name} and --{other} name the same file, {path}")
        golden = getattr(options, "golden", None)
        if path is not None and golden is not None and path.resolve().parent == golden.resolve():
            raise BadCall(f"--{name} {path} lies in the golden, which holds nothing else")


def write(report: Report | Mapping[str, Any], options: argparse.Namespace) -> None:
    """Write each file that was asked for, whole or not at all; the summary is appended.

    In a GitHub workflow, annotations are printed too.

    Args:
        report: or its JSON form.

    Raises:
        BadCall: a file cannot be written after all.
    """
    annotates = os.environ.get("GITHUB_ACTIONS") == "true"
    if not annotates and all(getattr(options, name, None) is None for name in FILES):
        return
    document = report.to_dict() if isinstance(report, Report) else report
    if annotates:
        for line in github.annotations(document):
            print(line)
    for name in FILES:
        path = getattr(options, name, None)
        if path is not None:
            try:
                _write(name, path, document)
            except OSError as error:
                raise BadCall(f"--{name} {path} cannot be written: {error.strerror}") from error


def _write(name: str, path: Path, document: Mapping[str, Any]) -> None:
    if name == "json":
        archive.write_whole(path, to_json(document).encode())
    elif name == "junit":
        from parity.render.junit import to_xml

        archive.write_whole(path, to_xml(document))
    elif name == "html":
        from parity.render.html import to_html

        archive.write_whole(path, to_html(document).encode())
    else:
        from parity.render.summary import to_markdown

        with path.open("a", encoding="utf-8") as file:
            file.write(to_markdown(document))
