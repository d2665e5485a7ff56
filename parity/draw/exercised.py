"""Cases chosen so that every value that a strategy enumerates is in one of them.

A strategy may list an activation, a kind of images or an option that no drawn case happens to have;
a port that is wrong only there is then green, and nothing says so. What is listed is learnt while
cases are drawn (``parity.draw.drawing``), and found again in the plain recipes by where it stands.
Of a pool of drawn cases those are taken that together have everything; what none has is said by
name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from hypothesis.strategies import SearchStrategy

from parity.draw.drawing import OTHER, Candidate, Enumeration, candidates, text

T = TypeVar("T")

Found = Mapping[str, frozenset[str]]
"""Of one recipe: where -> the texts of all values that stand there."""

SETTINGS = "settings"
"""What the pair itself enumerates stands below it. Once in a plan is enough, in whatever property;
how parity asks (weights, images, arguments) is to be there in each property that draws it."""

Pools = dict[tuple[int, int], list[Candidate[T]]]
"""What was drawn of one strategy, by how many and from which seed."""

POOL = 48
"""Candidates that are drawn at least: enough to learn what is enumerated, and where it stands."""

NEXT_POOL = 1_000_003
"""Between the seeds of one pool and the next; Hypothesis takes seeds modulo 2**32."""

MOST_POOLS = 5
"""How often as many are drawn at most: again as long as those drawn do not have everything, and
once if it takes more cases than were asked for."""


@dataclasses.dataclass(frozen=True, order=True)
class Value:
    """A value that a strategy enumerates.

    Attributes:
        where: its place in a plain recipe, with the numbers of lists left out, such as
            "settings.convolutions.activation".
        value: as JSON; OTHER for the branches of a ``one_of`` that are none of ``beside``.
        among: the field of the plan whose cases are to have it; "" for any.
        beside: the single values beside OTHER.
    """

    where: str
    value: str
    among: str = ""
    beside: tuple[str, ...] = ()

    def is_in(self, found: Found) -> bool:
        there = found.get(self.where, frozenset())
        return bool(there - {*self.beside}) if self.value == OTHER else self.value in there

    def is_among(self, found: Mapping[str, Sequence[Found]]) -> bool:
        """Whether it is in one of the recipes of its field, or, if it has none, of any."""
        fields = [self.among] if self.among else found
        return any(self.is_in(each) for field in fields for each in found.get(field, ()))

    def in_words(self) -> str:
        if self.value == OTHER:
            return f"{self.where} other than {', '.join(self.beside)}"
        return f"{self.where} = {self.value}"


def found_in(plain: Any) -> Found:
    """Every value of a plain recipe, by where it stands.

    The scale of random weights is no part of a recipe that has trained ones.
    """
    found: dict[str, set[str]] = {}

    def walk(where: str, value: Any) -> None:
        found.setdefault(where, set()).add(text(value))
        if isinstance(value, Mapping):
            for name, part in value.items():
                if not (name == "scale" and value.get("trained") is not None):
                    walk(f"{where}.{name}" if where else str(name), part)
        elif isinstance(value, list | tuple):
            for part in value:
                walk(where, part)

    walk("", plain)
    return {where: frozenset(values) for where, values in found.items()}


@dataclasses.dataclass(frozen=True)
class Chosen(Generic[T]):
    """The cases that were chosen, and the values that they or others are to have."""

    cases: tuple[T, ...]
    enumerated: tuple[Value, ...]


def choose(
    strategy: SearchStrategy[T],
    n: int,
    seed: int,
    *,
    plain: Callable[[T], Any],
    among: str = "",
    more: int = 0,
    had: Mapping[str, Sequence[Found]] = MappingProxyType({}),
    pools: Pools[T] | None = None,
) -> Chosen[T]:
    """``n`` values of ``strategy`` that have everything it enumerates; the same for each seed.

    Args:
        plain: a value as its recipe has it, in plain values.
        among: the field of the plan that they are for.
        more: how many more than ``n`` there may be, if ``n`` cannot have everything.
        had: what other cases have already, by the field of the plan that they are in.
        pools: those that were drawn of this strategy before; what is drawn is added.
    """
    pools = {} if pools is None else pools
    if n == 0:
        return Chosen((), ())
    pool: list[Candidate[T]] = []
    for number in range(MOST_POOLS if more else 1):
        drawn = max(n, POOL), seed + NEXT_POOL * number
        if drawn not in pools:
            pools[drawn] = candidates(strategy, *drawn)
        pool += pools[drawn]
        found = [found_in(plain(candidate.value)) for candidate in pool]
        wanted, unplaced = _enumerated(pool, found, among)
        has = [
            frozenset(v for v in wanted if v.is_in(f)) | (unplaced.keys() & _as_drawn(c, among))
            for c, f in zip(pool, found, strict=True)
        ]
        missing = frozenset(v for v in wanted if not v.is_among(had))
        missing |= unplaced.keys()
        taken = _covering(has, missing, n, n + more)
        everything = missing <= frozenset().union(*(has[i] for i in taken))
        if everything and (number or len(taken) <= n):
            break
    taken += [i for i in range(len(pool)) if i not in taken][: max(0, n - len(taken))]
    nowhere = frozenset(unplaced).difference(*(has[i] for i in taken))
    return Chosen(tuple(pool[i].value for i in sorted(taken)), (*wanted, *sorted(nowhere)))


def _covering(
    has: Sequence[frozenset[Value]], missing: frozenset[Value], n: int, most: int
) -> list[int]:
    """Which of the candidates have together what is missing: ``n`` if so many can, or a few more.

    Where the best of each step make too many, it is begun with each of the others in turn.
    """
    best = _greedily(has, missing, [], most)
    for first in range(len(has) if len(best) > n else 0):
        other = _greedily(has, missing, [first], most)
        left = [len(missing.difference(*(has[i] for i in taken))) for taken in (other, best)]
        best = min((left[1], len(best), best), (left[0], len(other), other))[2]
    return best


def _greedily(
    has: Sequence[frozenset[Value]], missing: frozenset[Value], taken: list[int], most: int
) -> list[int]:
    """Always the one that adds most; of several, one that has more besides, and then the first."""
    left = missing.difference(*(has[i] for i in taken))
    while left and len(taken) < most:
        best = max(range(len(has)), key=lambda i: (len(has[i] & left), len(has[i]), -i))
        if not has[best] & left:
            break
        taken = [*taken, best]
        left -= has[best]
    return taken


def _enumerated(
    pool: Sequence[Candidate[Any]], found: Sequence[Found], among: str
) -> tuple[tuple[Value, ...], dict[Value, None]]:
    """What the strategy enumerates, by where it stands in recipes, and that lists can be empty.

    Also what stands nowhere as it was chosen, for something else was made of it: its place is the
    list itself, and only who draws it can say which case has it.
    """
    chosen: list[dict[Enumeration, set[str]]] = []
    for candidate in pool:
        mine: dict[Enumeration, set[str]] = {}
        for enumeration, name in candidate.chosen:
            mine.setdefault(enumeration, set()).add(name)
        chosen.append(mine)
    values: dict[Value, None] = {}
    unplaced: dict[Value, None] = {}
    for enumeration in dict.fromkeys(e for mine in chosen for e in mine):
        places = _places(enumeration, chosen, found)
        for where in places:
            values |= dict.fromkeys(_values(where, enumeration, among))
        if not places:
            unplaced |= dict.fromkeys(_values(_one_of(enumeration), enumeration, among))
    empty = dict.fromkeys(where for mine in found for where, there in mine.items() if "[]" in there)
    for where in empty:
        values |= dict.fromkeys(_values(where, ("[]",), among))
    return tuple(values), unplaced


def _values(where: str, enumeration: Enumeration, among: str) -> Iterator[Value]:
    field = "" if where.split(".")[0] == SETTINGS else among
    beside = tuple(value for value in enumeration if value != OTHER)
    for value in enumeration:
        yield Value(where, value, field, beside if value == OTHER else ())


def _one_of(enumeration: Enumeration) -> str:
    return f"one of {', '.join(enumeration)}"


def _as_drawn(candidate: Candidate[Any], among: str) -> set[Value]:
    """What a candidate was made of, as if none of it stood in its recipe."""
    return {
        value
        for enumeration, name in candidate.chosen
        for value in _values(_one_of(enumeration), enumeration, among)
        if value.value == name
    }


def _places(
    enumeration: Enumeration,
    chosen: Sequence[Mapping[Enumeration, set[str]]],
    found: Sequence[Found],
) -> list[str]:
    """Where in recipes the choices stand: where nothing ever stands that was not chosen."""
    both = [
        (mine[enumeration], f) for mine, f in zip(chosen, found, strict=True) if enumeration in mine
    ]
    places = dict.fromkeys(where for _, f in both for where in f)

    def stands(where: str) -> bool:
        return all(
            {v if v in enumeration else OTHER for v in f[where]} <= names
            for names, f in both
            if where in f
        )

    return [where for where in places if stands(where)]
