"""``generate_samples`` is equal, step by step, and leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.ask.session import Session
from parity.draw.recipes import Recipe, WeightsRecipe, make_case
from parity.entries.sampler import check_sampler
from parity.entries.state import check_state_restored
from parity.testing import assert_green
from parity.values.cases import SamplerCall
from tests.amount import examples
from tests.properties.cases import sampler_cases

LONG = SamplerCall(steps=200, step_size=10.0, noise=0.005)
LONG_RESIDUAL = 1e-10  # absolute, on images in [-1, 1]


@examples(12)
@given(data=st.data())
def test_trajectories_are_equal(parity_session: Session, data: st.DataObject) -> None:
    """Teacher-forced and free-running, from noise and digits, over drawn arguments; draws too."""
    case = data.draw(sampler_cases(parity_session))
    teacher_forced, free_running, draw_log = check_sampler(parity_session, case)
    assert_green([teacher_forced, draw_log])
    if free_running.notes["horizon"]:
        assert_green([free_running])


@pytest.mark.few(0)
@pytest.mark.parametrize(
    "weights", [WeightsRecipe(trained="trained"), WeightsRecipe(scale=1.0, seed=11)]
)
def test_two_hundred_steps_stay_together(parity_session: Session, weights: WeightsRecipe) -> None:
    """Free-running in float64, on trained and on freshly initialised weights."""
    recipe = Recipe(weights, images="mixture", batch=2, key=200, sampler=LONG)
    case = make_case(parity_session, recipe)
    reference, port = parity_session.ask_both("samples", case)
    assert not isinstance(port, Exception)
    truth, ours = (trace.arrays["float64"]["samples"] for trace in (reference, port))
    assert truth.shape == ours.shape == (200, 2, 32, 32, 1)
    assert np.abs(truth[-1] - truth[0]).max() > 0.1, "the images hardly moved"
    assert np.abs(ours - truth).max() <= LONG_RESIDUAL


@examples(8)
@given(data=st.data())
def test_the_port_leaves_nothing_behind(parity_session: Session, data: st.DataObject) -> None:
    """Caller's tensor, modes, requires_grad, .grad, global state, memory; no_grad callers."""
    case = data.draw(sampler_cases(parity_session, lambda recipe: recipe.batch > 1))
    assert_green(check_state_restored(parity_session, case))


@pytest.mark.parametrize("steps", [1, 5])
def test_without_every_step_only_the_last_is_returned(parity_session: Session, steps: int) -> None:
    """Both sides' final images are the last of their trajectories."""
    import torch

    from port_torch.energy_model import energy_model
    from port_torch.langevin import generate_samples

    torch.manual_seed(0)
    model, images = energy_model(), torch.rand(2, 1, 32, 32) * 2 - 1
    torch.manual_seed(1)
    last = generate_samples(model, images, steps, 10.0, 0.005)
    torch.manual_seed(1)
    every = generate_samples(model, images, steps, 10.0, 0.005, return_every_step=True)
    assert every.shape == (steps, *images.shape)
    assert torch.equal(last, every[-1])
