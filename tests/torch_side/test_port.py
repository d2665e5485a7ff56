"""The port on its own: SAME padding, bad input, and what a call may not touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ebm.settings import ConvLayer, DenseLayer, Settings
from port_torch import replay_buffer, training
from port_torch.energy_model import energy_model, same_padding
from port_torch.images import preprocess
from port_torch.langevin import generate_samples, score_gradients

SMALL = Settings(
    height=9,
    width=7,
    convolutions=(ConvLayer(3, (3, 2), (2, 1)),),
    dense=(DenseLayer(4),),
    batch_size=6,
    steps=2,
    buffer_size=8,
)


def images(n: int = 3, **options: object) -> torch.Tensor:
    return torch.rand(n, 1, 9, 7, **options) * 2 - 1  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        (32, 5, 2, (1, 2)),
        (16, 3, 2, (0, 1)),
        (4, 3, 2, (0, 1)),
        (5, 1, 3, (0, 0)),
        (7, 3, 1, (1, 1)),
    ],
)
def test_same_padding_of_known_layers(
    size: int, kernel: int, stride: int, padding: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride) == padding


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5))
def test_same_padding_gives_the_announced_size_with_the_larger_half_after(
    size: int, kernel: int, stride: int
) -> None:
    before, after = same_padding(size, kernel, stride)
    assert after - before in (0, 1)
    assert (size + before + after - kernel) // stride + 1 == -(-size // stride)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": torch.zeros(3, 9, 7)}, ValueError, r"shape \(B, C, H, W\), got \(3, 9, 7\)"),
        ({"images": torch.zeros(1, 1, 9, 7, dtype=torch.uint8)}, TypeError, "torch.uint8"),
        ({"images": torch.full((1, 1, 9, 7), float("nan"))}, ValueError, "NaN or infinity"),
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"noise": -0.1}, ValueError, "noise must be finite and at least 0, got -0.1"),
        ({"step_size": float("inf")}, ValueError, "step_size must be finite, got inf"),
        ({"gradient_clip": 0.0}, ValueError, "gradient_clip must be above 0, got 0.0"),
    ],
)
def test_the_sampler_refuses_bad_input(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    call = {"images": images(), "steps": 1, "step_size": 10.0, "noise": 0.005} | arguments
    with pytest.raises(error, match=message):
        generate_samples(energy_model(SMALL), **call)  # type: ignore[arg-type]


def test_no_images_give_no_images() -> None:
    assert generate_samples(energy_model(SMALL), images(0), 3, 10.0, 0.1).shape == (0, 1, 9, 7)


def test_a_gradient_does_not_depend_on_the_batch_size() -> None:
    """What averaging the scores would break."""
    model, x = energy_model(SMALL).double(), images(5, dtype=torch.float64)
    together = score_gradients(model, x)
    alone = torch.cat([score_gradients(model, image[None]) for image in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-15)


def test_every_modules_mode_is_restored_even_when_the_model_raises() -> None:
    model = energy_model(SMALL).train()
    model.get_submodule("conv1").eval()
    modes = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError):
        generate_samples(model, torch.zeros(1, 2, 9, 7), 1, 10.0, 0.0)
    assert [module.training for module in model.modules()] == modes


def test_every_module_is_in_evaluation_mode_while_it_is_sampled() -> None:
    model, seen = energy_model(SMALL).train(), []
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    generate_samples(model, images(), 2, 10.0, 0.0)
    assert len(seen) == 2 * len(list(model.modules()))
    assert not any(seen)


@pytest.mark.parametrize(
    ("bad", "error"),
    [(np.zeros((2, 28, 28)), TypeError), (np.zeros((28, 28), np.uint8), ValueError)],
)
def test_preprocessing_refuses_what_are_not_grey_levels(
    bad: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error, match="got"):
        preprocess(bad)


def test_an_odd_number_of_scores_cannot_be_halved() -> None:
    model = energy_model(SMALL)
    buffer = replay_buffer.ReplayBuffer(SMALL)
    optimizer = training.make_optimizer(model, SMALL)
    with pytest.raises(ValueError, match="got 3 real and 6 fake; use score_split='counts'"):
        training.train_step(model, optimizer, images(3), buffer, SMALL)


def test_the_buffer_keeps_the_newest_and_no_more_than_its_size() -> None:
    buffer = replay_buffer.ReplayBuffer(SMALL)
    for _ in range(3):
        samples = buffer.sample(energy_model(SMALL))
        assert len(buffer.images) <= SMALL.buffer_size
        assert torch.equal(buffer.images[: len(samples)], samples)
