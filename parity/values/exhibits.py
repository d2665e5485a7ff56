"""What a report shows besides verdicts: images, trajectories, training curves and draws.

A check hands over, with its outcome, what a person would like to look at; it decides nothing. As
plain values, rounded to what can be seen, so that a JSON report holds all that a page shows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.values.randomness import Draw

LARGEST_SIDE = 64
"""Pixels; a larger image is shown in blocks."""

MOST_FRAMES = 9
MOST_DRAWS = 200
DIGITS, DIFFERENCE_DIGITS = 5, 3


@dataclasses.dataclass(frozen=True, eq=False)
class GradientMaps:
    """The energy gradient of the image on which the two sides differ most.

    Attributes:
        image: its index in the batch.
        reference, port: (H, W, C) float64.
        floor: float64 noise floor of the gradients, absolute.
    """

    image: int
    reference: np.ndarray
    port: np.ndarray
    floor: float

    @property
    def floors(self) -> float:
        """The greatest difference, in noise floors."""
        return _ratio(float(np.abs(self.port - self.reference).max(initial=0.0)), self.floor)

    def to_dict(self) -> dict[str, Any]:
        return {
            "image": self.image,
            "floor": number(self.floor),
            "maps": _shown(self.reference, self.port),
        }

    @classmethod
    def of(
        cls, reference: np.ndarray, port: np.ndarray | None, floor: float
    ) -> GradientMaps | None:
        """From (B, H, W, C) of both sides; None where there is nothing to see."""
        if port is None or port.shape != reference.shape or reference.ndim != 4:
            return None
        if not reference.size:
            return None
        image = _worst_image(reference, port)
        return cls(image, reference[image], port[image], floor)


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """How far the two sides are apart, step by step, and the images of the worst one.

    Attributes:
        steps: which steps, from 0.
        residuals, floors: float64, absolute, one for each of ``steps``.
        horizon: how many steps come before the reference's own copies part company.
        image: index in the batch of the images shown; None if none are.
        reference, port: (len(steps), H, W, C) of that image.
        start: (H, W, C), where it began.
    """

    steps: tuple[int, ...]
    residuals: tuple[float, ...]
    floors: tuple[float, ...]
    horizon: int | None = None
    image: int | None = None
    reference: np.ndarray | None = None
    port: np.ndarray | None = None
    start: np.ndarray | None = None

    @property
    def worst(self) -> float:
        """The greatest residual within the horizon, in noise floors."""
        counted = [
            _ratio(r, f)
            for step, r, f in zip(self.steps, self.residuals, self.floors, strict=True)
            if self.horizon is None or step < self.horizon
        ]
        return max(counted, default=0.0)

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "steps": list(self.steps),
            "residuals": [number(r) for r in self.residuals],
            "floors": [number(f) for f in self.floors],
            "horizon": self.horizon,
        }
        if self.reference is not None and self.port is not None and self.start is not None:
            places = _spread(len(self.steps), MOST_FRAMES - 1)
            found["image"] = self.image
            found["frames"] = [
                {"after": 0, "maps": _shown(self.start, self.start)},
                *(
                    {
                        "after": self.steps[place] + 1,
                        "maps": _shown(self.reference[place], self.port[place]),
                    }
                    for place in places
                ),
            ]
        return found

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        steps: Sequence[int],
        reference: np.ndarray,
        port: np.ndarray,
        floors: Sequence[float],
        horizon: int,
    ) -> Trajectory:
        """From (len(steps), B, H, W, C) of both sides, and where they started, (B, H, W, C)."""
        differences = np.abs(port - reference)
        residuals = differences.max(axis=tuple(range(1, differences.ndim)), initial=0.0)
        common: dict[str, Any] = {
            "steps": tuple(steps),
            "residuals": tuple(map(float, residuals)),
            "floors": tuple(map(float, floors)),
            "horizon": horizon,
        }
        if not reference.size:
            return cls(**common)
        inside = max(1, sum(step < horizon for step in steps))  # beyond, all images are apart
        swapped = [np.swapaxes(array[:inside], 0, 1) for array in (reference, port)]
        image = _worst_image(*swapped)
        shown = {"reference": reference[:, image], "port": port[:, image], "start": images[image]}
        return cls(**common, image=image, **shown)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingCurves:
    """What each training step returned, by name: (reference's, port's), each (steps,)."""

    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]

    @property
    def length(self) -> int:
        return max((len(truth) for truth, _ in self.curves.values()), default=0)

    def to_dict(self) -> dict[str, Any]:
        return {
            name: {"reference": rounded(truth, 17), "port": rounded(ours, 17)}
            for name, (truth, ours) in self.curves.items()
        }


@dataclasses.dataclass(frozen=True)
class DrawLogs:
    """What each side drew, in order."""

    reference: tuple[Draw, ...]
    port: tuple[Draw, ...]

    @property
    def first_difference(self) -> int | None:
        """The first draw that is not the same on both sides."""
        for place in range(max(len(self.reference), len(self.port))):
            if self.reference[place : place + 1] != self.port[place : place + 1]:
                return place
        return None

    def to_dict(self) -> dict[str, Any]:
        first = self.first_difference
        begin = 0 if first is None else max(0, first - MOST_DRAWS // 2)
        part = slice(begin, begin + MOST_DRAWS)
        return {
            "first_difference": first,
            "begin": begin,
            "lengths": [len(self.reference), len(self.port)],
            "reference": [_draw(draw) for draw in self.reference[part]],
            "port": [_draw(draw) for draw in self.port[part]],
        }


Exhibit = GradientMaps | Trajectory | TrainingCurves | DrawLogs


def rounded(array: np.ndarray, digits: int = DIGITS) -> Any:
    """Nested lists of numbers with so many digits; None for what is not finite."""
    flat = [
        float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in array.ravel()
    ]
    return np.array(flat, dtype=object).reshape(array.shape).tolist()


def number(value: float) -> float | None:
    """As JSON can hold it."""
    return value if math.isfinite(value) else None


def _shown(reference: np.ndarray, port: np.ndarray) -> dict[str, Any]:
    """An image (H, W, C) and the port's difference from it, in blocks if they are large."""
    block = -(-max(reference.shape[:2]) // LARGEST_SIDE)
    difference = port - reference
    if block > 1:
        reference = _blocks(reference, block).mean(axis=(1, 3))
        parts = _blocks(difference, block)
        high, low = parts.max(axis=(1, 3)), parts.min(axis=(1, 3))
        difference = np.where(high >= -low, high, low)  # a single wrong pixel stays visible
    return {
        "block": block,
        "reference": rounded(reference),
        "difference": rounded(difference, DIFFERENCE_DIGITS),
    }


def _blocks(image: np.ndarray, block: int) -> np.ndarray:
    """(H / block, block, W / block, block, C); the edge is repeated where it does not divide."""
    height, width, channels = image.shape
    image = np.pad(image, ((0, -height % block), (0, -width % block), (0, 0)), mode="edge")
    return image.reshape(-(-height // block), block, -(-width // block), block, channels)


def _worst_image(reference: np.ndarray, port: np.ndarray) -> int:
    """Of (B, ...), the index where the two differ most; NaN is worst."""
    differences = np.abs(port - reference).reshape(len(reference), -1).max(axis=1)
    return int(np.nan_to_num(differences, nan=np.inf).argmax())


def _spread(n: int, most: int) -> list[int]:
    """At most ``most`` of ``range(n)``, close together at the beginning, with the last."""
    if n <= most:
        return list(range(n))
    return sorted({round(place) for place in np.geomspace(1, n, most) - 1})


def _draw(draw: Draw) -> dict[str, Any]:
    return {
        "family": draw.family,
        "count": draw.count,
        "dtype": draw.dtype,
        "position": draw.position,
        "served": draw.served,
    }


def _ratio(value: float, unit: float) -> float:
    if not math.isfinite(value):
        return math.inf
    return value / unit if unit else (math.inf if value else 0.0)
