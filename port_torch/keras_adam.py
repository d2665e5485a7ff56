"""Adam as Keras computes it, which no choice of ``eps`` makes of ``torch.optim.Adam``.

With m and v the moments and t the step, from 1:

    Keras:  theta -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)
    torch:  theta -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

Multiply torch's numerator and denominator by sqrt(1 - beta2^t): its ``eps`` becomes
eps * sqrt(1 - beta2^t), a twentieth of Keras's at t = 1 and equal to it only in the limit. Kingma &
Ba 2015 (https://arxiv.org/abs/1412.6980) give torch's form as Algorithm 1 and Keras's, whose
epsilon they call epsilon-hat, as the faster one at the end of section 2.

Two details matter in float64. Keras casts the betas by way of a float32 tensor, in the bias
correction only (``ops.cast(0.999, "float64")`` is float64(float32(0.999))); and it moves the
moments by (g - m) * (1 - beta1), which rounds differently from beta1 * m + (1 - beta1) * g.
Source: keras/src/optimizers/adam.py, ``Adam.update_step``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor


class KerasAdam(torch.optim.Optimizer):
    """``keras.optimizers.Adam``, step for step; defaults are Keras's.

    Args:
        params: parameters or parameter groups.
        lr: learning rate.
        betas: decay of the first and of the second moment.
        eps: added to sqrt(v) as it is, without bias correction.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
    ) -> None:
        if not lr >= 0:
            raise ValueError(f"lr must be at least 0, got {lr}")
        if not eps >= 0:
            raise ValueError(f"eps must be at least 0, got {eps}")
        for number, beta in enumerate(betas):
            if not 0 <= beta < 1:
                raise ValueError(f"betas[{number}] must be in [0, 1), got {beta}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["momentum"] = torch.zeros_like(parameter)
            state["velocity"] = torch.zeros_like(parameter)
        state["step"] += 1
        momentum, velocity, gradient = state["momentum"], state["velocity"], parameter.grad
        assert gradient is not None
        beta1, beta2 = group["betas"]
        momentum += (gradient - momentum) * (1 - beta1)
        velocity += (gradient.square() - velocity) * (1 - beta2)
        rate = _bias_corrected_rate(group["lr"], beta1, beta2, state["step"], parameter.dtype)
        parameter -= momentum * rate / (velocity.sqrt() + group["eps"])


def _bias_corrected_rate(
    lr: float, beta1: float, beta2: float, step: int, dtype: torch.dtype
) -> Tensor:
    """lr * sqrt(1 - beta2^t) / (1 - beta1^t) in ``dtype``, the betas by way of float32."""
    power1, power2 = (
        torch.tensor(float(np.float32(beta)), dtype=dtype) ** torch.tensor(step, dtype=dtype)
        for beta in (beta1, beta2)
    )
    return torch.tensor(lr, dtype=dtype) * torch.sqrt(1 - power2) / (1 - power1)
