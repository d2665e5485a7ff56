"""``parity record``: run the reference and keep its answers, and the margins of the port."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from parity.ask.progress import progress
from parity.ask.recorded import Recorded
from parity.ask.session import Session
from parity.commands.config import load_config
from parity.commands.options import at_least, pair_of, refuse_timeout
from parity.draw.plan import beside_golden
from parity.draw.profiles import profile_named
from parity.entries.runner import run_checks
from parity.errors import GoldenRefused
from parity.golden import baseline, goldens
from parity.golden.recording import RecordingSession, record


def run(options: argparse.Namespace) -> int:
    """Write the golden, say what changed, and record the margins of the port if it is green."""
    start = time.perf_counter()
    config = load_config(Path.cwd())
    pair = pair_of(options.pair, config.pair)
    at_least("--seed", options.seed, 0)
    refuse_timeout(options.timeout)
    goldens.refuse_other_content(options.golden)
    before = None
    if options.golden.exists():
        try:
            before = goldens.read(options.golden)
        except GoldenRefused as error:
            print(f"replacing what cannot be read: {error}")
    with goldens.replacing(options.golden) as fresh, progress(Console(stderr=True)) as tell:
        with RecordingSession(
            pair,
            reference=options.reference,
            port=options.port,
            timeout=options.timeout,
            twins=True,
            remember=True,
            root=config.root,
        ) as session:
            record(session, fresh, options.seed, tell)
        after = goldens.read(fresh)
        recorded = Recorded(after.answers, f"the golden {options.golden}")
        with Session(
            pair,
            port=options.port,
            timeout=options.timeout,
            recorded=recorded,
            root=config.root,
        ) as session:
            plan = beside_golden(session, after.plan, profile_named("quick"), 0)
            checks = run_checks(session, plan, tell=tell)
            margins, said = baseline.record(session, checks, fresh)
        (fresh / goldens.BASELINE).write_bytes(margins)
    for line in [] if before is None else goldens.changes(before, after):
        print(line)
    size = sum(path.stat().st_size for path in options.golden.iterdir())
    same = before is not None and before.answers == after.answers
    print(
        f"{options.golden}: {len(after.files)} files, {size / 1e6:.2f} MB"
        f"{', the same answers as before' if same else ''}, {time.perf_counter() - start:.0f} s"
    )
    print(said)
    if left := after.plan.not_exercised:
        print(f"in none of its cases: {', '.join(value.in_words() for value in left)}")
    return 0
