"""Which clips a sampler in TensorFlow has: any way to write one, and what is none."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from parity.frameworks.tensorflow.clips import Clips

raw = tf.raw_ops
IMAGES = tf.constant(np.linspace(-2, 2, 2 * 4 * 4).reshape(2, 4, 4, 1))
SMALL = IMAGES / 100


def seen(clip: Callable[[tf.Tensor], object], *images: tf.Tensor) -> list[dict[str, float]]:
    """The limits of each clip that runs, with the share of elements that each changed."""
    clips = Clips(image_size=16)
    with clips:
        for each in images:
            clip(each)
    return [about["limits"] for about in clips.to_dict().values()]


@pytest.mark.parametrize(
    "clip",
    [
        lambda x: tf.clip_by_value(x, -1.0, 1.0),
        lambda x: keras.ops.clip(x, -1.0, 1.0),
        lambda x: tf.maximum(tf.minimum(x, 1.0), -1.0),
        lambda x: tf.minimum(1.0, tf.maximum(-1.0, x)),
        lambda x: keras.ops.maximum(keras.ops.minimum(x, 1.0), -1.0),
        lambda x: raw.Maximum(x=raw.Minimum(x=x, y=tf.ones_like(x)), y=-tf.ones_like(x)),
        lambda x: [tf.clip_by_value(image, -1.0, 1.0) for image in x],
    ],
)
def test_each_way_to_clip_by_value(clip: Callable[[tf.Tensor], object]) -> None:
    assert seen(clip, IMAGES) == [{"upper": 0.25, "lower": 0.25}]
    assert seen(clip, SMALL) == [{"upper": 0.0, "lower": 0.0}]


@pytest.mark.parametrize(
    "clip",
    [
        lambda x: tf.clip_by_norm(x, 1.0),
        lambda x: tf.clip_by_norm(x, 1.0, axes=(1, 2, 3)),
        lambda x: tf.clip_by_global_norm([x], 1.0),
        lambda x: x / tf.maximum(1.0, norms(x)),
        lambda x: x * tf.minimum(1.0, 1.0 / norms(x)),
        lambda x: x / tf.maximum(norms(x) / 1.0, 1.0),
    ],
)
def test_each_way_to_clip_by_norm(clip: Callable[[tf.Tensor], object]) -> None:
    (bound,), (idle,) = seen(clip, IMAGES), seen(clip, SMALL)
    assert set(bound.values()) == {1.0}
    assert set(idle.values()) == {0.0}


def norms(x: tf.Tensor) -> tf.Tensor:
    return tf.norm(tf.reshape(x, (len(x), -1)), axis=1)[:, None, None, None]


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x * 2 + 1,
        lambda x: tf.maximum(x, tf.reverse(x, (0,))),  # the larger of two images
        lambda x: tf.maximum(tf.constant(3), 4),  # of two numbers
        lambda x: tf.clip_by_value(x[:0], -1.0, 1.0),  # of no images
        lambda x: tf.where(tf.math.is_nan(x), 0.0 * x, x),
        tf.function(lambda x: tf.clip_by_value(x, -1.0, 1.0)),  # compiled: not seen
    ],
)
def test_what_is_no_clip_is_not_asked_to_bind(other: Callable[[tf.Tensor], object]) -> None:
    assert seen(other, IMAGES) == []


def test_a_clip_is_known_by_its_line_and_pooled_over_steps() -> None:
    def twice(x: tf.Tensor) -> None:
        for value in (x, x / 100):
            tf.clip_by_value(value, -1.0, 1.0)
        tf.minimum(x, 0.5)

    clips = Clips(image_size=16)
    with clips:
        twice(IMAGES)
    first, second = clips.to_dict().items()
    assert first[1] == {"share": 0.25, "limits": {"upper": 0.125, "lower": 0.125}}
    assert second[1]["limits"] == {"upper": 0.375}
    line = twice.__code__.co_firstlineno
    assert first[0].endswith(f"test_clips.py:{line + 2}")
    assert second[0].endswith(f"test_clips.py:{line + 3}")


def test_what_a_network_clips_is_its_own_and_nothing_is_watched_afterwards() -> None:
    clips = Clips(image_size=16)
    with clips, clips.paused():
        tf.clip_by_value(IMAGES, -1.0, 1.0)
    tf.clip_by_value(IMAGES, -1.0, 1.0)
    assert clips.to_dict() == {}
