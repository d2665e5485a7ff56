"""Training on the PyTorch side: what an optimizer is given, what it keeps, and how to set it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from parity.correspond.weights import Match
from parity.errors import PortFailed
from parity.frameworks.torch.parameters import (
    canonical_weights,
    from_canonical,
    to_canonical,
    to_numpy,
)
from parity.side.trainer import Arrays, Owner, Trainer
from parity.values.cases import Case

MOMENTS = {"exp_avg": "momentum", "exp_avg_sq": "velocity", "momentum_buffer": "momentum"}
"""What torch's own optimizers call what Keras calls momentum and velocity."""

STEPS = ("step", "steps", "iterations", "t")


class TorchOwner(Owner, Protocol):
    """A PyTorch side, as far as its trainer needs it."""

    def tensor(self, images: np.ndarray) -> Tensor:
        """Images in this side's layout, of a case that says so as a view."""

    def contiguous(self, images: np.ndarray) -> Tensor:
        """Images in this side's layout, never a view."""

    def matches(self, model: nn.Module) -> list[Match]:
        """Which parameter of a loaded model holds which weight."""

    def channels_first(self, case: Case) -> Mapping[str, Sequence[int]]:
        """Dense kernels whose rows this side has in channels-first order."""


class TorchTrainer(Trainer):
    """A module, its ``torch.optim.Optimizer`` and its replay buffer."""

    runner: TorchOwner

    def __init__(self, runner: TorchOwner, model: nn.Module, case: Case) -> None:
        model.train()
        model.zero_grad(set_to_none=True)
        super().__init__(runner, model, case)
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            raise TypeError(
                "make_optimizer must return a torch.optim.Optimizer, got "
                f"{type(self.optimizer).__name__}"
            )
        self.channels_first = runner.channels_first(case)
        self.found = {match.parameter: match for match in runner.matches(model)}

    def tensor(self, images: np.ndarray) -> Tensor:
        return self.runner.tensor(images)

    def own_tensor(self, images: np.ndarray) -> Tensor:
        return self.runner.contiguous(images)

    @contextlib.contextmanager
    def recording(self, gradients: Arrays) -> Iterator[None]:
        """The ``.grad`` of every parameter as it is when the optimizer's step begins."""

        def record(*_: Any) -> None:
            for parameter, match in self._parameters():
                if parameter.grad is not None:
                    gradients[match.weight] = to_canonical(
                        to_numpy(parameter.grad), match, self.channels_first
                    )

        handle = self.optimizer.register_step_pre_hook(record)
        try:
            yield
        finally:
            handle.remove()

    def restore_moments(self, moments: Mapping[str, np.ndarray], iterations: int) -> None:
        """Through ``load_state_dict``, in the form that a step of the optimizer's own has."""
        saved = self._after_a_step().state_dict()
        order = [p for group in self.optimizer.param_groups for p in group["params"]]
        matches = {id(parameter): match for parameter, match in self._parameters()}
        for number, state in saved["state"].items():
            parameter = order[number]
            if id(parameter) in matches:
                self._fill(state, parameter, matches[id(parameter)], moments, iterations)
        self.optimizer.load_state_dict(saved)

    def _fill(
        self,
        state: dict[str, Any],
        parameter: Tensor,
        match: Match,
        moments: Mapping[str, np.ndarray],
        iterations: int,
    ) -> None:
        for key, value in state.items():
            name = f"{MOMENTS.get(key, key)}/{match.weight}"
            if key in STEPS:
                tensor = isinstance(value, Tensor)
                state[key] = torch.full_like(value, iterations) if tensor else iterations
            elif name in moments:
                array = from_canonical(moments[name], match, self.channels_first)
                state[key] = torch.from_numpy(array)
            elif isinstance(value, Tensor) and value.shape == parameter.shape:
                raise PortFailed(
                    f"the port's optimizer keeps {key!r} for each parameter, the reference's "
                    f"keeps {', '.join(sorted({n.split('/')[0] for n in moments}))}"
                )

    def _after_a_step(self) -> torch.optim.Optimizer:
        """A copy of the optimizer that has taken a step on gradients of zero."""
        stepped: torch.optim.Optimizer
        _, stepped = copy.deepcopy((self.model, self.optimizer))
        for group in stepped.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        stepped.step()
        return stepped

    def state(self) -> Arrays:
        weights = canonical_weights(
            self.model, self.runner.matches(self.model), self.channels_first
        )
        found = {f"training_state/weights/{name}": array for name, array in weights.items()}
        for parameter, match in self._parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                    name = f"training_state/{MOMENTS.get(key, key)}/{match.weight}"
                    found[name] = to_canonical(to_numpy(value), match, self.channels_first)
        return found

    def _parameters(self) -> Iterator[tuple[nn.Parameter, Match]]:
        for name, parameter in self.model.named_parameters():
            if name in self.found:
                yield parameter, self.found[name]
