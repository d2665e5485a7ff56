"""``parity report``: the page, the summary or the JUnit file of a run, later, from its JSON."""

from __future__ import annotations

import argparse
import json
import stat

from parity.commands import outputs
from parity.errors import BadCall, BadFile
from parity.tell.render.html import to_html

LARGEST = 64 << 20


def run(options: argparse.Namespace) -> int:
    """Render a report that a run has written with ``--json``."""
    outputs.refuse(options)
    if all(getattr(options, name) is None for name in ("html", "junit", "summary")):
        raise BadCall("nothing to write: give --html FILE, --junit FILE or --summary FILE")
    outputs.Outputs(options).write(_read(options))
    return 0


def _read(options: argparse.Namespace) -> dict[str, object]:
    path = options.report
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            raise BadFile(f"{path} is no report: an ordinary file of at most {LARGEST} bytes is")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON ({error}); expected a report of --json") from error
    to_html(document)  # which reads all of it, and refuses what is no report
    return dict(document)
