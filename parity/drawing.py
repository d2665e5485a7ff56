"""Drawing from a Hypothesis strategy so that one seed gives one list, wherever it is drawn.

Hypothesis mixes constants from the source of every local module that happens to be loaded into what
it draws, so that the same seed would draw other cases in another process. This backend leaves them
out: https://hypothesis.readthedocs.io/en/latest/extensions.html#alternative-backends-for-hypothesis
"""

from __future__ import annotations

from typing import TypeVar

import hypothesis
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.internal.constants_ast import Constants
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")


class Seeded(HypothesisProvider):
    """Hypothesis's own way to draw, without constants of local modules."""

    @property
    def _local_constants(self) -> Constants:
        return Constants()


AVAILABLE_PROVIDERS["parity"] = f"{__name__}.{Seeded.__name__}"


def drawn(strategy: SearchStrategy[T], n: int, seed: int) -> list[T]:
    """About ``n`` values of ``strategy``; fewer only if there are no more."""
    found: list[T] = []
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
        found.append(value)

    collect()
    return found
