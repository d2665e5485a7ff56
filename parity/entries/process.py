"""What calls of the port leave behind in its whole process."""

from __future__ import annotations

from collections.abc import Iterator

from parity.ask.session import Session
from parity.ask.workers import Worker
from parity.draw.plan import Plan
from parity.entries.property import Entry, Property
from parity.errors import PortFailed
from parity.verdict.outcome import Outcome


def check_left_behind(session: Session) -> list[Outcome]:
    """Flags and generators of the whole process that any call so far has changed.

    Nothing of a port that has died: whoever killed it has told so.
    """
    if isinstance(session.port, Worker) and not session.port.alive:
        return []
    found = session.ask_port("left_behind")
    if isinstance(found, PortFailed):
        return []
    return [Outcome("state_restored", (), None, findings=tuple(found), looked=True)]


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Once, of all that ran before."""

    def left_behind() -> Iterator[list[Outcome]]:
        yield check_left_behind(session)

    claim = "what calls leave behind"
    yield Property("process", claim, ("state_restored",), ("model",), left_behind, 1)


ENTRY = Entry((), properties)
