"""From grey levels to what the network sees."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

PADDING = 2  # pixels of -1 on each side: 28x28 digits become 32x32


def preprocess(images: np.ndarray) -> tf.Tensor:
    """Scale grey levels 0..255 to [-1, 1] and pad.

    Args:
        images: (B, H, W) or (B, H, W, C), uint8.

    Returns:
        (B, H + 4, W + 4, C) in the default float type, the border at -1.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8 grey levels, got {images.dtype}")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4:
        raise ValueError(f"images must have shape (B, H, W) or (B, H, W, C), got {images.shape}")
    x = (tf.cast(images, tf.keras.backend.floatx()) - 127.5) / 127.5
    border = [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]]
    return tf.pad(x, border, constant_values=-1.0)
