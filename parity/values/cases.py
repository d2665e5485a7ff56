"""A case: one shared stimulus, complete and content-addressed.

Weights and images are float32 values, so that the float64 and the float32 run of either side see
the same numbers. Noise is held as the key of its stream.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import BadCall, BadFile
from parity.values import archive

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class SamplerCall:
    """The arguments of one call of ``generate_samples``, besides model and images.

    ``gradient_clip`` None leaves it to the functions' own defaults.
    """

    steps: int
    step_size: float
    noise: float
    gradient_clip: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 1:
            raise BadCall(f"steps must be a whole number of at least 1, got {self.steps!r}")
        if not np.isfinite(self.step_size):
            raise BadCall(f"step_size must be finite, got {self.step_size!r}")
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise BadCall(f"noise must be finite and at least 0, got {self.noise!r}")
        clip = self.gradient_clip
        if clip is not None and not (np.isfinite(clip) and clip > 0):
            raise BadCall(f"gradient_clip must be finite and above 0, got {clip!r}")


@dataclasses.dataclass(frozen=True)
class TrainingCall:
    """How a case trains.

    Attributes:
        steps: how many steps are taken; the case's images are divided into as many real batches.
        iterations: how many steps the optimizer has taken before, as its moments say.
    """

    steps: int = 1
    iterations: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (("steps", self.steps, 1), ("iterations", self.iterations, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise BadCall(f"{name} must be a whole number of at least {least}, got {value!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One stimulus for both sides.

    Attributes:
        weights: name -> float32 array in canonical layout, in the reference's order.
        images: (B, H, W, C) float32; B may be 0.
        key: names the streams of shared randomness.
        settings: what ``model(settings)`` is given; None for ``model()``.
        feature_maps: name of a dense kernel that follows a flatten -> (H, W, C) that is flattened.
        sampler: how ``generate_samples`` is called; None for a case of the network alone.
        training: how many training steps are taken; None for a case that trains nothing.
        view: the port is handed its images as a view that is not contiguous, of the same values.
        state: where training starts besides weights: ``buffer`` (N, H, W, C), the replay buffer's
            images, and the optimizer's moments, ``<moment>/<weight>``, canonical. What is absent
            is as the side's own program makes it.
        origin: how the case was drawn, for people.
    """

    weights: Mapping[str, np.ndarray]
    images: np.ndarray
    key: int = 0
    settings: Mapping[str, Any] | None = None
    feature_maps: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    sampler: SamplerCall | None = None
    training: TrainingCall | None = None
    view: bool = False
    state: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_images(self.images, "images")
        for name, array in self.weights.items():
            if array.dtype != np.float32:
                raise BadCall(f"weight {name} must be float32, got {array.dtype}")
            if not np.isfinite(array).all():
                raise BadCall(f"weight {name} holds NaN or infinity at {_first_bad(array)}")
        for name, array in self.state.items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise BadCall(f"state {name} must be float32 and finite, got {array.dtype}")
        if self.training is None and self.state:
            raise BadCall("a case with a training state needs 'training' arguments")
        if self.training is not None and len(self.images) % self.training.steps:
            raise BadCall(
                f"{len(self.images)} images cannot be divided into {self.training.steps} batches"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the content; cases of equal content have equal digests."""
        return archive.digest(*self._content())

    def to_bytes(self) -> bytes:
        return archive.to_bytes(*self._content())

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "case") -> Case:
        """The inverse of :meth:`to_bytes`.

        Raises:
            BadFile: cut short, altered, of another kind, or of a newer schema.
        """
        return cls._from_content(*archive.from_bytes(data, name), name)

    def save(self, path: Path | str) -> None:
        archive.save(path, *self._content())

    @classmethod
    def load(cls, path: Path | str) -> Case:
        return cls._from_content(*archive.load(path), str(path))

    def _content(self) -> tuple[archive.Arrays, dict[str, Any]]:
        arrays = {f"weights/{name}": array for name, array in self.weights.items()}
        arrays |= {f"state/{name}": array for name, array in self.state.items()}
        arrays["images"] = self.images
        about = {
            "kind": "case",
            "schema": SCHEMA,
            "weights": list(self.weights),
            "key": self.key,
            "settings": None if self.settings is None else dict(self.settings),
            "feature_maps": {name: list(shape) for name, shape in self.feature_maps.items()},
            "sampler": None if self.sampler is None else dataclasses.asdict(self.sampler),
            "training": None if self.training is None else dataclasses.asdict(self.training),
            "state": list(self.state),
            "origin": dict(self.origin),
        }
        if self.view:  # all others keep the digests that they had before there were views
            about["view"] = True
        return arrays, about

    @classmethod
    def _from_content(cls, arrays: archive.Arrays, about: Mapping[str, Any], name: str) -> Case:
        if about.get("kind") != "case":
            raise BadFile(
                f"{name} holds a {about.get('kind', 'file of another program')}, not a case"
            )
        if about.get("schema") != SCHEMA:
            raise BadFile(f"{name} has schema {about.get('schema')}; this version reads {SCHEMA}")
        sampler, training = about["sampler"], about["training"]
        return cls(
            weights={weight: arrays[f"weights/{weight}"] for weight in about["weights"]},
            images=arrays["images"],
            key=about["key"],
            settings=about["settings"],
            feature_maps={k: tuple(shape) for k, shape in about["feature_maps"].items()},
            sampler=None if sampler is None else SamplerCall(**sampler),
            training=None if training is None else TrainingCall(**training),
            view=about.get("view", False),
            state={name: arrays[f"state/{name}"] for name in about["state"]},
            origin=about["origin"],
        )


def check_images(
    images: np.ndarray, name: str, *, within: tuple[float, float] | None = None
) -> None:
    """Refuse images that no network of ours could take.

    Args:
        images: expected (B, H, W, C), float32, finite; B may be 0.
        name: what the message calls them.
        within: the range their values must lie in, if any.

    Raises:
        BadCall: names the property that is wrong, the value found and what was expected.
    """
    if images.ndim != 4:
        raise BadCall(f"{name} must have shape (B, H, W, C), got {images.shape}")
    if images.dtype != np.float32:
        raise BadCall(f"{name} must be float32, got {images.dtype}")
    if not np.isfinite(images).all():
        raise BadCall(f"{name} must be finite, got NaN or infinity at {_first_bad(images)}")
    if within is not None and images.size:
        low, high = float(images.min()), float(images.max())
        if low < within[0] or high > within[1]:
            raise BadCall(
                f"{name} must lie in [{within[0]}, {within[1]}], got values from {low} to {high}; "
                "were they preprocessed?"
            )


def _first_bad(array: np.ndarray) -> str:
    index = np.argwhere(~np.isfinite(array))[0]
    return f"index {tuple(int(i) for i in index)}"
