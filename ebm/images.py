"""MNIST-like images as uint8 arrays: the bundled digits, or IDX files given by path."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import numpy as np

BUNDLED = Path(__file__).resolve().parents[1] / "data" / "mnist10k.npz"

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_images(path: Path | str | None = None) -> np.ndarray:
    """Images (N, H, W), uint8.

    Args:
        path: an IDX file of images as MNIST and Fashion-MNIST are published (plain or gzip, told
            apart by content), an ``.npz`` with an array ``images``, or None for the 10,000
            bundled digits.

    Raises:
        ValueError: the file is cut short, of another format, rank or type; names the file.
    """
    path = BUNDLED if path is None else Path(path)
    with open(path, "rb") as file:
        magic = file.read(4)
    images = _from_npz(path) if magic[:2] == b"PK" else read_idx(path)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"{path} holds {images.dtype} of shape {images.shape}; expected uint8 images (N, H, W)"
        )
    return images


def read_idx(path: Path | str) -> np.ndarray:
    """Any array in an IDX file, plain or gzip.

    Format: two zero bytes, a type code, the rank, each dimension as a big-endian uint32, then the
    values (Y. LeCun, "The MNIST database", section "The IDX file format").
    """
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is not a whole gzip file: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES:
        raise ValueError(f"{path} is not an IDX file: it starts with {data[:4]!r}")
    dtype, rank = np.dtype(_IDX_DTYPES[data[2]]), data[3]
    start = 4 + 4 * rank
    if len(data) < start:
        raise ValueError(f"{path} ends inside its header: {len(data)} bytes, expected {start}")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", rank, offset=4))
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=object))
    if len(data) != expected:
        raise ValueError(
            f"{path} has {len(data)} bytes, its header announces shape {shape}: {expected} bytes"
        )
    values = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _from_npz(path: Path) -> np.ndarray:
    data = path.read_bytes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            names = sorted(arrays)
            images = np.asarray(arrays["images"]) if "images" in names else None
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen types for damaged bytes
        raise ValueError(f"{path} is not a whole .npz file of plain arrays: {error}") from error
    if images is None:
        raise ValueError(f"{path} has no array 'images', only {names}")
    return images
