"""The entries that are compared, in the order of their checks in the table.

A new one is a module with an ``ENTRY`` and a line here.
"""

from __future__ import annotations

from collections.abc import Iterator

from parity.ask.session import Session
from parity.draw.plan import Plan
from parity.entries import (
    forward,
    initialisation,
    noise,
    preprocess,
    process,
    refusals,
    sampler,
    state,
    train_step,
)
from parity.entries.property import Property
from parity.values.cases import Case

ENTRIES = tuple(
    module.ENTRY
    for module in (
        forward,
        sampler,
        noise,
        state,
        train_step,
        preprocess,
        refusals,
        initialisation,
        process,  # last: what any call before has left behind
    )
)

CHECKS = tuple(check for entry in ENTRIES for check in entry.checks)

PARTS = {check: needed for entry in ENTRIES for check, needed in entry.parts.items()}
"""Checks that need an entry of their own besides, and which."""


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Every property of the pair, over the cases of ``plan``."""
    for entry in ENTRIES:
        yield from entry.properties(session, plan)


def of_saved(session: Session, case: Case) -> Iterator[Property]:
    """The properties of one saved case."""
    for entry in ENTRIES:
        yield from entry.saved(session, case)
