"""What a call does to what it was handed: images it writes into, a model it leaves otherwise.

Looked at around the port's entries, and put back as what belongs to the whole process is
(``parity.frameworks.torch.globals``). What ``generate_samples`` does is looked at more closely in
``parity.frameworks.torch.state``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

Tell = Callable[[str, str, str], None]
"""``tell(entry, id, message)``."""


@contextlib.contextmanager
def watched(
    entry: str, given: Sequence[Any], model: nn.Module | None, tell: Tell
) -> Iterator[None]:
    """Around one call: tell of what it changes.

    Args:
        given: tensors and arrays that are the caller's; anything else is left out.
        model: one that is to be left as it was: its modes, ``requires_grad`` and ``.grad``. What
            its weights are shows in what is computed next.
    """
    with _disable_current_modes():
        kept: list[_Images | _Model] = []
        kept += [_Images(each) for each in given if isinstance(each, Tensor | np.ndarray)]
        kept += [] if model is None else [_Model(model)]
    try:
        yield
    finally:
        with _disable_current_modes(), torch.no_grad():
            for each in kept:
                each.look(entry, tell)


class _Images:
    """The caller's images: their values, and whether gradients are taken of them."""

    def __init__(self, given: Tensor | np.ndarray) -> None:
        self.given, self.array = given, isinstance(given, np.ndarray)
        self.before = _tensor(given).clone()
        self.tracked = _tracked(given)

    def look(self, entry: str, tell: Tell) -> None:
        now = _tensor(self.given)
        if now.shape != self.before.shape or now.dtype != self.before.dtype:
            tell(
                entry,
                "input-mutated",
                f"{entry} makes of the caller's images {tuple(self.before.shape)} "
                f"{self.before.dtype} in place {tuple(now.shape)} {now.dtype}; work on a new one",
            )
            return
        other = (now != self.before) & ~((now != now) & (self.before != self.before))
        if bool(other.any()):
            copy = "copy" if self.array else "clone"
            tell(
                entry,
                "input-mutated",
                f"{entry} changes the caller's images ({int(other.sum())} of {now.numel()} "
                f"elements), which are used again; work on images.{copy}()",
            )
            now.copy_(self.before)
        if _tracked(self.given) != self.tracked:
            tell(
                entry,
                "input-mutated",
                f"{entry} gives the caller's images requires_grad or a .grad; take "
                "images.detach().clone() first",
            )


def _tensor(given: Tensor | np.ndarray) -> Tensor:
    """The same memory; of an array that torch has no type for, or may not write, a copy."""
    if isinstance(given, Tensor):
        return given.detach()
    try:
        return torch.from_numpy(given if given.flags.writeable else given.copy())
    except (TypeError, ValueError):
        return torch.zeros(given.shape)


def _tracked(given: Tensor | np.ndarray) -> tuple[bool, bool]:
    if isinstance(given, np.ndarray):
        return False, False
    return given.requires_grad, given.is_leaf and given.grad is not None


class _Model:
    """The caller's model."""

    def __init__(self, model: nn.Module) -> None:
        self.modes = {module: module.training for module in model.modules()}
        self.names = {parameter: name for name, parameter in model.named_parameters()}
        self.tracked = {each: each.requires_grad for each in self.names}
        self.gradients = {
            each: (each.grad, None if each.grad is None else each.grad.clone())
            for each in self.names
        }

    def look(self, entry: str, tell: Tell) -> None:
        for module, mode in self.modes.items():
            if module.training != mode:
                was, now = ("train", "eval") if mode else ("eval", "train")
                tell(
                    entry,
                    "mode-not-restored",
                    f"{entry} leaves the model in {now} mode, which was in {was} mode; put "
                    "model.training back",
                )
                module.training = mode
        for parameter, name in self.names.items():
            if parameter.requires_grad != self.tracked[parameter]:
                tell(
                    entry,
                    "parameters-left-frozen",
                    f"{entry} leaves {name}.requires_grad {parameter.requires_grad}, which was "
                    f"{self.tracked[parameter]}; put it back",
                )
                parameter.requires_grad_(self.tracked[parameter])
            gradient, values = self.gradients[parameter]
            if parameter.grad is not gradient or (
                gradient is not None and values is not None and not torch.equal(gradient, values)
            ):
                tell(
                    entry,
                    "gradient-accumulated",
                    f"{entry} leaves another {name}.grad than it found, to which the next "
                    "backward() adds; evaluate under torch.no_grad(), or take gradients with "
                    "torch.autograd.grad",
                )
                if gradient is not None and values is not None:
                    gradient.copy_(values)
                parameter.grad = gradient
