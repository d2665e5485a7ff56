"""The files a report is written to: JSON, JUnit, HTML, and a Markdown summary."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.commands.options import refuse_unwritable
from parity.errors import BadCall
from parity.tell.render import github
from parity.tell.report import Report, to_json
from parity.values import archive

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


class Outputs:
    """The files that were asked for: written as soon as there is something to say, and again.

    A run that is killed later has told all that it had found by then.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._summary = b""

    def write(self, report: Report | Mapping[str, Any], *, last: bool = True) -> None:
        """Write each file, whole or not at all; the summary is appended, once.

        In a GitHub workflow, annotations are printed too, with the ``last``.

        Args:
            report: or its JSON form.
            last: nothing will be added to the report.

        Raises:
            BadCall: a file cannot be written after all; the others are.
        """
        paths = {name: path for name in FILES if (path := getattr(self._options, name, None))}
        annotates = last and os.environ.get("GITHUB_ACTIONS") == "true"
        if not annotates and not paths:
            return
        document = report.to_dict() if isinstance(report, Report) else report
        with contextlib.ExitStack() as others:  # goes on with the others where one fails
            for name, path in reversed(paths.items()):
                others.callback(self._write, name, path, document)
            if annotates:
                for line in github.annotations(document):
                    print(line)

    def _write(self, name: str, path: Path, document: Mapping[str, Any]) -> None:
        try:
            if name == "summary":
                self._append(path, document)
            else:
                archive.write_whole(path, _rendered(name, document))
        except OSError as error:
            raise BadCall(f"--{name} {path} cannot be written: {error.strerror}") from error

    def _append(self, path: Path, document: Mapping[str, Any]) -> None:
        """Append the summary, in place of what an earlier call has appended, if that ends it."""
        from parity.tell.render.summary import to_markdown

        before, self._summary = self._summary, to_markdown(document).encode()
        with path.open("ab+") as file:
            if before and path.read_bytes().endswith(before):
                file.truncate(path.stat().st_size - len(before))
            file.write(self._summary)


def _rendered(name: str, document: Mapping[str, Any]) -> bytes:
    if name == "json":
        return to_json(document).encode()
    if name == "junit":
        from parity.tell.render.junit import to_xml

        return to_xml(document)
    from parity.tell.render.html import to_html

    return to_html(document).encode()
