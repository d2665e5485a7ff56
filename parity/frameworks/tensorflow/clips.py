"""Which clips a reference's sampler has, and whether they bind: its own operations are watched.

Whatever a person clips with (``tf.clip_by_value``, ``keras.ops.clip``, ``tf.minimum`` and
``tf.maximum``, ``tf.clip_by_norm`` or a norm by hand) ends in TensorFlow's ``Minimum`` and
``Maximum``, with the limit as one of their inputs. They are seen by a callback of TensorFlow's own,
``op_callbacks``, which debuggers use too; a clip is known by the line of the user's that it is on.

Not seen: what the network does (its activations clip, too, and are compared elsewhere), and what is
done in NumPy, in a compiled function, or by ``tf.where``. What is not seen is not asked to bind.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
from tensorflow.python.framework import op_callbacks
from tensorflow.python.ops import clip_ops

from parity.values.frames import PACKAGE

LIMITS = {"Minimum": "upper", "Maximum": "lower"}
"""What kind of limit an operation is the clip to."""

HARNESS, PYTHON = str(PACKAGE), str(Path(os.__file__).parent)


class Clips:
    """The clips that run while active; a context manager.

    Args:
        image_size: elements of one image. What is no whole number of images is a norm or a factor.
    """

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self._paused = False
        self._changed: dict[tuple[str, str], list[int]] = {}

    def __enter__(self) -> Self:
        op_callbacks.add_op_callback(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        op_callbacks.remove_op_callback(self._note)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What runs within is not the sampler's."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def to_dict(self) -> dict[str, Any]:
        """``{"langevin.py:44": {"share": 0.2, "limits": {"lower": 0.1, "upper": 0.1}}}``: how large
        a part of the elements each clip changed, 0 to 1, and each of its limits."""
        found: dict[str, Any] = {}
        for (place, limit), (changed, size) in self._changed.items():
            about = found.setdefault(place, {"share": 0.0, "limits": {}})
            about["limits"][limit] = changed / size
            about["share"] += changed / size
        return found

    def _note(
        self,
        op_type: str,
        inputs: tuple[Any, ...],
        attrs: Any,
        outputs: Any,
        op_name: str | None = None,
        graph: Any = None,
    ) -> None:
        """Told of every operation; returns None, which leaves its outputs alone."""
        if op_type not in LIMITS or graph is not None or self._paused:
            return
        result, clipped = outputs[0].numpy(), _value_and_limit(*inputs)
        if clipped is None or not result.size:
            return
        value, limit = clipped
        changed = result != value
        if value.size % self.image_size and _shrinks(op_type, limit):
            changed = result != limit
        counts = self._changed.setdefault((_place(), LIMITS[op_type]), [0, 0])
        counts[0] += int(changed.sum())
        counts[1] += changed.size


def _value_and_limit(one: Any, other: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """What is clipped, and to what: a limit is the same everywhere, or has fewer elements.

    None for two tensors of which neither is, and for two single numbers, unless TensorFlow's own
    functions compare them, which have the limit second.
    """
    first, second = one.numpy(), other.numpy()
    if first.size != second.size:
        return (first, second) if first.size > second.size else (second, first)
    if first.size == 1:
        return (first, second) if _in_clip_ops() else None
    if first.size and np.ptp(second) == 0:
        return first, second
    if first.size and np.ptp(first) == 0:
        return second, first
    return None


def _shrinks(op_type: str, limit: np.ndarray) -> bool:
    """Whether a norm or factor that *is* the limit leaves what it is applied to as it is.

    So it is in ``g * c / max(norm, c)``, in ``g * min(1, c / norm)`` and in TensorFlow's own: the
    gradient is shrunk where the result is not the limit.
    """
    return op_type == "Maximum" or bool((limit == 1).all()) or _in_clip_ops()


def _in_clip_ops() -> bool:
    return any(frame.f_code.co_filename == clip_ops.__file__ for frame in _frames())


def _place() -> str:
    """The user's line that clips; if it is reached through others, those before it."""
    lines = []
    for frame in _frames():
        file = frame.f_code.co_filename
        if file.startswith(HARNESS):
            break
        if not (file.startswith((PYTHON, "<")) or "site-packages" in file):
            lines.append(f"{Path(file).name}:{frame.f_lineno}")
    return " > ".join(reversed(lines)) or "a library"


def _frames() -> Iterator[FrameType]:
    """The frames that led here, innermost first, without this module's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            yield frame
        frame = frame.f_back
