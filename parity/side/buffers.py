"""Other people's replay buffers: where a buffer keeps its images, to read them and to put others.

A buffer is any object with one attribute that holds images: a tensor or array (N, ...), or a list,
tuple or deque of single images. Nothing else is asked of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from parity.errors import BadCall


class BufferImages:
    """The images inside a replay buffer.

    Args:
        buffer: the user's object.
        declared: the attribute's name, or None to look for the only one that holds images.

    Raises:
        BadCall: none or several attributes hold images; they are named.
    """

    def __init__(self, buffer: Any, declared: str | None = None) -> None:
        self.buffer = buffer
        if declared is not None and not hasattr(buffer, declared):
            raise BadCall(f"{type(buffer).__name__} has no attribute {declared!r}")
        found = [name for name, value in _attributes(buffer).items() if _holds_images(value)]
        if declared is None and len(found) != 1:
            raise BadCall(
                f"{type(buffer).__name__} holds images in "
                f"{', '.join(found) if found else 'no attribute'}; say which one is the buffer: "
                "TorchSide(buffer_images='name'), TensorFlowSide(buffer_images='name')"
            )
        self.name = declared if declared is not None else found[0]

    def read(self) -> np.ndarray:
        """(N, ...) in the side's own layout, in the buffer's order."""
        value = getattr(self.buffer, self.name)
        if not isinstance(value, (list, tuple, deque)):
            return as_array(value)
        parts = [as_array(part) for part in value]
        return np.concatenate(parts) if parts and parts[0].ndim >= 4 else np.stack(parts)

    def write(self, images: np.ndarray, tensor: Callable[[np.ndarray], Any]) -> None:
        """Put ``images`` (N, ...) there, in the form that the buffer's own have.

        Args:
            tensor: makes a tensor of the side's framework.
        """
        value = getattr(self.buffer, self.name)
        if not isinstance(value, (list, tuple, deque)):
            setattr(self.buffer, self.name, tensor(images))
            return
        whole = as_array(value[0]).ndim >= 4  # each part a batch of one
        parts = [tensor(images[n : n + 1] if whole else images[n]) for n in range(len(images))]
        rebuilt = deque(parts, value.maxlen) if isinstance(value, deque) else type(value)(parts)
        setattr(self.buffer, self.name, rebuilt)


def _attributes(buffer: Any) -> dict[str, Any]:
    return {k: v for k, v in getattr(buffer, "__dict__", {}).items() if not k.startswith("__")}


def _holds_images(value: Any) -> bool:
    if isinstance(value, (list, tuple, deque)):
        return len(value) > 0 and len(getattr(value[0], "shape", ())) in (3, 4)
    return len(getattr(value, "shape", ())) == 4


def as_array(value: Any) -> np.ndarray:
    """A tensor of either framework, an array or a number, as an array of its own."""
    if hasattr(value, "detach"):  # a torch tensor, which may require gradients
        value = value.detach().cpu()
    return np.array(value.numpy() if hasattr(value, "numpy") else value)
