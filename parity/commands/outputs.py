"""The files a report is written to: JSON, JUnit, HTML, and a Markdown summary."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from parity import archive
from parity.commands.options import refuse_unwritable
from parity.render import github
from parity.report import Report, to_json

FILES = ("json", "junit", "html", "summary")


def refuse(options: argparse.Namespace) -> None:
    """Fail before the run if one of the files cannot be written."""
    for name in FILES:
        refuse_unwritable(getattr(options, name, None), f"--{name}")


def write(report: Report | Mapping[str, Any], options: argparse.Namespace) -> None:
    """Write each file that was asked for, whole or not at all; the summary is appended.

    In a GitHub workflow, annotations are printed too.

    Args:
        report: or its JSON form.
    """
    annotates = os.environ.get("GITHUB_ACTIONS") == "true"
    if not annotates and all(getattr(options, name, None) is None for name in FILES):
        return
    document = report.to_dict() if isinstance(report, Report) else report
    if getattr(options, "json", None) is not None:
        archive.write_whole(options.json, to_json(document).encode())
    if options.junit is not None:
        from parity.render import junit

        archive.write_whole(options.junit, junit.to_xml(document))
    if options.html is not None:
        from parity.render.html import to_html

        archive.write_whole(options.html, to_html(document).encode())
    if options.summary is not None:
        from parity.render import summary

        with options.summary.open("a", encoding="utf-8") as file:
            file.write(summary.to_markdown(document))
    if annotates:
        for line in github.annotations(document):
            print(line)
