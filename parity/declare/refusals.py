"""Calls that a function may have to refuse: each argument of the contract at and beyond its edges.

Which of them are refused, the reference says. A list holds both sides of each boundary, so that a
comparison that was left out, turned round or moved by one shows: the contract's steps are at least
1, so 0 and 1 are asked for. Each call differs from a plain one, which comes first, in one argument.

Calls cross the pipe as ``(argument, value)`` in plain values; an array's value is the name of an
edit (:func:`edited`). Where the two frameworks by themselves refuse unlike things (a network's
dtype, an image's height), nothing is asked.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Call = tuple[str, Any]

PLAIN: Call = ("", None)

CHECKS = {
    "model": "energies",
    "generate_samples": "state_restored",
    "train_step": "losses",
    "validate": "validation",
    "preprocess": "preprocessing",
}
"""The entries that are asked, and the check that each one's refusals belong to."""

REFUSING = tuple(CHECKS)

TINY = 1e-12

EDITS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "without the batch axis": lambda x: x[0],
    "with an axis more": lambda x: x[np.newaxis],
    "flattened": lambda x: x.reshape(len(x), -1),
    "one image": lambda x: x[:1],
    "one image more": lambda x: np.concatenate([x, x[:1]]),
    "two images more": lambda x: np.concatenate([x, x[:2]]),
    "the first element NaN": lambda x: _with(x, 0, math.nan),
    "the last element NaN": lambda x: _with(x, -1, math.nan),
    "an element infinite": lambda x: _with(x, x.size // 2, math.inf),
    "an element minus infinity": lambda x: _with(x, x.size // 2, -math.inf),
    "an element of 1e30": lambda x: _with(x, x.size // 2, 1e30),
    "with a channel axis": lambda x: x[..., np.newaxis],
    "with two channels": lambda x: np.stack([x, x], axis=-1),
    "with two axes more": lambda x: x[..., np.newaxis, np.newaxis],
    "as they are": lambda x: x,
}

SHAPES = ("without the batch axis", "with an axis more", "flattened")

NO_NUMBERS = (
    "the first element NaN",
    "the last element NaN",
    "an element infinite",
    "an element minus infinity",
)

ARGUMENTS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "model": {
        # Not with an axis more: Keras's convolutions by themselves take several of the batch.
        "images": (
            "without the batch axis",
            "flattened",
            "one image",
            "a channel more",
            *NO_NUMBERS,
        )
    },
    "generate_samples": {
        "images": (
            *SHAPES,
            "one image",
            *NO_NUMBERS,
            "an element of 1e30",
            "int32",
            "uint8",
            "bool",
        ),
        "steps": (-1, 0, 1),
        "step_size": (math.nan, math.inf, -math.inf, -1.0, 0.0, TINY),
        "noise": (math.nan, math.inf, -math.inf, -1.0, -TINY, 0.0, TINY),
        "gradient_clip": (math.nan, -math.inf, -1.0, -TINY, 0.0, TINY, math.inf),
        "return_every_step": (True,),
    },
    "train_step": {
        "real": (*SHAPES, "one image more", "two images more", "int32", *NO_NUMBERS),
    },
    "validate": {
        "real": (*SHAPES, "one image", "one image more", "two images more", "int32", *NO_NUMBERS),
    },
    "preprocess": {
        "images": (
            "without the batch axis",
            "flattened",
            "one image",
            "with a channel axis",
            "with two channels",
            "with two axes more",
            *("int8", "uint16", "int32", "int64", "float32", "float64", "bool"),
        ),
    },
}
"""What each entry is called with, besides plainly."""

CHANNEL = "a channel more"


def calls_of(entry: str, arguments: Sequence[str] | None = None) -> list[Call]:
    """The calls of an entry, the plain one first.

    Args:
        arguments: those that the side's function takes; None for all.
    """
    return [
        PLAIN,
        *(
            (argument, value)
            for argument, values in ARGUMENTS[entry].items()
            if arguments is None or argument in arguments
            for value in values
        ),
    ]


def settings_calls(settings: Mapping[str, Any]) -> list[Call]:
    """``model(settings)`` with each number below zero, and each name one that nothing has."""
    return [("settings", changed) for changed in _spoilt(settings)]


def _spoilt(value: Any) -> Iterator[Any]:
    """Copies of a plain value, each with one leaf replaced."""
    if isinstance(value, Mapping | list):
        places = value if isinstance(value, Mapping) else range(len(value))
        for place in places:
            for changed in _spoilt(value[place]):
                whole: Any = copy.copy(value)
                whole[place] = changed
                yield whole
    elif isinstance(value, str):
        yield "no such name"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield type(value)(-1)


def edited(array: np.ndarray, edit: str, channels: int = -1) -> np.ndarray:
    """A copy of an array that is no longer as the contract has it.

    Args:
        edit: of ``EDITS``; "a channel more", or the name of a dtype.
        channels: the axis of the channels.
    """
    if edit in EDITS:
        found = EDITS[edit](array)
    elif edit == CHANNEL:
        found = np.concatenate([array, np.take(array, [0], axis=channels)], axis=channels)
    else:
        found = array.astype(edit)
    return np.ascontiguousarray(found)


def _with(array: np.ndarray, place: int, value: float) -> np.ndarray:
    array = array.copy(order="C")
    array.reshape(-1)[place] = value
    return array


def asked(call: Callable[[], object]) -> str | None:
    """What a call raises, in words that are the same in each run; None if it returns."""
    try:
        call()
    except Exception as error:
        lines = str(error).splitlines() or [""]
        said = re.sub(r" at 0x[0-9a-f]+", "", lines[0])[:200]
        return f"{type(error).__name__}: {said}"
    return None


def in_words(entry: str, call: Call) -> str:
    """ "generate_samples with steps 0"."""
    argument, value = call
    if call == PLAIN:
        return f"a plain call of {entry}"
    if argument == "settings":
        return f"{entry} with settings {value}"
    shown = value if isinstance(value, str) else repr(value)
    return f"{entry} with {argument} {shown}"
