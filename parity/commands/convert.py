"""``parity convert``: weights from one kind of file to another."""

from __future__ import annotations

import argparse
from pathlib import Path

from parity.ask.checkpoints import convert, kind_of, refuse_missing
from parity.ask.session import Session
from parity.commands.config import load_config
from parity.commands.options import pair_of, refuse_timeout, refuse_unwritable


def run(options: argparse.Namespace) -> int:
    """Convert one file."""
    config = load_config(Path.cwd())
    pair = pair_of(options.pair, config.pair)
    kind_of(options.source), kind_of(options.target)
    refuse_missing(options.source)
    refuse_timeout(options.timeout)
    refuse_unwritable(options.target, "TARGET")
    with Session(
        pair,
        reference=options.reference,
        port=options.port,
        timeout=options.timeout,
        root=config.root,
    ) as session:
        convert(session, options.source, options.target)
    print(f"wrote {options.target}")
    return 0
