"""The optimizer's own face, which no training step of a pair reaches: refusals, defaults,
and a step that is given a closure. That its steps are Keras's is claimed in ``tests/properties``.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from port_torch.keras_adam import KerasAdam


def parameter(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"eps": -1.0}, "eps must be at least 0, got -1.0"),
        ({"lr": -1e-9}, "lr must be at least 0, got -1e-09"),
        ({"eps": -1e-9}, "eps must be at least 0, got -1e-09"),
        ({"lr": float("nan")}, "lr must be at least 0, got nan"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\] must be in \[0, 1\), got 1.0"),
        ({"betas": (-1e-9, 0.9)}, r"betas\[0\] must be in \[0, 1\), got -1e-09"),
    ],
)
def test_adam_refuses_bad_settings(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KerasAdam([torch.zeros(1, requires_grad=True)], **arguments)  # type: ignore[arg-type]


def test_adam_takes_the_least_and_the_most_that_it_may() -> None:
    one = 1 - 2.0**-53
    optimizer = KerasAdam([parameter(1.0)], lr=0.0, betas=(0.0, one), eps=0.0)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["eps"]) == (0.0, (0.0, one), 0.0)


def test_adams_defaults_are_those_of_keras() -> None:
    """https://keras.io/api/optimizers/adam"""
    (group,) = KerasAdam([parameter(1.0)]).param_groups
    assert (group["lr"], group["betas"], group["eps"]) == (1e-3, (0.9, 0.999), 1e-7)


def test_a_closure_is_asked_for_gradients_and_its_loss_is_handed_back() -> None:
    with_closure, without = parameter(1.0, -2.0), parameter(1.0, -2.0)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = with_closure.square().sum()
        value.backward()
        return value

    optimizer = KerasAdam([with_closure])
    assert optimizer.step(loss) == 5.0
    without.square().sum().backward()
    assert KerasAdam([without]).step() is None
    assert torch.equal(with_closure, without)


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    used, unused = parameter(1.0), parameter(1.0)
    optimizer = KerasAdam([used, unused])
    used.square().sum().backward()
    optimizer.step()
    assert used != 1.0
    assert unused == 1.0
    assert unused not in optimizer.state
