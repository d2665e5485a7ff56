"""Named arrays and one JSON object in one safetensors file: the only place that writes them.

Every file carries a SHA-256 digest of what it holds, so that a file cut short or altered by a
single byte is refused, by name, instead of being compared.

Arrays are made contiguous before they are handed to safetensors, which silently writes the wrong
numbers for any other (safetensors issue 825), and everything lies under a single metadata key,
because several come out in an order that changes from run to run (safetensors issue 584).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from parity.errors import BadFile

Arrays = dict[str, np.ndarray]

_KEY = "parity"


def digest(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over names, dtypes, shapes, values and ``about``; the order does not matter."""
    sha = hashlib.sha256(json.dumps(about, sort_keys=True, allow_nan=False).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        sha.update(array.data if array.size else b"")
    return sha.hexdigest()


def to_bytes(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> bytes:
    """The file's bytes: the same for the same content."""
    contiguous = {
        name: np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape)
        for name in sorted(arrays)
    }
    body = json.dumps(
        {"about": dict(about), "digest": digest(contiguous, about)}, sort_keys=True, allow_nan=False
    )
    return safetensors.numpy.save(contiguous, metadata={_KEY: body})


def from_bytes(data: bytes, name: str) -> tuple[Arrays, dict[str, Any]]:
    """The inverse of :func:`to_bytes`: (arrays, about).

    Raises:
        BadFile: cut short, altered, or not written by :func:`to_bytes`; names ``name``.
    """
    try:
        header_size = int.from_bytes(data[:8], "little")
        if len(data) < 8 or header_size > len(data) - 8:
            raise BadFile(f"{name} is not a whole safetensors file: it ends before its header does")
        header = json.loads(data[8 : 8 + header_size])
        body = json.loads(header["__metadata__"][_KEY])
        arrays = safetensors.numpy.load(data)
        about, recorded = body["about"], body["digest"]
    except BadFile:
        raise
    except (
        safetensors.SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,  # a header of nothing but brackets
    ) as error:
        raise BadFile(
            f"{name} cannot be read as a file of parity's ({type(error).__name__}: {error}); "
            "it was cut short, altered, or written by another program"
        ) from error
    if digest(arrays, about) != recorded:
        raise BadFile(f"{name} was altered: its content does not match the digest it carries")
    return arrays, about


def save(path: Path | str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write the file whole or not at all, and read it back to be sure."""
    path = Path(path)
    data = to_bytes(arrays, about)
    from_bytes(data, str(path))
    write_whole(path, data)


def load(path: Path | str) -> tuple[Arrays, dict[str, Any]]:
    """Read what :func:`save` wrote.

    Raises:
        BadFile: missing, unreadable, cut short or altered.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}") from error
    return from_bytes(data, str(path))


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path`` and move it there, so that no reader sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
