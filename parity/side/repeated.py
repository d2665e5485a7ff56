"""One question asked twice: a reference that gives other bits is none that a port can be held to.

What it draws of its own goes into its noise floors too, and a port may then be as far off as the
noise is large.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.errors import ReferenceFailed

MOVED = "a copy moved by one unit in the last place, "


def note_difference(
    notes: dict[str, Any],
    one: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    of: str = "",
) -> None:
    """Note under ``differs``, in words, the first array that is not the same to the last bit.

    Args:
        one, other: answers to the same question.
        of: what was asked, if not the case itself.
    """
    for name in (*one, *(name for name in other if name not in one)):
        first, second = one.get(name), other.get(name)
        if first is None or second is None or first.shape != second.shape:
            found = f"{name} is there once, or has another shape"
        elif np.array_equal(first, second, equal_nan=True):
            continue
        else:
            unlike = ~((first == second) | (np.isnan(first) & np.isnan(second)))
            index = tuple(int(i) for i in np.argwhere(unlike)[0])
            found = (
                f"{name} ({first.dtype}) is {float(first[index])!r} at {list(index)}, and then "
                f"{float(second[index])!r} ({int(unlike.sum())} of {first.size} elements)"
            )
        notes.setdefault("differs", f"{of}{found}")
        return


def refuse_different(notes: Mapping[str, Any], question: str) -> None:
    """What a reference noted of being asked twice.

    Args:
        question: what it was asked, in words.

    Raises:
        ReferenceFailed: it gave other bits.
    """
    if found := notes.get("differs"):
        raise ReferenceFailed(
            f"the reference is not deterministic: asked twice for {question}, it gives other bits: "
            f"{found}; it draws from a generator that is not its framework's, NumPy's global one "
            "or Python's, in another thread, or keeps something from call to call"
        )
