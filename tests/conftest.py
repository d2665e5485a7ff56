"""Shared by all tests: one opened pair, kept warm, and Hypothesis profiles."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from parity.ask import warm
from parity.ask.session import Session
from tests import amount

# "ci" is Hypothesis's own: derandomised, no database. Deadlines are off everywhere, for a case
# runs in other processes, the first of a kind including their imports.
hypothesis.settings.register_profile("parity", hypothesis.settings.get_profile("ci"), deadline=None)
hypothesis.settings.register_profile(
    "nightly", hypothesis.settings.get_profile("parity"), derandomize=False, max_examples=1000
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "parity"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="leave out none of the tests marked few")


def _all_asked_for(config: pytest.Config) -> bool:
    named = any("::" in argument for argument in config.args)
    return bool(config.getoption("--all") or config.option.keyword or named)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of what takes long, and of many of a kind, a few; all where they are asked for.

    ``@pytest.mark.few(3)`` on a test with parameters lets three of them run, spread over the list;
    ``few(0)`` none. ``--all``, ``-k`` and a test named by its id ask for all.
    """
    if _all_asked_for(config):
        return
    kinds: dict[tuple[str, int], list[pytest.Item]] = {}
    for item in items:
        for mark in item.iter_markers("few"):
            kinds.setdefault((item.nodeid.partition("[")[0], mark.args[0]), []).append(item)
    left: set[pytest.Item] = set()
    for (_, n), alike in kinds.items():
        left.update(alike)
        kept = min(n, len(alike))
        left.difference_update(alike[len(alike) * k // kept] for k in range(kept))
    config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = [item for item in items if item not in left]


def pytest_configure(config: pytest.Config) -> None:
    """Sides begin with their framework imported: here, and in all commands that tests start."""
    if _all_asked_for(config):
        os.environ[amount.EVERYTHING] = "1"
    if not hasattr(config, "workerinput"):  # of pytest-xdist's: its workers find them
        nurseries = contextlib.ExitStack()
        nurseries.enter_context(warm.nurseries())
        config.add_cleanup(nurseries.close)


@pytest.fixture(scope="session")
def parity_session(pytestconfig: pytest.Config) -> Iterator[Session]:
    """The plugin's fixture, and what the reference has answered once is kept for all processes.

    Tests of the harness ask the same of it again and again: they need no TensorFlow where another
    test, of this run or of one before, has asked.
    """
    with Session("ebm.pair:pair", root=Path(pytestconfig.rootpath), kept=True) as session:
        yield session
