"""The pytest plugin: an opened pair as a fixture, and versions in the header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.ask.session import Session
from parity.commands.config import load_config
from parity.doctor.examine import installed
from parity.errors import BadCall


@pytest.fixture(scope="session")
def parity_session(pytestconfig: pytest.Config) -> Iterator[Session]:
    """The project's pair ([tool.parity] pair in pyproject.toml), opened once for all tests."""
    config = load_config(Path(pytestconfig.rootpath))
    if config.pair is None:
        raise BadCall(f"{config.root}/pyproject.toml names no pair: [tool.parity] pair = 'm:pair'")
    with Session(config.pair, root=config.root, remember=True) as session:
        yield session


def pytest_report_header() -> str:
    """Versions of both frameworks: the first thing one asks of a failing run."""
    return "parity: " + ", ".join(f"{name} {version}" for name, version in installed().items())
