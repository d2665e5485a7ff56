"""``parity align``: which parameter of a port holds which weight of its reference."""

from __future__ import annotations

import argparse

from parity.commands import programs


def run(options: argparse.Namespace) -> int:
    """Print the table; the exit status."""
    return programs.align(options)
