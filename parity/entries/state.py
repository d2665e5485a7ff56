"""What the port leaves behind, and the modes its sampler's caller may be in."""

from __future__ import annotations

from collections.abc import Iterator

from parity.ask.session import EMPTY_BATCH, Session
from parity.draw.plan import Plan
from parity.draw.recipes import make_case
from parity.entries.compared import failed
from parity.entries.property import Entry, Property, saved
from parity.errors import PortFailed
from parity.values.cases import Case
from parity.verdict.outcome import Outcome


def check_state_restored(session: Session, case: Case) -> list[Outcome]:
    """The caller's tensor, ``requires_grad``, modes, ``.grad``, global state, memory, contexts."""
    empty = session.claims("empty_batch", *EMPTY_BATCH)
    found = session.ask_port("state", case=case, empty_batch=empty)
    if isinstance(found, PortFailed):
        return [failed("state_restored", case, found)]
    return [Outcome("state_restored", (), case, findings=tuple(found), looked=True)]


CHECKS, NEEDS = ("state_restored",), ("model", "generate_samples")


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Over the plan's short calls of the sampler."""

    def states() -> Iterator[list[Outcome]]:
        for recipe in plan.states:
            yield check_state_restored(session, make_case(session, recipe))

    claim = "what the sampler leaves behind"
    yield Property("states", claim, CHECKS, NEEDS, states, len(plan.states))


def saved_properties(session: Session, case: Case) -> Iterator[Property]:
    """Of a case that calls the sampler on images."""
    if case.sampler is None or case.training is not None or case.origin.get("relation"):
        return

    def states() -> list[Outcome]:
        return check_state_restored(session, case) if len(case.images) > 1 else []

    yield saved("what the sampler leaves behind", CHECKS, NEEDS, states)


ENTRY = Entry(CHECKS, properties, saved_properties)
