"""``parity mutants``: the catalogue of faults against the harness."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

import parity
from parity.ask.progress import progress
from parity.commands import outputs
from parity.commands.config import load_config
from parity.commands.options import at_least, pair_of, refuse_timeout, refuse_unwritable
from parity.mutants import campaign, matrix
from parity.mutants.judge import LEAN
from parity.tell.report import Report
from parity.values import archive


def run(options: argparse.Namespace) -> int:
    """Judge every mutant, print the kill matrix, and write what was asked for."""
    start = time.perf_counter()
    config = load_config(Path.cwd())
    pair = pair_of(options.pair, config.pair)
    for name, least in (("sample", 1), ("jobs", 1), ("seed", 0)):
        at_least(f"--{name}", getattr(options, name), least)
    refuse_timeout(options.timeout)
    outputs.refuse(options)
    refuse_unwritable(options.matrix, "--matrix")
    with progress(Console(stderr=True)) as tell:
        found = campaign.run(
            pair,
            config.root,
            depth=options.depth,
            sample=options.sample,
            jobs=options.jobs,
            seed=options.seed,
            timeout=options.timeout,
            tell=tell,
        )
    seconds = time.perf_counter() - start
    matrix.print_campaign(found, Console(highlight=False), seconds)
    problems = list(matrix.problems(found))
    if found.stopped is not None:
        problems.insert(0, f"stopped before everything was judged: {found.stopped!r}")
    elif options.matrix is not None:
        archive.write_whole(options.matrix, matrix.to_markdown(found, pair).encode())
    report = Report(
        pair=pair,
        profile=LEAN.name,
        seed=options.seed,
        checks=found.checks,
        environment={
            "parity": parity.__version__,
            "python": sys.version.split()[0],
            **found.environment,
        },
        seconds={"total": seconds},
        problems=tuple(problems),
        mutants=tuple(judged.to_dict() for judged in found.judged),
    )
    outputs.Outputs(options).write(report)
    if found.stopped is not None:
        raise found.stopped
    return 0 if found.good else 1
