"""Randomness that shared streams would hide: the sampler's own noise, and fresh weights."""

from __future__ import annotations

import dataclasses

import pytest

from parity.cases import SamplerCall
from parity.checks.distributions import check_initialisation, check_noise
from parity.checks.preprocessing import all_grey_levels, check_preprocessing
from parity.recipes import Recipe, WeightsRecipe, make_case
from parity.session import Session
from parity.testing import assert_green
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


def test_preprocessing_of_every_grey_level(parity_session: Session) -> None:
    images = all_grey_levels()
    assert len(set(images.ravel().tolist())) == 256
    assert_green(check_preprocessing(parity_session, images))
