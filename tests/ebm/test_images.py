"""The loader of digits: what it reads back, and that a damaged file is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ebm.images import BUNDLED, load_images, read_idx

DIGITS = np.random.default_rng(0).integers(0, 256, (3, 5, 4), np.uint8)
TYPE_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    """The IDX file of an array, written here from the format's description."""
    code = TYPE_CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, allow_pickle=True, **arrays)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path for every generated file of this module."""
    return tmp_path_factory.mktemp("images") / "t10k-images-idx3-ubyte"


def refused(path: Path, data: bytes, message: str = "") -> None:
    """The file is refused by a ValueError that names it (and says ``message``, a pattern)."""
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"(?s){re.escape(str(path))}.*{message}"):
        load_images(path)


# What is read back


def test_the_bundled_digits_are_the_ones_on_record() -> None:
    images = load_images()
    assert images.shape == (10_000, 28, 28)
    assert images.dtype == np.uint8
    digest = hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
    assert digest == "01a649acf97bc53c9bbc1a378d3087f5a8f67ccf25746dab384bcbe11feed658"
    assert np.array_equal(images, load_images(BUNDLED))


arrays = st.sampled_from(sorted(TYPE_CODES)).flatmap(
    lambda code: hnp.arrays(
        np.dtype(code), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )
)


@given(array=arrays, compress=st.booleans(), as_text=st.booleans())
def test_any_array_comes_back_from_idx(
    file: Path, array: np.ndarray, compress: bool, as_text: bool
) -> None:
    data = idx(array)
    file.write_bytes(gzip.compress(data) if compress else data)
    read = read_idx(str(file) if as_text else file)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array, strict=True)


@given(
    images=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=0)),
    compress=st.booleans(),
)
def test_images_come_back_from_idx(file: Path, images: np.ndarray, compress: bool) -> None:
    file.write_bytes(gzip.compress(idx(images)) if compress else idx(images))
    np.testing.assert_array_equal(load_images(file), images, strict=True)


def test_images_come_back_from_npz_whatever_the_file_is_called(tmp_path: Path) -> None:
    labels = np.zeros(3, np.uint8)
    path = npz(tmp_path / "digits.npz", images=DIGITS, labels=labels).rename(tmp_path / "digits")
    np.testing.assert_array_equal(load_images(path), DIGITS, strict=True)


def test_the_images_are_the_callers_to_change(file: Path) -> None:
    file.write_bytes(idx(DIGITS))
    assert load_images(file).flags.writeable


# What is refused


@given(data=st.data(), compress=st.booleans())
def test_a_file_cut_short_anywhere_is_refused(
    file: Path, data: st.DataObject, compress: bool
) -> None:
    whole = gzip.compress(idx(DIGITS)) if compress else idx(DIGITS)
    refused(file, whole[: data.draw(st.integers(0, len(whole) - 1), label="length")])


def test_an_npz_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = npz(tmp_path / "digits.npz", images=DIGITS).read_bytes()
    for length in range(len(whole)):
        refused(tmp_path / "cut", whole[:length])


@given(extra=st.binary(min_size=1, max_size=9), compress=st.booleans())
def test_trailing_bytes_are_refused(file: Path, extra: bytes, compress: bool) -> None:
    data = idx(DIGITS) + extra
    refused(file, gzip.compress(data) if compress else data, "announces shape")


@given(position=st.integers(0, 15), change=st.integers(1, 255))
def test_an_altered_header_is_refused(file: Path, position: int, change: int) -> None:
    """Each of the 16 bytes of the header matters: the size of the file gives every change away."""
    data = bytearray(idx(DIGITS))
    data[position] ^= change
    refused(file, bytes(data))


@given(data=st.data(), change=st.integers(1, 255))
def test_an_altered_gzip_or_npz_never_yields_other_images(
    file: Path, data: st.DataObject, change: int
) -> None:
    """The checksum inside sees it; a byte that means nothing (a date) may change."""
    npz(file.with_suffix(".npz"), images=DIGITS)
    for whole in (gzip.compress(idx(DIGITS)), file.with_suffix(".npz").read_bytes()):
        altered = bytearray(whole)
        altered[data.draw(st.integers(0, len(whole) - 1), label="position")] ^= change
        file.write_bytes(altered)
        try:
            read = load_images(file)
        except ValueError as error:
            refusal = str(error)
        else:
            np.testing.assert_array_equal(read, DIGITS, strict=True)
            continue
        assert str(file) in refusal


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4, 1)])
@pytest.mark.parametrize("kind", ["idx", "npz"])
def test_a_wrong_rank_is_refused(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    data = idx(array) if kind == "idx" else npz(tmp_path / "a.npz", images=array).read_bytes()
    refused(tmp_path / "other", data, rf"uint8 of shape {re.escape(str(shape))}; expected")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("kind", ["idx", "npz"])
def test_a_wrong_type_is_refused(tmp_path: Path, kind: str, dtype: str) -> None:
    array = DIGITS.astype(dtype)
    data = idx(array) if kind == "idx" else npz(tmp_path / "a.npz", images=array).read_bytes()
    refused(tmp_path / "other", data, f"{dtype} of shape .*expected uint8")


def test_python_objects_in_an_npz_are_refused_and_not_run(tmp_path: Path) -> None:
    whole = npz(tmp_path / "a.npz", images=np.array([[["an object"]]], object)).read_bytes()
    refused(tmp_path / "other", whole)


def test_an_npz_without_images_is_refused_with_what_it_has(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", labels=np.zeros(3), digits=DIGITS)
    refused(tmp_path / "other", path.read_bytes(), r"no array 'images'.*\['digits', 'labels'\]")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\x1f\x8b",
        b"PK",
        b"\x1f\x8bthis is no gzip",
        b"PKthis is no zip",
        b"\x89PNG\r\n",
    ],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path / "other", data)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not-there"):
        load_images(tmp_path / "not-there")
