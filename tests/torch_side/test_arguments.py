"""What a call does to the images and the model that it is handed is told and put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from parity.frameworks.torch.arguments import watched

Told = list[tuple[str, str, str]]


def called(call: Callable[[], Any], *given: Any, model: nn.Module | None = None) -> Told:
    told: Told = []
    with watched("validate", given, model, lambda *each: told.append(each)):
        call()
    return told


@pytest.mark.parametrize(
    "images",
    [torch.rand(3, 4), torch.rand(3, 8)[:, ::2], np.ones((3, 4), np.float32), np.ones(4, np.uint8)],
    ids=["tensor", "view", "array", "bytes"],
)
def test_images_that_are_written_into_are_told_and_put_back(images: Any) -> None:
    before = images.clone() if isinstance(images, torch.Tensor) else images.copy()
    assert called(lambda: images + 1, images) == []

    def write() -> None:
        images[0] += 1

    ((entry, id_, message),) = called(write, images)
    assert (entry, id_) == ("validate", "input-mutated")
    assert f"of {images.size if isinstance(images, np.ndarray) else 12} elements" in message
    assert (images == before).all()


def test_numbers_that_are_none_are_not_changed() -> None:
    images = torch.tensor([1.0, torch.nan])
    assert called(lambda: None, images, "no images", 3) == []
    assert len(called(lambda: images.fill_(torch.nan), images)) == 1


def test_images_that_come_back_in_another_shape_or_tracked_are_told() -> None:
    images = torch.rand(3, 4)
    assert "in place (12,)" in called(lambda: images.resize_(12), images)[0][2]
    (told,) = called(lambda: images.requires_grad_(), images)
    assert "requires_grad" in told[2]


def test_a_model_that_is_left_otherwise_is_told_and_put_back() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0))
    changes: dict[str, Callable[[], Any]] = {
        "mode-not-restored": model.eval,
        "parameters-left-frozen": lambda: model.requires_grad_(False),
        "gradient-accumulated": lambda: model(torch.ones(1, 2)).sum().backward(),
    }
    for id_, change in changes.items():
        for _ in range(2):
            assert {told[1] for told in called(change, model=model)} == {id_}
        assert called(lambda: None, model=model) == []
    assert all(each.training for each in model.modules())
    assert all(each.requires_grad and each.grad is None for each in model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    assert {told[1] for told in called(changes["gradient-accumulated"], model=model)} == {
        "gradient-accumulated"
    }
