"""What an entry of a program brings to a run: its checks, and the properties that feed them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from parity.ask.session import Session
from parity.draw.plan import Plan
from parity.values.cases import Case
from parity.verdict.outcome import Outcome


@dataclasses.dataclass(frozen=True)
class Property:
    """A claim, the checks it feeds, and how its cases come about.

    Attributes:
        name: for files of recorded cases.
        claim: in words, for the progress display.
        checks: names of the checks that its outcomes belong to.
        needs: entries that both sides must declare. The last is what it is about: where neither
            side declares that, it is not asked for.
        run: yields the outcomes of one case after another.
        expected: about how many cases there will be.
        untested: of all its outcomes, why a check proves nothing whatever they came to: check ->
            in words.
    """

    name: str
    claim: str
    checks: tuple[str, ...]
    needs: tuple[str, ...]
    run: Callable[[], Iterator[list[Outcome]]]
    expected: int
    untested: Callable[[Sequence[Outcome]], Mapping[str, str]] = lambda outcomes: {}


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is compared of one entry of a program, or of one side of its behaviour.

    Attributes:
        checks: its own, in the order of the table.
        properties: what a plan's cases are put to.
        saved: what a single case is put to that was saved when it failed.
        parts: of its checks, those that need an entry of their own besides, and which.
    """

    checks: tuple[str, ...]
    properties: Callable[[Session, Plan], Iterable[Property]]
    saved: Callable[[Session, Case], Iterable[Property]] = lambda session, case: ()
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)


def saved(
    what: str,
    checks: tuple[str, ...],
    needs: tuple[str, ...],
    run: Callable[[], list[Outcome]],
) -> Property:
    """The property of one saved case."""
    return Property("saved", f"the saved case: {what}", checks, needs, lambda: iter([run()]), 1)
