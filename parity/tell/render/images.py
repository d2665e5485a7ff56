"""Arrays as pictures: colour maps, and PNG files that stand inside the page.

A PNG of a few hundred pixels is a header, rows and a checksum; the standard library writes it.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

# From below zero to above it: a blue and an orange that also differ to colour-blind eyes.
BELOW, ZERO, ABOVE = (28, 78, 148), (247, 245, 240), (176, 72, 10)
NOT_FINITE = (214, 0, 120)


def diverging(values: np.ndarray, limit: float) -> np.ndarray:
    """(H, W) to (H, W, 3) bytes: zero is pale, -limit blue, limit orange."""
    share = np.nan_to_num(np.clip(values / limit if limit else values * 0.0, -1, 1))[..., None]
    zero = np.array(ZERO)
    below, above = np.array(BELOW) - zero, np.array(ABOVE) - zero
    strength = np.abs(share) ** 0.75  # small values stay visible
    return _painted(zero + strength * np.where(share < 0, below, above), values)


def grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H, W) to (H, W, 3) bytes: low is black, high white."""
    share = np.nan_to_num(np.clip((values - low) / ((high - low) or 1.0), 0, 1))[..., None]
    return _painted(255 * share * np.ones(3), values)


def _painted(colours: np.ndarray, values: np.ndarray) -> np.ndarray:
    colours[~np.isfinite(values)] = NOT_FINITE
    pixels: np.ndarray = np.rint(colours).astype(np.uint8)
    return pixels


def png(pixels: np.ndarray) -> str:
    """A data URI of (H, W, 3) bytes."""
    height, width, _ = pixels.shape
    plain = bool((pixels == pixels[..., :1]).all())  # grey takes a third
    rows = pixels[..., 0] if plain else pixels.reshape(height, -1)
    scanlines = b"".join(b"\x00" + row.tobytes() for row in rows)  # 0: not filtered
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if plain else 2, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"IDAT", zlib.compress(scanlines, 9)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def diverging_scale() -> str:
    return png(diverging(np.linspace(-1, 1, 128)[None], 1.0))


def grey_scale() -> str:
    return png(grey(np.linspace(0, 1, 64)[None], 0.0, 1.0))


def packed(*arrays: np.ndarray) -> str:
    """Arrays one after the other as base64 of float32, little-endian, for the page's script."""
    data = b"".join(array.astype("<f4").tobytes() for array in arrays)
    return base64.b64encode(data).decode()
