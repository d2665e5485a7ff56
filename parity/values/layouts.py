"""Canonical layouts, and the way from them to a framework's own and back.

Canonical is the reference's: images NHWC, convolution kernels HWIO, dense kernels in x out. Every
function here is pure NumPy and returns contiguous arrays, because a transposed view that escapes
is written wrongly by safetensors and read with odd strides by torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: How a parameter is laid out on the torch side, by the module that owns it.
KINDS = ("convolution", "transposed_convolution", "dense", "as_is")


def images_to_canonical(array: np.ndarray, layout: str) -> np.ndarray:
    """(..., C, H, W) to (..., H, W, C) for layout "NCHW"; arrays of rank below 4 as they are."""
    if layout == "NCHW" and array.ndim >= 4:
        array = np.moveaxis(array, -3, -1)
    return _contiguous(array)


def images_from_canonical(array: np.ndarray, layout: str) -> np.ndarray:
    """The inverse of :func:`images_to_canonical`."""
    if layout == "NCHW" and array.ndim >= 4:
        array = np.moveaxis(array, -1, -3)
    return _contiguous(array)


def weight_to_torch(array: np.ndarray, kind: str) -> np.ndarray:
    """A canonical kernel to torch's order.

    Args:
        array: HWIO, or (W, I, O) and (D, H, W, I, O) for other ranks; (in, out); or anything.
        kind: one of KINDS.

    Returns:
        OIHW for a convolution, IOHW for a transposed one (Keras keeps those as HWOI), (out, in)
        for a dense layer, the same order otherwise.
    """
    if kind in ("convolution", "transposed_convolution"):
        spatial = range(array.ndim - 2)
        array = array.transpose(array.ndim - 1, array.ndim - 2, *spatial)
    elif kind == "dense":
        array = array.T
    return _contiguous(array)


def weight_from_torch(array: np.ndarray, kind: str) -> np.ndarray:
    """The inverse of :func:`weight_to_torch`."""
    if kind in ("convolution", "transposed_convolution"):
        array = array.transpose(*range(2, array.ndim), 1, 0)
    elif kind == "dense":
        array = array.T
    return _contiguous(array)


def shape_in_torch(shape: Sequence[int], kind: str) -> tuple[int, ...]:
    """The shape that a canonical kernel of ``shape`` has on the torch side."""
    if kind in ("convolution", "transposed_convolution"):
        return (*shape[:-3:-1], *shape[:-2])
    return tuple(shape[::-1] if kind == "dense" else shape)


def rows_flattened_channels_first(kernel: np.ndarray, feature_map: Sequence[int]) -> np.ndarray:
    """A dense kernel for a network that flattens (C, H, W) where the reference flattens (H, W, C).

    Args:
        kernel: (H * W * C, units), rows in the reference's order.
        feature_map: (H, W, C) of the map that is flattened.
    """
    height, width, channels = feature_map
    rows = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
    return _contiguous(rows.reshape(kernel.shape))


def rows_flattened_channels_last(kernel: np.ndarray, feature_map: Sequence[int]) -> np.ndarray:
    """The inverse of :func:`rows_flattened_channels_first`."""
    height, width, channels = feature_map
    rows = kernel.reshape(channels, height, width, -1).transpose(1, 2, 0, 3)
    return _contiguous(rows.reshape(kernel.shape))


def _contiguous(array: np.ndarray) -> np.ndarray:
    """``array`` with the strides of a new one.

    ``np.ascontiguousarray`` keeps whatever strides an axis of length 1 has, and torch then takes
    images of one channel for channels-last ones, on which a port's ``view`` fails.
    """
    result = np.empty(array.shape, array.dtype)
    result[...] = array
    return result
