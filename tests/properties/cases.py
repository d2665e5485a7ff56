"""Strategies of cases for the project's own pair, drawn with its session open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis.strategies import SearchStrategy

from parity.ask.session import Session, Settings
from parity.draw import strategies
from parity.draw.recipes import Recipe, make_case
from parity.values.cases import Case, SamplerCall

N_ARCHITECTURES = 8

_architectures: dict[int, list[Settings]] = {}


def architectures(session: Session) -> list[Settings]:
    """A few drawn architectures, so that each is built once for all properties."""
    if id(session) not in _architectures:
        _architectures[id(session)] = strategies.architectures(
            session, N_ARCHITECTURES, seed=0
        ).cases
    return _architectures[id(session)]


def network_cases(
    session: Session, keep: Callable[[Recipe], bool] = lambda recipe: True, **options: Any
) -> SearchStrategy[Case]:
    """Published and drawn architectures, trained and random weights, every kind of image."""
    recipes = strategies.networks(session, architectures(session), **options).filter(keep)
    return recipes.map(lambda recipe: make_case(session, recipe))


def sampler_cases(
    session: Session,
    keep: Callable[[Recipe], bool] = lambda recipe: True,
    calls: SearchStrategy[SamplerCall] | None = None,
) -> SearchStrategy[Case]:
    """The same with drawn arguments of ``generate_samples``."""
    calls = strategies.sampler_calls(session, max_steps=8) if calls is None else calls
    return network_cases(session, keep, max_batch=3, sampler=calls)
