"""The published numbers of the energy-based model, in one dataclass.

Source: David Foster, *Generative Deep Learning*, 2nd edition (O'Reilly, 2023), chapter 7,
notebook ``07_ebm/01_ebm/ebm.ipynb``; it follows the UvA Deep Learning tutorial 8, which
follows Du & Mordatch 2019, https://arxiv.org/abs/1903.08689.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Any, Literal

ACTIVATIONS = (
    "elu",
    "gelu",
    "leaky_relu",
    "linear",
    "relu",
    "sigmoid",
    "softplus",
    "swish",
    "tanh",
)


def _positive_int(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def _pair_of_positive_ints(name: str, value: object) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(f"{name} must be a pair (height, width), got {value!r}")
    for part in value:
        _positive_int(name, part)


def _finite(
    name: str,
    value: object,
    *,
    at_least: float,
    at_most: float = math.inf,
    exclusive: bool = False,
) -> None:
    ok = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max  # neither NaN nor infinite, nor an int beyond floats
        and at_least <= value <= at_most
    )
    if not ok or (exclusive and value == at_least):
        relation = "above" if exclusive else "of at least"
        upper = "" if at_most == math.inf else f" and at most {at_most}"
        raise ValueError(
            f"{name} must be a finite number {relation} {at_least}{upper}, got {value!r}"
        )


def _known_activation(name: object) -> None:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")


def _layers(name: str, value: object, kind: type) -> None:
    if not isinstance(value, tuple) or not all(isinstance(layer, kind) for layer in value):
        raise ValueError(f"{name} must be a tuple of {kind.__name__}, got {value!r}")


@dataclasses.dataclass(frozen=True)
class ConvLayer:
    """A convolution with TensorFlow's SAME padding, then an activation."""

    filters: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    activation: str = "swish"

    def __post_init__(self) -> None:
        _positive_int("filters", self.filters)
        for name in ("kernel", "stride"):
            _pair_of_positive_ints(name, getattr(self, name))
        _known_activation(self.activation)


@dataclasses.dataclass(frozen=True)
class DenseLayer:
    """A fully connected layer, then an activation."""

    units: int
    activation: str = "swish"

    def __post_init__(self) -> None:
        _positive_int("units", self.units)
        _known_activation(self.activation)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Architecture, sampler and training settings; the defaults are the published ones."""

    # The network: images -> convolutions -> flatten (NHWC order) -> dense layers -> one score.
    height: int = 32
    width: int = 32
    channels: int = 1
    convolutions: tuple[ConvLayer, ...] = (
        ConvLayer(16, (5, 5), (2, 2)),
        ConvLayer(32, (3, 3), (2, 2)),
        ConvLayer(64, (3, 3), (2, 2)),
        ConvLayer(64, (3, 3), (2, 2)),
    )
    dense: tuple[DenseLayer, ...] = (DenseLayer(64),)

    # Langevin dynamics.
    steps: int = 60
    step_size: float = 10.0
    noise: float = 0.005
    gradient_clip: float = 0.03

    # Replay buffer.
    buffer_size: int = 8192
    fresh_fraction: float = 0.05

    # Training.
    batch_size: int = 128
    alpha: float = 0.1
    learning_rate: float = 1e-4
    epochs: int = 60
    score_split: Literal["halves", "counts"] = "halves"
    """How the scores of [real, fake] are told apart. ``halves`` is published: an incomplete last
    batch of 96 real and 128 fake images is cut 112/112, so that 16 fakes count as real.
    ``counts`` cuts after the last real image."""

    def __post_init__(self) -> None:
        counts = "height width channels steps buffer_size batch_size epochs"
        for name in counts.split():
            _positive_int(name, getattr(self, name))
        _layers("convolutions", self.convolutions, ConvLayer)
        _layers("dense", self.dense, DenseLayer)
        for name in ("step_size", "gradient_clip", "learning_rate"):
            _finite(name, getattr(self, name), at_least=0.0, exclusive=True)
        for name in ("noise", "alpha"):
            _finite(name, getattr(self, name), at_least=0.0)
        _finite("fresh_fraction", self.fresh_fraction, at_least=0.0, at_most=1.0)
        if self.score_split not in ("halves", "counts"):
            raise ValueError(f"score_split must be 'halves' or 'counts', got {self.score_split!r}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image in the canonical layout: (height, width, channels)."""
        return (self.height, self.width, self.channels)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings: what JSON can hold."""
        as_dict: dict[str, Any] = dataclasses.asdict(self)
        for layer in as_dict["convolutions"]:
            layer.update(kernel=list(layer["kernel"]), stride=list(layer["stride"]))
        as_dict["convolutions"] = list(as_dict["convolutions"])
        as_dict["dense"] = list(as_dict["dense"])
        return as_dict

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The inverse of :meth:`to_dict`; an unknown name raises ValueError naming it."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(
                f"unknown settings {', '.join(unknown)}; known: {', '.join(sorted(known))}"
            )
        values = dict(values)
        for name, kind in (("convolutions", ConvLayer), ("dense", DenseLayer)):
            if name in values:
                values[name] = _layers_from(name, values[name], kind)
        return cls(**values)


def _layers_from(name: str, value: object, kind: type) -> tuple[Any, ...]:
    """Layers as :meth:`Settings.to_dict` writes them; ValueError naming what is amiss."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} must be a list of layers, got {value!r}")
    layers = []
    for layer in value:
        if not isinstance(layer, Mapping):
            raise ValueError(f"{name} must hold one mapping for each layer, got {layer!r}")
        pairs = {k: tuple(v) if isinstance(v, list) else v for k, v in layer.items()}
        try:
            layers.append(kind(**pairs))
        except TypeError as error:  # a field is missing, or one too many: the message names it
            raise ValueError(f"{name} cannot hold {layer!r}: {error}") from error
    return tuple(layers)


PUBLISHED = Settings()
