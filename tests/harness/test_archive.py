"""Files are whole or refused: cut anywhere, altered anywhere, written by others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from parity.errors import BadFile
from parity.values import archive

ARRAYS = {
    "kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(2.5),
    "integers": np.array([1, -2], dtype=np.int64),
}
ABOUT = {"kind": "test", "schema": 1, "names": ["kernel", "ü"]}
DATA = archive.to_bytes(ARRAYS, ABOUT)


def assert_equal(found: archive.Arrays, expected: archive.Arrays) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array, equal_nan=True)


def test_round_trip_also_of_arrays_that_are_not_contiguous() -> None:
    assert not ARRAYS["kernel"].flags.c_contiguous
    found, about = archive.from_bytes(DATA, "test")
    assert_equal(found, ARRAYS)
    assert about == ABOUT


@given(
    st.dictionaries(
        st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8),
        arrays.arrays(
            st.sampled_from([np.float32, np.float64, np.int64, np.uint8]),
            arrays.array_shapes(min_dims=0, max_dims=4, max_side=3),
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_any_arrays_come_back(named: archive.Arrays, reverse: bool) -> None:
    if reverse:
        named = {name: array.T for name, array in named.items()}
    found, _ = archive.from_bytes(archive.to_bytes(named, {}), "test")
    assert_equal(found, named)


def test_equal_content_gives_equal_bytes_in_any_order() -> None:
    backwards = dict(reversed(ARRAYS.items()))
    assert archive.to_bytes(backwards, dict(reversed(ABOUT.items()))) == DATA


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {**a, "scalar": np.array(2.5000000000000004)},
        lambda a: {**a, "integers": a["integers"].astype(np.int32)},
        lambda a: {**a, "kernel": a["kernel"].reshape(4, 6)},
        lambda a: {("renamed" if k == "scalar" else k): v for k, v in a.items()},
    ],
)
def test_the_digest_sees_value_dtype_shape_and_name(change) -> None:  # type: ignore[no-untyped-def]
    assert archive.digest(change(ARRAYS), ABOUT) != archive.digest(ARRAYS, ABOUT)
    assert archive.digest(ARRAYS, {**ABOUT, "schema": 2}) != archive.digest(ARRAYS, ABOUT)


def test_cut_anywhere_is_refused() -> None:
    for length in range(len(DATA)):
        with pytest.raises(BadFile, match=r"cut\.safetensors"):
            archive.from_bytes(DATA[:length], "cut.safetensors")


def test_altered_anywhere_is_refused() -> None:
    """Every byte, one bit flipped: refused, or (in white space of the header) the same content."""
    for place in range(len(DATA)):
        altered = bytearray(DATA)
        altered[place] ^= 1 << (place % 8)
        try:
            found, about = archive.from_bytes(bytes(altered), "altered")
        except BadFile:
            continue
        assert_equal(found, ARRAYS)
        assert about == ABOUT


@pytest.mark.parametrize("size", [2**63, 2**40, 10**6])
def test_a_header_that_claims_a_huge_size_is_refused_at_once(size: int) -> None:
    with pytest.raises(BadFile, match="ends before its header does"):
        archive.from_bytes(size.to_bytes(8, "little") + b"{}", "huge")


@pytest.mark.parametrize("header", [b"[]", b"{}", b"null", b'{"__metadata__": 3}', b"\xff\xfe"])
def test_other_headers_are_refused(header: bytes) -> None:
    with pytest.raises(BadFile, match="cannot be read as a file of parity's"):
        archive.from_bytes(len(header).to_bytes(8, "little") + header, "other")


def test_another_programs_safetensors_are_refused() -> None:
    data = safetensors.numpy.save({"a": np.ones(2)}, metadata={"format": "np"})
    with pytest.raises(BadFile, match="written by another program"):
        archive.from_bytes(data, "other")


def test_the_header_has_a_single_metadata_key() -> None:
    size = int.from_bytes(DATA[:8], "little")
    assert len(json.loads(DATA[8 : 8 + size])["__metadata__"]) == 1


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"none\.safetensors cannot be read: No such file"):
        archive.load(tmp_path / "none.safetensors")
    with pytest.raises(BadFile, match="cannot be read: Is a directory"):
        archive.load(tmp_path)


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sub" / "a.safetensors"
    archive.save(path, ARRAYS, ABOUT)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        archive.save(path, {"a": np.ones(3)}, {})
    assert_equal(archive.load(path)[0], ARRAYS)
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        archive.save(tmp_path / "a.safetensors", {}, {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []
