"""``parity report``: the page, the summary or the JUnit file of a run, later, from its JSON."""

from __future__ import annotations

import argparse
import json
import stat

from parity.commands import outputs
from parity.errors import BadCall, BadFile

LARGEST = 64 << 20


def run(options: argparse.Namespace) -> int:
    """Render a report that a run has written with ``--json``."""
    outputs.refuse(options)
    if all(getattr(options, name) is None for name in ("html", "junit", "summary")):
        raise BadCall("nothing to write: give --html FILE, --junit FILE or --summary FILE")
    outputs.write(_read(options), options)
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
    if not isinstance(document, dict) or document.get("schema") != 1:
        schema = document.get("schema") if isinstance(document, dict) else None
        raise BadFile(f"{path} has schema {schema!r}; a report of this version has 1")
    missing = [key for key in ("pair", "verdict", "checks", "causes") if key not in document]
    if missing:
        raise BadFile(f"{path} is no report of 'parity check --json': it lacks {missing[0]!r}")
    return document
