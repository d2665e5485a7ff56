"""Drawing from a Hypothesis strategy so that one seed gives one list, wherever it is drawn.

Hypothesis mixes constants from the source of every local module that happens to be loaded into what
it draws, so that the same seed would draw other cases in another process. This backend leaves them
out: https://hypothesis.readthedocs.io/en/latest/extensions.html#alternative-backends-for-hypothesis
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import hypothesis
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.internal.constants_ast import Constants
from hypothesis.strategies import SearchStrategy
from hypothesis.strategies._internal.lazy import unwrap_strategies
from hypothesis.strategies._internal.misc import BooleansStrategy, JustStrategy
from hypothesis.strategies._internal.strategies import SampledFromStrategy, filter_not_satisfied

T = TypeVar("T")


class Seeded(HypothesisProvider):
    """Hypothesis's own way to draw, without constants of local modules."""

    @property
    def _local_constants(self) -> Constants:
        return Constants()


AVAILABLE_PROVIDERS["parity"] = f"{__name__}.{Seeded.__name__}"

OTHER = "anything else"
"""What stands for the branches of ``one_of`` that are no single value."""

MOST_VALUES = 256
"""Of a longer list, such as ``sampled_from(range(10**6))``, nobody means every value."""

Enumeration = tuple[str, ...]
"""All values that one strategy chooses from, as :func:`text` has them."""


@dataclasses.dataclass(frozen=True)
class Candidate(Generic[T]):
    """A drawn value, and which of what was enumerated it was made of."""

    value: T
    chosen: tuple[tuple[Enumeration, str], ...]


def drawn(strategy: SearchStrategy[T], n: int, seed: int) -> list[T]:
    """About ``n`` values of ``strategy``; fewer only if there are no more."""
    return [candidate.value for candidate in candidates(strategy, n, seed)]


def candidates(strategy: SearchStrategy[T], n: int, seed: int) -> list[Candidate[T]]:
    """As :func:`drawn`, with what was chosen for each from ``sampled_from``, ``booleans`` and a
    ``one_of`` with single values, such as ``none()``, among its branches."""
    found: list[Candidate[T]] = []
    if n == 0:
        return found

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=n,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        backend="parity",
        suppress_health_check=[hypothesis.HealthCheck.too_slow],  # which is the machine's doing
    )
    @hypothesis.given(strategy)
    def collect(value: T) -> None:
        found.append(Candidate(value, tuple(dict.fromkeys(chosen))))
        chosen.clear()

    with _watched() as chosen:
        collect()
    return found


def text(value: Any) -> str:
    """A value as recipes hold it, in JSON: tuples are lists, members of an Enum their values."""
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else repr(value)


@contextlib.contextmanager
def _watched() -> Iterator[list[tuple[Enumeration, str]]]:
    """Note every choice among enumerated values; what Hypothesis draws stays the same.

    There is no public way to ask a strategy what it enumerates, least of all one within a
    ``composite``; these two methods make every such choice.
    """
    chosen: list[tuple[Enumeration, str]] = []
    known: dict[int, tuple[Any, Enumeration]] = {}
    lists: Any = SampledFromStrategy
    flags: Any = BooleansStrategy
    sampled, booleans = lists.do_draw, flags.do_draw

    def enumerated(strategy: Any) -> Enumeration:
        # The strategy is kept with its answer: an id may come back with another behind it.
        if id(strategy) not in known:
            known[id(strategy)] = strategy, _enumerated(strategy)
        return known[id(strategy)][1]

    def note_sampled(strategy: Any, data: Any) -> Any:
        value = sampled(strategy, data)
        if len(values := enumerated(strategy)) > 1:
            chosen.append((values, _name(value)))
        return value

    def note_boolean(strategy: Any, data: Any) -> Any:
        value = booleans(strategy, data)
        chosen.append((("false", "true"), text(value)))
        return value

    lists.do_draw, flags.do_draw = note_sampled, note_boolean
    try:
        yield chosen
    finally:
        lists.do_draw, flags.do_draw = sampled, booleans


def _enumerated(strategy: Any) -> Enumeration:
    if isinstance(strategy, JustStrategy) or len(strategy.elements) > MOST_VALUES:
        return ()
    names = []
    for element in strategy.elements:
        value = strategy._transform(element, data=None)
        if value is not filter_not_satisfied:
            names.append(_name(value))
    names = list(dict.fromkeys(names))
    return () if names == [OTHER] else tuple(names)


def _name(value: Any) -> str:
    """The text of a value; a branch of ``one_of`` is the single value that it gives, or OTHER."""
    if not isinstance(value, SearchStrategy):
        return text(value)
    branch: Any = unwrap_strategies(value)  # type: ignore[no-untyped-call]
    return text(branch.value) if isinstance(branch, JustStrategy) else OTHER
