"""Shared by all tests: one opened pair, kept warm, and Hypothesis profiles."""

from __future__ import annotations

import os

import hypothesis

# "ci" is Hypothesis's own: derandomised, no database. Deadlines are off everywhere, for a case
# runs in other processes, the first of a kind including their imports.
hypothesis.settings.register_profile("parity", hypothesis.settings.get_profile("ci"), deadline=None)
hypothesis.settings.register_profile(
    "nightly", hypothesis.settings.get_profile("parity"), derandomize=False, max_examples=1000
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "parity"))
