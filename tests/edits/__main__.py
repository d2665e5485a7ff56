"""Edit the port at random, and see that every edit is seen.

``python -m tests.edits`` (``make edits``) judges 300 edits of ``port_torch/`` against the golden,
and writes ``tests/edits/results.json`` and ``docs/edits.md``. An edit that stays green is a hole in
the harness, unless ``tests/edits/reasons.toml`` says why it is the same program.

A run that is interrupted is gone on with, as long as no file that it depends on has changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from parity.ask.progress import progress
from parity.values import archive
from tests.edits import results
from tests.edits.draw import drawn
from tests.edits.judge import HUNG, ROOT, Judged, judged
from tests.edits.sites import Edit


def main() -> int:
    """Judge, write, and tell; 1 if a survivor has no reason, or a reason no survivor."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="at a time (default 2)")
    start = time.perf_counter()
    edits = drawn(ROOT)
    found = _all_judged(edits, parser.parse_args().jobs)
    reasons = results.reasons()
    page = results.to_markdown(found, reasons)
    archive.write_whole(results.RESULTS, results.to_json(found).encode())
    archive.write_whole(results.PAGE, page.encode())
    survivors = [each for each in found if each.survived]
    holes = [each for each in survivors if each.edit.name not in reasons]
    needless = sorted(set(reasons) - {each.edit.name for each in survivors})
    for each in holes:
        print(f"survived, and no reason given: line {each.edit.line} of {each.edit.name}")
    for name in needless:
        print(f"a reason that no survivor needs: {name}")
    hung = sum(HUNG in each.red for each in found)
    print(
        f"{len(found)} edits: {len(found) - len(survivors)} red, {hung} of them hung; "
        f"{len(survivors)} survived: {len(survivors) - len(holes)} with a reason, {len(holes)} "
        f"without; {time.perf_counter() - start:.0f} s"
    )
    return 1 if holes or needless else 0


def _all_judged(edits: Sequence[Edit], jobs: int) -> list[Judged]:
    """Every edit judged, in the order given; what an interrupted run had judged is kept."""
    kept = results.Kept()
    known = {edit.name: kept.red[edit.name] for edit in edits if edit.name in kept.red}
    rest = [edit for edit in edits if edit.name not in known]
    with progress(Console(stderr=True)) as tell:
        tell("edits of the port", len(known), len(edits))
        for each in judged(rest, jobs):
            known[each.edit.name] = each.red
            kept.keep(known)
            tell("edits of the port", len(known), len(edits))
    return [Judged(edit, known[edit.name]) for edit in edits]


if __name__ == "__main__":
    sys.exit(main())
