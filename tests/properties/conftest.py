from __future__ import annotations

import pytest

from parity.session import Session
from tests.properties.cases import architectures


@pytest.fixture(autouse=True)
def _architectures_drawn(parity_session: Session) -> None:
    """Drawn before any property runs, for Hypothesis does not nest."""
    architectures(parity_session)
