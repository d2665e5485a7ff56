"""``parity doctor``: does the instrument itself hold here?"""

from __future__ import annotations

import argparse
from pathlib import Path

from parity.commands.config import load_config
from parity.commands.options import at_least, pair_of, refuse_timeout, refuse_unwritable
from parity.doctor.examine import examine


def run(options: argparse.Namespace) -> int:
    """Examine; 0 if everything holds."""
    config = load_config(Path.cwd())
    pair = pair_of(options.pair, config.pair)
    for name, least in (("cases", 1), ("faults", 0), ("seed", 0)):
        at_least(f"--{name}", getattr(options, name), least)
    refuse_timeout(options.timeout)
    refuse_unwritable(options.json, "--json")
    return examine(options, pair, config.root)
