"""Layouts: each way and back, on sizes that differ in every axis, and torch agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parity.values import layouts


def numbered(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float64).reshape(shape)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (6, 2, 3, 4, 5), (2, 3, 4, 1)])
def test_images_there_and_back(shape: tuple[int, ...]) -> None:
    canonical = numbered(*shape)
    own = layouts.images_from_canonical(canonical, "NCHW")
    assert own.shape == (*shape[:-3], shape[-1], *shape[-3:-1])
    assert own.flags.c_contiguous
    assert own.strides == np.empty(own.shape).strides, "odd strides break .view in ports"
    assert np.array_equal(layouts.images_to_canonical(own, "NCHW"), canonical)


def test_images_of_a_side_in_nhwc_and_arrays_of_low_rank_stay_as_they_are() -> None:
    assert np.array_equal(
        layouts.images_from_canonical(numbered(2, 3, 4, 5), "NHWC"), numbered(2, 3, 4, 5)
    )
    assert np.array_equal(layouts.images_to_canonical(numbered(2, 3), "NCHW"), numbered(2, 3))


@pytest.mark.parametrize(
    ("kind", "canonical", "own"),
    [
        ("convolution", (2, 3, 4, 5), (5, 4, 2, 3)),
        ("convolution", (2, 4, 5), (5, 4, 2)),
        ("convolution", (6, 2, 3, 4, 5), (5, 4, 6, 2, 3)),
        ("transposed_convolution", (2, 3, 4, 5), (5, 4, 2, 3)),
        ("dense", (3, 4), (4, 3)),
        ("as_is", (3, 4), (3, 4)),
        ("as_is", (7,), (7,)),
    ],
)
def test_weights_there_and_back(
    kind: str, canonical: tuple[int, ...], own: tuple[int, ...]
) -> None:
    array = numbered(*canonical)
    moved = layouts.weight_to_torch(array, kind)
    assert moved.shape == own == layouts.shape_in_torch(canonical, kind)
    assert moved.flags.c_contiguous
    assert np.array_equal(layouts.weight_from_torch(moved, kind), array)


def test_a_convolution_with_the_moved_kernel_is_the_same_convolution() -> None:
    images, kernel = numbered(2, 5, 6, 3), numbered(2, 3, 3, 4)
    expected = np.zeros((2, 4, 4, 4))
    for i in range(4):
        for j in range(4):
            patch = images[:, i : i + 2, j : j + 3, :]
            expected[:, i, j] = np.tensordot(patch, kernel, axes=3)
    ours = torch.nn.functional.conv2d(
        torch.from_numpy(layouts.images_from_canonical(images, "NCHW")),
        torch.from_numpy(layouts.weight_to_torch(kernel, "convolution")),
    )
    assert np.array_equal(layouts.images_to_canonical(ours.numpy(), "NCHW"), expected)


def test_rows_of_a_dense_kernel_follow_the_flatten_order() -> None:
    feature_map, kernel = numbered(2, 3, 4), numbered(24, 5) / 24
    rows = layouts.rows_flattened_channels_first(kernel, (2, 3, 4))
    expected = feature_map.reshape(-1) @ kernel
    ours = feature_map.transpose(2, 0, 1).reshape(-1) @ rows
    np.testing.assert_allclose(ours, expected, rtol=1e-14)
    assert not np.array_equal(rows, kernel)
    assert np.array_equal(layouts.rows_flattened_channels_last(rows, (2, 3, 4)), kernel)
