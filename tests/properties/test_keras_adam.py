"""The port's Adam is Keras's, step for step.

Keras runs in a process of its own; both are given the same parameters and gradients.
"""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from port_torch.keras_adam import KerasAdam
from tests.amount import examples
from tests.properties.keras_optimizer import keras_adam

SIZE = 24
FLOAT64 = 1e-13  # of the greatest distance travelled
FLOAT32_FROM_ZERO = 1e-6
ERROR_RATIO = 4.0


@pytest.fixture(scope="module")
def keras() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def torch_adam(
    start: np.ndarray,
    gradients: np.ndarray,
    dtype: str,
    hyperparameters: dict[str, Any],
    optimizer: type[torch.optim.Optimizer] = KerasAdam,
) -> np.ndarray:
    parameter = torch.nn.Parameter(torch.from_numpy(start.astype(dtype)))
    stepping = optimizer([parameter], **hyperparameters)  # type: ignore[call-arg]
    for gradient in gradients.astype(dtype):
        parameter.grad = torch.from_numpy(gradient)
        stepping.step()
    return parameter.detach().numpy()


@st.composite
def runs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """A start, gradients (steps, SIZE) from 1e-12 to 1e6 with sparse zeros, hyperparameters."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    steps = draw(st.sampled_from([1, 2, 10, 100, 1000]))
    exponents = rng.uniform(-12, 6, SIZE)
    gradients = rng.normal(size=(steps, SIZE)) * 10.0**exponents
    gradients[rng.random((steps, SIZE)) < draw(st.sampled_from([0.0, 0.5, 0.95]))] = 0.0
    start = rng.normal(size=SIZE) * draw(st.sampled_from([0.0, 0.1, 10.0]))
    hyperparameters = {
        "lr": draw(st.sampled_from([1e-6, 1e-4, 1e-2, 1.0])),
        "betas": draw(st.sampled_from([(0.9, 0.999), (0.0, 0.999), (0.5, 0.9), (0.99, 0.9999)])),
        "eps": draw(st.sampled_from([1e-12, 1e-7, 1e-3, 1.0])),
    }
    return start.astype(np.float32), gradients.astype(np.float32), hyperparameters


@examples(20)
@given(run=runs())
def test_equal_over_hyperparameters_and_gradients(
    keras: ProcessPoolExecutor, run: tuple[np.ndarray, np.ndarray, dict[str, Any]]
) -> None:
    start, gradients, hyperparameters = run
    truth, single = keras.submit(keras_adam, start, gradients, hyperparameters).result()
    ours = torch_adam(start, gradients, "float64", hyperparameters)
    travelled = max(np.abs(truth - start).max(), np.finfo(np.float64).eps * np.abs(start).max())
    assert np.abs(ours - truth).max() <= FLOAT64 * travelled + np.spacing(np.abs(start).max())
    ours32 = torch_adam(start, gradients, "float32", hyperparameters)
    own = np.abs(single.astype(np.float64) - truth).max()
    floor = max(own, np.finfo(np.float32).eps * np.abs(truth).max())
    assert np.abs(ours32 - truth).max() <= ERROR_RATIO * floor


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1e3])
def test_equal_after_a_thousand_steps_from_zero(keras: ProcessPoolExecutor, scale: float) -> None:
    rng = np.random.default_rng(1)
    gradients = (rng.normal(0.1, 1.0, (1000, SIZE)) * scale).astype(np.float32)
    start = np.zeros(SIZE, np.float32)
    hyperparameters = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-7}
    truth, single = keras.submit(keras_adam, start, gradients, hyperparameters).result()
    travelled = np.abs(truth).max()
    ours = torch_adam(start, gradients, "float64", hyperparameters)
    assert np.abs(ours - truth).max() <= FLOAT64 * travelled
    ours32 = torch_adam(start, gradients, "float32", hyperparameters)
    assert np.abs(ours32 - single).max() <= FLOAT32_FROM_ZERO * travelled


@pytest.mark.parametrize("eps", [1e-8, 1e-7, 1e-6, 1e-5])
def test_torchs_own_adam_is_another_optimizer_at_any_epsilon(
    keras: ProcessPoolExecutor, eps: float
) -> None:
    """The comparison above can fail."""
    rng = np.random.default_rng(2)
    gradients = (rng.normal(size=(3, SIZE)) * 1e-4).astype(np.float32)
    start = np.zeros(SIZE, np.float32)
    keras_settings = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-7}
    truth, _ = keras.submit(keras_adam, start, gradients, keras_settings).result()
    theirs = torch_adam(start, gradients, "float64", {"lr": 1e-4, "eps": eps}, torch.optim.Adam)
    assert np.abs(theirs - truth).max() > 1e-6 * np.abs(truth).max()


def test_state_dict_round_trip() -> None:
    """Saved after five steps and loaded into a fresh optimizer, the next five are the same."""
    rng = np.random.default_rng(3)
    gradients = rng.normal(size=(10, SIZE)).astype(np.float32)

    def take(optimizer: KerasAdam, parameter: torch.nn.Parameter, part: np.ndarray) -> None:
        for gradient in part:
            parameter.grad = torch.from_numpy(gradient)
            optimizer.step()

    whole = torch.nn.Parameter(torch.ones(SIZE))
    first = KerasAdam([whole], lr=1e-3)
    take(first, whole, gradients[:5])
    halfway = torch.nn.Parameter(whole.detach().clone())
    second = KerasAdam([halfway], lr=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    take(first, whole, gradients[5:])
    take(second, halfway, gradients[5:])
    assert torch.equal(whole, halfway)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"eps": -1e-9}, "eps must be at least 0"),
        ({"betas": (1.0, 0.9)}, r"betas\[0\] must be in \[0, 1\), got 1.0"),
    ],
)
def test_hyperparameters_that_mean_nothing(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        KerasAdam([torch.nn.Parameter(torch.zeros(1))], **wrong)
