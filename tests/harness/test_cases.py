"""Cases are complete, content-addressed, and refuse what no network could take."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.errors import BadCall, BadFile
from parity.values import archive
from parity.values.cases import Case, SamplerCall, check_images

IMAGES = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 2, 3, 2)
CASE = Case(
    weights={
        "conv1/kernel": np.ones((1, 2, 2, 1), dtype=np.float32),
        "a/bias": np.zeros(1, np.float32),
    },
    images=IMAGES,
    key=9,
    settings={"height": 2},
    feature_maps={"dense1/kernel": (2, 3, 2)},
    sampler=SamplerCall(3, 10.0, 0.005, 0.03),
    origin={"images": "uniform"},
)


def test_a_case_survives_the_round_trip_with_the_order_of_its_weights(tmp_path: Path) -> None:
    CASE.save(tmp_path / "case.safetensors")
    again = Case.load(tmp_path / "case.safetensors")
    assert list(again.weights) == list(CASE.weights)
    assert again.digest == CASE.digest
    assert again.sampler == CASE.sampler
    assert again.feature_maps == CASE.feature_maps
    assert np.array_equal(again.images, CASE.images)


@pytest.mark.parametrize(
    "change",
    [
        {"key": 10},
        {"images": IMAGES * np.float32(0.5)},
        {"settings": None},
        {"sampler": None},
        {"sampler": SamplerCall(3, 10.0, 0.005)},
        {"weights": {"conv1/kernel": np.ones((1, 2, 2, 1), dtype=np.float32)}},
        {"feature_maps": {}},
    ],
)
def test_another_content_has_another_digest(change: dict[str, Any]) -> None:
    assert dataclasses.replace(CASE, **change).digest != CASE.digest


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, 1.0, 0.1), "steps must be a whole number of at least 1, got 0"),
        ((-3, 1.0, 0.1), "got -3"),
        ((True, 1.0, 0.1), "got True"),
        ((1.5, 1.0, 0.1), "got 1.5"),
        ((1, float("nan"), 0.1), "step_size must be finite, got nan"),
        ((1, float("inf"), 0.1), "step_size must be finite, got inf"),
        ((1, 1.0, -0.1), "noise must be finite and at least 0, got -0.1"),
        ((1, 1.0, float("nan")), "noise must be finite and at least 0, got nan"),
        ((1, 1.0, 0.1, 0.0), "gradient_clip must be finite and above 0, got 0.0"),
        ((1, 1.0, 0.1, -1.0), "gradient_clip must be finite and above 0, got -1.0"),
    ],
)
def test_sampler_arguments_that_mean_nothing(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(BadCall, match=says.replace(".", r"\.")):
        SamplerCall(*arguments)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (IMAGES[0], r"must have shape \(B, H, W, C\), got \(2, 3, 2\)"),
        (IMAGES.astype(np.float64), "must be float32, got float64"),
        ((IMAGES * 100).astype(np.uint8), "must be float32, got uint8"),
        (np.where(IMAGES == 1, np.float32("nan"), IMAGES), r"infinity at index \(0, 1, 2, 1\)"),
        (np.where(IMAGES == 1, np.float32("inf"), IMAGES), "must be finite"),
    ],
)
def test_images_that_no_network_takes(images: np.ndarray, says: str) -> None:
    with pytest.raises(BadCall, match=f"images {says}" if says.startswith("must") else says):
        dataclasses.replace(CASE, images=images)


def test_images_that_were_not_preprocessed() -> None:
    raw = np.full((1, 2, 2, 1), 255, dtype=np.float32)
    with pytest.raises(BadCall, match=r"\[-1\.0, 1\.0\], got values from 255\.0 .*preprocessed"):
        check_images(raw, "images", within=(-1.0, 1.0))


def test_no_images_are_legal() -> None:
    assert dataclasses.replace(CASE, images=IMAGES[:0]).images.shape == (0, 2, 3, 2)


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (np.ones(1), "weight a must be float32, got float64"),
        (
            np.array([1, np.nan], dtype=np.float32),
            r"weight a holds NaN or infinity at index \(1,\)",
        ),
    ],
)
def test_weights_that_no_network_takes(weight: np.ndarray, says: str) -> None:
    with pytest.raises(BadCall, match=says):
        dataclasses.replace(CASE, weights={"a": weight})


def test_files_of_another_kind_or_schema_are_refused(tmp_path: Path) -> None:
    archive.save(tmp_path / "trace", {}, {"kind": "trace", "schema": 1})
    with pytest.raises(BadFile, match="holds a trace, not a case"):
        Case.load(tmp_path / "trace")
    archive.save(tmp_path / "new", {}, {"kind": "case", "schema": 99})
    with pytest.raises(BadFile, match="has schema 99; this version reads 1"):
        Case.load(tmp_path / "new")
