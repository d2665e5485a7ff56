"""Energies are equal: on random architectures and weights, and on trained weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.ask.session import Session
from parity.draw.recipes import Recipe, WeightsRecipe, make_case
from parity.entries.forward import check_network
from parity.testing import assert_green
from parity.values.cases import Case
from parity.verdict.comparison import ratio
from tests.amount import examples
from tests.properties.cases import network_cases

PUBLISHED_RESIDUAL = 1e-13  # relative, float64, on trained weights


@examples(25)
@given(data=st.data())
def test_energies_are_equal(parity_session: Session, data: st.DataObject) -> None:
    case = data.draw(network_cases(parity_session))
    energies, _, _ = check_network(parity_session, case)
    assert_green([energies])


@pytest.mark.parametrize("images", ["real", "uniform", "mixture"])
def test_energies_and_gradients_of_the_trained_model(parity_session: Session, images: str) -> None:
    """Digits, noise and mixtures, to 1e-13 of the largest energy or gradient."""
    recipe = Recipe(WeightsRecipe(trained="trained"), images=images, batch=32, key=7)
    outcomes = check_network(parity_session, make_case(parity_session, recipe))
    assert_green(outcomes)
    for outcome in outcomes[:2]:
        (comparison,) = outcome.comparisons
        assert ratio(comparison.residual, comparison.scale) <= PUBLISHED_RESIDUAL


def test_a_saved_case_gives_the_same_answer(parity_session: Session, tmp_path) -> None:  # type: ignore[no-untyped-def]
    recipe = Recipe(WeightsRecipe(seed=3), batch=3, key=5)
    case = make_case(parity_session, recipe)
    case.save(tmp_path / "case.safetensors")
    again = Case.load(tmp_path / "case.safetensors")
    assert again.digest == case.digest
    first, second = (check_network(parity_session, c)[0] for c in (case, again))
    assert first.comparisons == second.comparisons
