"""What the port leaves behind, and the modes its sampler's caller may be in."""

from __future__ import annotations

from parity.cases import Case
from parity.checks.network import failed
from parity.errors import PortFailed
from parity.outcome import Outcome
from parity.session import EMPTY_BATCH, Session
from parity.workers import Worker


def check_state_restored(session: Session, case: Case) -> list[Outcome]:
    """The caller's tensor, ``requires_grad``, modes, ``.grad``, global state, memory, contexts."""
    empty = session.claims("empty_batch", *EMPTY_BATCH)
    found = session.ask_port("state", case=case, empty_batch=empty)
    if isinstance(found, PortFailed):
        return [failed("state_restored", case, found)]
    return [Outcome("state_restored", (), case, findings=tuple(found), looked=True)]


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
