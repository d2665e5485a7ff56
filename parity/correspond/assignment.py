"""Assignments of one list to another where some pairs fit: which there are, and which are forced.

Pure; ``fits`` is for each item of the first list the indices of the second that fit it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np

Fits = Sequence[Set[int]]


def perfect(fits: Fits) -> dict[int, int] | None:
    """Some assignment of every item to one of its own, or None if there is none."""
    holder: dict[int, int] = {}  # of the second list, whom it is given to
    for item in range(len(fits)):
        if not _augmented(item, fits, holder, set()):
            return None
    return {item: other for other, item in holder.items()}


def _augmented(item: int, fits: Fits, holder: dict[int, int], seen: set[int]) -> bool:
    for other in sorted(fits[item]):
        if other not in seen:
            seen.add(other)
            if other not in holder or _augmented(holder[other], fits, holder, seen):
                holder[other] = item
                return True
    return False


def possible(fits: Fits) -> list[set[int]]:
    """For each item all that it is assigned in some perfect assignment.

    One of a single element is forced. Empty sets, if there is no perfect assignment. Both lists
    have to be of one length.
    """
    some = perfect(fits)
    if some is None:
        return [set() for _ in fits]
    if all(len(others) == 1 for others in fits):
        return [set(others) for others in fits]
    from scipy.sparse import csr_array  # a quarter of a second, which few pairs need
    from scipy.sparse.csgraph import connected_components

    # Two items may swap what they have, if need be through others, within a strong component.
    holder = {other: item for item, other in some.items()}
    edges = [(item, holder[o]) for item, others in enumerate(fits) for o in others if o in holder]
    rows, columns = zip(*edges, strict=True) if edges else ((), ())
    graph = csr_array((np.ones(len(edges)), (rows, columns)), shape=(len(fits), len(fits)))
    _, component = connected_components(graph, directed=True, connection="strong")
    return [
        {o for o in others if o in holder and component[holder[o]] == component[item]}
        for item, others in enumerate(fits)
    ]


def in_order(fits: Fits, order: Sequence[int]) -> dict[int, int] | None:
    """The perfect assignment that follows ``order``, where it alone decides; else None.

    Among items that fit the same others, and as many of them, the first in the list gets the first
    in ``order``. One other that is missing in ``order`` comes last.
    """
    rank = {other: number for number, other in enumerate(order)}
    found = {}
    for item, others in enumerate(open_ := possible(fits)):
        alike = [i for i, each in enumerate(open_) if each & others]
        if len(alike) != len(others) or any(open_[i] != others for i in alike):
            return None
        if len(others - set(rank)) > 1:
            return None
        ranked = sorted(others, key=lambda other: rank.get(other, len(rank)))
        found[item] = ranked[alike.index(item)]
    return found


def aligned(fits: Fits, count: int) -> set[tuple[int, int]]:
    """Pairs of a longest alignment that keeps both orders, the first that fits taken first.

    Args:
        count: length of the second list.
    """
    rows = len(fits)
    longest = [[0] * (count + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(count - 1, -1, -1):
            longest[i][j] = max(longest[i + 1][j], longest[i][j + 1])
            if j in fits[i]:
                longest[i][j] = max(longest[i][j], 1 + longest[i + 1][j + 1])
    found, i, j = set(), 0, 0
    while i < rows and j < count and longest[i][j]:
        if j in fits[i] and longest[i][j] == 1 + longest[i + 1][j + 1]:
            found.add((i, j))
            i, j = i + 1, j + 1
        elif longest[i][j] == longest[i + 1][j]:
            i += 1
        else:
            j += 1
    return found


def certain(fits: Fits, count: int) -> tuple[set[tuple[int, int]], set[int]]:
    """What the alignments that match as early and as late as they can agree on.

    Returns:
        The pairs, and the items about which the two differ.
    """
    early = aligned(fits, count)
    mirrored = [{count - 1 - other for other in others} for others in fits[::-1]]
    late = {(len(fits) - 1 - i, count - 1 - j) for i, j in aligned(mirrored, count)}
    return early & late, {i for i, _ in early ^ late}
