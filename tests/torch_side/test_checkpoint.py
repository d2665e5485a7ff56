"""The port's checkpoints: the reference's names and layouts, everything in them, nothing shared.

No entry of a pair is a checkpoint, so no golden is held against one; ``make edits`` judges edits of
``port_torch/checkpoint.py`` by these tests.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from ebm.settings import ConvLayer, DenseLayer, Settings
from parity.ask.recorded import key_of
from parity.golden import goldens
from port_torch.checkpoint import load_training_state, training_state
from port_torch.energy_model import EnergyModel, energy_model
from port_torch.keras_adam import KerasAdam
from port_torch.replay_buffer import ReplayBuffer
from port_torch.training import make_optimizer, train_step

SMALL = Settings(
    height=5,
    width=7,
    channels=2,
    convolutions=(ConvLayer(4, (3, 1), (2, 1)), ConvLayer(3, (2, 4), (1, 2))),
    dense=(DenseLayer(6),),
    batch_size=4,
    steps=1,
    buffer_size=6,
)
"""No two sizes of one array are alike, so that no two axes can be taken for each other."""

Run = tuple[EnergyModel, KerasAdam, ReplayBuffer]


def new_run(steps: int = 0) -> Run:
    model = energy_model(SMALL)
    optimizer = make_optimizer(model, SMALL)
    assert isinstance(optimizer, KerasAdam)
    run = model, optimizer, ReplayBuffer(SMALL)
    for _ in range(steps):
        train(run)
    return run


def train(run: Run) -> None:
    model, optimizer, buffer = run
    train_step(model, optimizer, torch.rand(4, 2, 5, 7) * 2 - 1, buffer, SMALL)


def test_names_and_shapes_are_the_references() -> None:
    golden = goldens.read(Path(__file__).parents[2] / "goldens")
    about = golden.answers[key_of("weights", {"settings": None})]
    model = energy_model()
    state = training_state(model, KerasAdam(model.parameters()), ReplayBuffer())
    for what in ("weights", "momentum", "velocity"):
        shapes = {n: a.shape for n, a in state.items() if n.partition("/")[0] == what}
        expected = zip(about["names"], about["shapes"], strict=True)
        assert shapes == {f"{what}/{name}": tuple(shape) for name, shape in expected}
    assert len(state) == 3 * len(about["names"]) + 2


def test_every_element_is_where_the_reference_has_it() -> None:
    model, optimizer, buffer = run = new_run(steps=2)
    state = training_state(*run)
    for name, parameter in model.named_parameters():
        kept = optimizer.state[parameter]
        for what, tensor in {"weights": parameter, **kept}.items():
            if what == "step":
                assert state["iterations"] == tensor == 2
                continue
            layer, kind = name.split(".")
            array = state[f"{what}/{layer}/{'kernel' if kind == 'weight' else 'bias'}"]
            for (first, second, *window), value in np.ndenumerate(
                tensor.detach().numpy().reshape(tensor.shape if tensor.ndim > 1 else (-1, 1))
            ):
                place = (*window, second, first) if tensor.ndim > 1 else (first,)
                assert array[place] == value
    assert state["iterations"].dtype == np.int64
    for n, c, h, w in np.ndindex(*buffer.images.shape):
        assert state["buffer"][n, h, w, c] == buffer.images[n, c, h, w]


def test_a_run_that_has_not_begun_has_moments_of_zero() -> None:
    state = training_state(*new_run())
    assert state["iterations"] == 0
    moments = [a for n, a in state.items() if n.startswith(("momentum/", "velocity/"))]
    assert moments
    assert not any(moment.any() for moment in moments)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_what_is_loaded_is_what_was_saved_and_training_goes_on_alike(steps: int) -> None:
    run, other = new_run(steps), new_run(2)
    state = training_state(*run)
    load_training_state(*other, state)
    again = training_state(*other)
    assert list(again) == list(state)
    for name, array in state.items():
        assert again[name].dtype == array.dtype, name
        assert np.array_equal(again[name], array), name
    assert other[2].images.is_contiguous()
    for each in (run, other):
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        train(each)
    after, other_after = training_state(*run), training_state(*other)
    for name, array in after.items():
        assert np.array_equal(other_after[name], array), name


def test_a_state_is_a_copy_and_whole_in_memory() -> None:
    """Files are written from the bytes of an array, and what was saved stays as it was."""
    run = new_run(1)
    state = training_state(*run)
    before = {name: array.copy() for name, array in state.items()}
    train(run)
    for name, array in state.items():
        assert array.flags.c_contiguous, name
        assert np.array_equal(array, before[name]), name
    load_training_state(*run, state)
    train(run)
    for name, array in state.items():
        assert np.array_equal(array, before[name]), name


def test_a_state_is_loaded_in_the_type_of_the_model() -> None:
    state = training_state(*new_run(1))
    model = energy_model(SMALL).double()
    optimizer = KerasAdam(model.parameters())
    load_training_state(model, optimizer, ReplayBuffer(SMALL), state)
    for parameter in model.parameters():
        kept = optimizer.state[parameter]
        assert parameter.dtype == kept["momentum"].dtype == kept["velocity"].dtype == torch.float64
        assert type(kept["step"]) is int
