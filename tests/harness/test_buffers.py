"""Other people's replay buffers are read and written as they are."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from parity.errors import BadCall
from parity.side.buffers import BufferImages

IMAGES = np.arange(24, dtype=np.float32).reshape(3, 1, 2, 4)


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


FORMS = {
    "tensor": lambda: tensor(IMAGES),
    "array": lambda: IMAGES.copy(),
    "list of images": lambda: [tensor(image) for image in IMAGES],
    "list of batches of one": lambda: [tensor(image[None]) for image in IMAGES],
    "tuple": lambda: tuple(tensor(image) for image in IMAGES),
    "deque": lambda: deque((tensor(image) for image in IMAGES), maxlen=5),
    "requires grad": lambda: tensor(IMAGES).requires_grad_(),
}


@pytest.mark.parametrize("form", FORMS)
def test_read_and_written_in_its_own_form(form: str) -> None:
    value: Any = FORMS[form]()
    buffer = SimpleNamespace(examples=value, size=3, name="buffer", table=np.zeros((2, 2)))
    images = BufferImages(buffer)
    assert images.name == "examples"
    assert np.array_equal(images.read(), IMAGES)
    images.write(IMAGES[:2] + 1, tensor)
    assert np.array_equal(images.read(), IMAGES[:2] + 1)
    if isinstance(value, (list, tuple, deque)):
        assert type(buffer.examples) is type(value)
        assert buffer.examples[0].shape == value[0].shape
        assert getattr(buffer.examples, "maxlen", None) == getattr(value, "maxlen", None)


def test_a_declared_attribute_is_taken() -> None:
    buffer = SimpleNamespace(new=tensor(IMAGES), old=tensor(IMAGES * 0))
    assert np.array_equal(BufferImages(buffer, "old").read(), IMAGES * 0)


@pytest.mark.parametrize(
    ("buffer", "declared", "says"),
    [
        (SimpleNamespace(a=IMAGES, b=IMAGES), None, "holds images in a, b; say which one"),
        (SimpleNamespace(n=3), None, "holds images in no attribute; say which one"),
        (SimpleNamespace(a=IMAGES), "images", "has no attribute 'images'"),
    ],
)
def test_what_cannot_be_told_is_asked_for(buffer: Any, declared: str | None, says: str) -> None:
    with pytest.raises(BadCall, match=says):
        BufferImages(buffer, declared)
