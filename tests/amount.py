"""How much is tested: of what takes long a part (``make test``), or everything (``--all``)."""

from __future__ import annotations

import os

import hypothesis

EVERYTHING = "PARITY_TEST_EVERYTHING"
"""Environment: set before tests are imported, where none is to be left out."""


def examples(n: int) -> hypothesis.settings:
    """``n`` examples of a property that is dear, or a quarter of them (at least two)."""
    part = max(2, n // 4)
    return hypothesis.settings(max_examples=n if EVERYTHING in os.environ else part)
