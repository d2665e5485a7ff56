"""What was found once in the same answers is not looked for again.

Looking for a cause is a pure function of what both sides have answered. Of many ports that are
judged by one process most differ in one part only, and answer alike to all that concerns others.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import pickle
from collections.abc import Callable
from typing import ParamSpec

from parity.explain.causes import Cause, Unexplained

Given = ParamSpec("Given")
Found = tuple[list[Cause], list[Unexplained]]

MOST = 1024
"""Findings that are remembered; those longest unused go first."""


def remembered(find: Callable[Given, Found]) -> Callable[Given, Found]:
    """``find``, which is asked once for the same arguments, to the last bit.

    Arguments that are equal and pickled otherwise are looked at again; never are two that differ
    taken for the same. What raises is not remembered.
    """
    known: collections.OrderedDict[bytes, Found] = collections.OrderedDict()

    @functools.wraps(find)
    def asked(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        key = hashlib.sha256(pickle.dumps((args, kwargs), protocol=5)).digest()
        if key not in known:
            known[key] = find(*args, **kwargs)
            if len(known) > MOST:
                known.popitem(last=False)
        known.move_to_end(key)
        causes, unexplained = known[key]
        return list(causes), list(unexplained)

    return asked
