"""The reference on its own: bad input, and what the port's tests assert of the port."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ebm.settings import ConvLayer, DenseLayer, Settings
from reference_tf import replay_buffer, training
from reference_tf.energy_model import energy_model
from reference_tf.images import preprocess
from reference_tf.langevin import generate_samples

SMALL = Settings(
    height=9,
    width=7,
    convolutions=(ConvLayer(3, (3, 2), (2, 1)),),
    dense=(DenseLayer(4),),
    batch_size=6,
    steps=2,
    buffer_size=8,
)


def images(n: int = 3) -> tf.Tensor:
    return tf.random.uniform((n, 9, 7, 1)) * 2 - 1


def test_the_published_model_has_the_published_size() -> None:
    assert energy_model().count_params() == 76_993


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": tf.zeros((3, 9, 7))}, ValueError, r"shape \(B, H, W, C\), got \(3, 9, 7\)"),
        ({"images": tf.zeros((1, 9, 7, 1), tf.uint8)}, TypeError, "uint8"),
        ({"images": tf.fill((1, 9, 7, 1), float("nan"))}, ValueError, "NaN or infinity"),
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
        generate_samples(energy_model(SMALL), **call)


def test_no_images_give_no_images() -> None:
    assert generate_samples(energy_model(SMALL), images(0), 3, 10.0, 0.1).shape == (0, 9, 7, 1)


def test_the_callers_images_stay_as_they_are() -> None:
    given = images()
    before = given.numpy().copy()
    generate_samples(energy_model(SMALL), given, 2, 10.0, 0.1)
    assert np.array_equal(given.numpy(), before)


@pytest.mark.parametrize(
    ("bad", "error"),
    [(np.zeros((2, 28, 28)), TypeError), (np.zeros((28, 28), np.uint8), ValueError)],
)
def test_preprocessing_refuses_what_are_not_grey_levels(
    bad: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error, match="got"):
        preprocess(bad)


@pytest.mark.parametrize(("n_real", "split"), [(4, "halves"), (3, "counts")])
def test_a_training_step_moves_the_weights(n_real: int, split: str) -> None:
    settings = Settings(**{**vars(SMALL), "score_split": split})
    model, buffer = energy_model(settings), replay_buffer.ReplayBuffer(settings)
    before = [w.numpy().copy() for w in model.weights]
    losses = training.train_step(
        model, training.make_optimizer(model, settings), images(n_real), buffer, settings
    )
    assert set(losses) == {
        "loss", "contrastive_divergence", "regulariser", "real_score", "fake_score",
    }  # fmt: skip
    assert any(not np.array_equal(b, w.numpy()) for b, w in zip(before, model.weights, strict=True))


def test_an_odd_number_of_scores_cannot_be_halved() -> None:
    model, buffer = energy_model(SMALL), replay_buffer.ReplayBuffer(SMALL)
    optimizer = training.make_optimizer(model, SMALL)
    with pytest.raises(ValueError, match="got 3 real and 6 fake; use score_split='counts'"):
        training.train_step(model, optimizer, images(3), buffer, SMALL)


def test_the_buffer_keeps_the_newest_and_no_more_than_its_size() -> None:
    buffer = replay_buffer.ReplayBuffer(SMALL)
    for _ in range(3):
        samples = buffer.sample(energy_model(SMALL))
        assert len(buffer.images) <= SMALL.buffer_size
        assert np.array_equal(buffer.images[: len(samples)], samples)
