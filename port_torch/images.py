"""From grey levels to what the network sees."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 2  # pixels of -1 on each side: 28x28 digits become 32x32


def preprocess(images: np.ndarray) -> Tensor:
    """Scale grey levels 0..255 to [-1, 1] and pad.

    Args:
        images: (B, H, W) or (B, H, W, C), uint8, channels last as image files come.

    Returns:
        (B, C, H + 4, W + 4) in the default float type, the border at -1.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8 grey levels, got {images.dtype}")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4:
        raise ValueError(f"images must have shape (B, H, W) or (B, H, W, C), got {images.shape}")
    x = (torch.from_numpy(images.copy()).to(torch.get_default_dtype()) - 127.5) / 127.5
    x = x.permute(0, 3, 1, 2)  # (B, C, H, W)
    return F.pad(x, (PADDING,) * 4, value=-1.0)
