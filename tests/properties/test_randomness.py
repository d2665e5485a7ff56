"""Randomness that shared streams would hide: the sampler's own noise, and fresh weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from parity.ask.session import Session
from parity.draw.recipes import Recipe, WeightsRecipe, make_case
from parity.entries.initialisation import check_initialisation
from parity.entries.noise import check_noise
from parity.entries.preprocess import all_grey_levels, check_preprocessing
from parity.testing import assert_green
from parity.values import archive
from parity.values.cases import SamplerCall
from tests.properties.cases import architectures


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.08])
def test_noise_is_normal(parity_session: Session, noise: float) -> None:
    """N(0, noise) by a Kolmogorov-Smirnov test, drawn anew for each step, image and pixel."""
    recipe = Recipe(WeightsRecipe(), batch=6, sampler=SamplerCall(5, 0.0, noise))
    case = make_case(parity_session, recipe)
    case = dataclasses.replace(case, images=case.images * 0)
    assert_green(check_noise(parity_session, case))


def test_fresh_weights_are_distributed_alike(parity_session: Session) -> None:
    for settings in (None, *architectures(parity_session)[:3]):
        assert_green(check_initialisation(parity_session, settings, list(range(4))))


@pytest.mark.parametrize("side", ["reference", "port"])
def test_fresh_kernels_are_glorot_uniform_and_biases_zero(
    parity_session: Session, side: str
) -> None:
    """Uniform on the bound itself, by a Kolmogorov-Smirnov test; not only like the reference's."""
    facts = parity_session.facts(None)
    shapes = {name: list(s) for name, s in zip(facts.names, facts.shapes, strict=True)}
    worker = getattr(parity_session, side)
    data = worker.ask("initial_weights", settings=None, seeds=[1, 2], shapes=shapes)
    weights, _ = archive.from_bytes(data, side)
    for name, values in weights.items():
        if name.endswith("bias"):
            assert not values.any(), name
            continue
        *receptive, fan_in, fan_out = shapes[name]
        limit = np.sqrt(6.0 / (np.prod(receptive) * (fan_in + fan_out)))
        assert np.abs(values).max() <= limit, name
        uniform = stats.uniform(-limit, 2 * limit)
        assert stats.kstest(values.ravel(), uniform.cdf).pvalue > 1e-4, name


def test_preprocessing_of_every_grey_level(parity_session: Session) -> None:
    images = all_grey_levels()
    assert len(set(images.ravel().tolist())) == 256
    assert_green(check_preprocessing(parity_session, images))
