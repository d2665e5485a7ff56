from __future__ import annotations

from collections.abc import Iterator

import pytest

from parity.ask.kept import Kept
from parity.ask.session import Session
from tests.properties.cases import architectures


@pytest.fixture(autouse=True)
def _architectures_drawn(parity_session: Session) -> None:
    """Drawn before any property runs, for Hypothesis does not nest."""
    architectures(parity_session)


@pytest.fixture(autouse=True)
def _reference_runs(parity_session: Session) -> Iterator[None]:
    """What is claimed of the two programs is claimed of a reference that runs, not of a file."""
    assert isinstance(parity_session.reference, Kept)
    parity_session.reference.keeps = False
    yield
    parity_session.reference.keeps = True
