"""Normalisations in a network: what a port's adds to the variance, solved for from its output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.explain.network.activations import activation, known

KINDS = ("BatchNormalization", "LayerNormalization")


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """A layer that normalises over its last axis, or each channel by its moving statistics.

    Attributes:
        name, kind: of the layer.
        epsilon: the reference's, which is added to the variance.
        before: the activation of the layer before.
        flattened: whether what it is given is flattened before.
        weights: "gamma", "beta", "moving_mean", "moving_variance", those that there are.
    """

    name: str
    kind: str
    epsilon: float
    before: str
    flattened: bool
    weights: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls, fact: Mapping[str, Any], before: str, weights: Mapping[str, np.ndarray]
    ) -> Normalisation | None:
        """None if it is none, or there is something before it that cannot be computed here."""
        epsilon = fact.get("epsilon")
        if fact["kind"] not in KINDS or epsilon is None or fact["before"] or not known(before):
            return None
        own = {w.rpartition("/")[2]: weights[w].astype(np.float64) for w in fact["weights"]}
        flattened = fact["flattened"] is not None
        return cls(fact["layer"], fact["kind"], epsilon, before, flattened, own)

    def computed(self, values: np.ndarray, epsilon: float) -> np.ndarray:
        """What it makes of the values (B, ..., C) of the layer before."""
        centred, variance = self._centred(values)
        scaled = centred / np.sqrt(variance + epsilon) * self.weights.get("gamma", 1.0)
        return np.asarray(scaled + self.weights.get("beta", 0.0))

    def epsilon_of(self, values: np.ndarray, ours: np.ndarray, bound: float) -> float | None:
        """What has to be added to the variance to get ``ours``; None if nothing does.

        The shortest number of up to ten digits that does so within ``bound``.
        """
        centred, variance = self._centred(values)
        scale = np.broadcast_to(centred * self.weights.get("gamma", 1.0), ours.shape)
        moved = ours - self.weights.get("beta", 0.0)
        use = (np.abs(scale) > 1e-3 * np.abs(scale).max()) & (moved * scale > 0)
        if not use.any():
            return None
        solved = (scale[use] / moved[use]) ** 2 - np.broadcast_to(variance, ours.shape)[use]
        for digits in range(1, 11):
            epsilon = float(f"{np.median(solved):.{digits}g}")
            if epsilon >= 0 and np.abs(self.computed(values, epsilon) - ours).max() <= bound:
                return epsilon
        return None

    def _centred(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = activation(self.before)(values.astype(np.float64))
        x = x.reshape(len(x), -1) if self.flattened else x
        if self.kind == "BatchNormalization":
            return x - self.weights["moving_mean"], self.weights["moving_variance"]
        return x - x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
