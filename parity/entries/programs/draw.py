"""Weights that let signal reach the end: scaled by fan-in, variances positive, nothing zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def drawn(weights: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A float32 value for each weight of the reference.

    Kernels have the variance that keeps that of what passes through them (He et al. 2015,
    https://arxiv.org/abs/1502.01852); biases and slopes are small and on both sides of zero, for
    zero biases hide missing ones; scales and variances lie around one.
    """
    return {weight["name"]: _weight(weight, rng).astype(np.float32) for weight in weights}


def _weight(weight: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    shape = tuple(weight["shape"])
    name = weight.get("role") or weight["path"].rpartition("/")[2]
    if "variance" in name:
        return rng.uniform(0.5, 1.5, shape)
    if name in ("gamma", "scale"):
        return rng.uniform(0.5, 1.5, shape)
    if name == "embeddings":
        return rng.normal(0.0, 1.0, shape)
    if name == "alpha":
        return rng.uniform(0.05, 0.5, shape)
    if len(shape) >= 2 and "bias" not in name:
        fan_in = (
            math.prod(shape[:-1]) if len(shape) != 3 or weight.get("equation") is None else shape[0]
        )
        if name == "depthwise_kernel":
            fan_in = math.prod(shape[:-2])
        return rng.normal(0.0, math.sqrt(1.6 / max(1, fan_in)), shape)
    if shape == ():
        return rng.uniform(0.5, 1.5, shape)
    return np.asarray(rng.uniform(0.02, 0.3, shape) * rng.choice([-1.0, 1.0], shape))
