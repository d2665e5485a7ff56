"""The calls of torch's that a port makes, each with the port's own lines that led to it.

They are seen above autograd, where they have the names that the port gives them and gradients can
be seen to be cut off, and with the tensors that go from one to the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType, MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from parity.frameworks.torch.capture import Leaves, storage
from parity.values.frames import PACKAGE
from parity.values.randomness import SharedRandomness

PARITY, TORCH, STANDARD = (
    f"{folder}{os.sep}"
    for folder in (PACKAGE, Path(torch.__file__).parent, Path(os.__file__).parent)
)
EVALUATION, MODE = "evaluation of the model", "mode of the model"
"""Names of calls that are none of torch's; what happens within them is not listed."""


class Line(NamedTuple):
    """A line of source, and the code that was running there, if it was seen to run."""

    file: str
    number: int
    code: CodeType | None = None


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of torch's.

    Attributes:
        name: "add" also stands for "add_" and "+=", ".grad" for an attribute that is read.
        lines: of the port, innermost first; at least one.
        given, results: the storages of tensors.
        writes: it changes what it is given.
        draws: it draws random numbers.
        tracked: gradients are on after it.
        cuts: what it is given requires gradients, and what it returns does not.
        mixes: what it returns has no row for each image.
        low: of what it is given or returns, something is floating and not float64.
        in_layer: it is made by one of torch's own modules.
        anchors: the layers of which it is an anchor.
        made_of: the layer of whose parameters alone it makes something.
        roles: what it is given: any of "images", "noise", "scores" and "gradient".
    """

    name: str
    lines: tuple[Line, ...]
    given: tuple[int, ...]
    results: tuple[int, ...]
    writes: bool = False
    draws: bool = False
    tracked: bool = True
    cuts: bool = False
    mixes: bool = False
    low: bool = False
    in_layer: bool = False
    anchors: tuple[str, ...] = ()
    made_of: str | None = None
    roles: frozenset[str] = frozenset()


class Watch(Leaves):
    """Lists calls while it is active.

    Args:
        layers, values, anchors: where a network is cut meanwhile; nowhere by default.
        randomness: whose log shows which call draws.
    """

    def __init__(
        self,
        layers: Mapping[Tensor, str] = MappingProxyType({}),
        values: Mapping[str, Tensor] = MappingProxyType({}),
        anchors: Mapping[str, int] = MappingProxyType({}),
        randomness: SharedRandomness | None = None,
    ) -> None:
        super().__init__(layers, values, anchors)
        self.calls: list[Call] = []
        self._log = [] if randomness is None else randomness.log
        self._within = False
        self._kept: list[Tensor] = []  # so that no other tensor gets their storages

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors((args, kwargs))
        required, drawn = any(t.requires_grad for t in given), len(self._log)
        anchors = dict(self.anchors)
        result = super().__torch_function__(func, types, args, kwargs)
        results = _tensors(result)
        floating = [t for t in results if t.is_floating_point()]
        name = func.__name__
        if name in ("__get__", "__set__"):
            name = f".{func.__self__.__name__}{'=' if name == '__set__' else ''}"
        self._note(
            name.strip("_"),
            given,
            results,
            writes=name.endswith(("=", "_")) and name.startswith("__") == (name == "__setitem__"),
            draws=len(self._log) > drawn,
            cuts=required and bool(floating) and not any(t.requires_grad for t in floating),
            anchors=tuple(n for n, count in self.anchors.items() if count != anchors.get(n)),
        )
        return result

    @contextlib.contextmanager
    def evaluations(self, model: nn.Module) -> Iterator[None]:
        """Be active, and list each evaluation and change of mode of ``model`` as one call."""
        own = {name: model.__dict__.get(name) for name in ("forward", "train")}
        model.__dict__ |= {
            "forward": self._noted(model.forward, EVALUATION),
            "train": self._noted(model.train, MODE),
        }
        try:
            with self:
                yield
        finally:
            for name, value in own.items():
                del model.__dict__[name]
                model.__dict__ |= {} if value is None else {name: value}

    def _noted(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self._within = True
            try:
                result = method(*args, **kwargs)
            finally:
                self._within = False
            self._note(name, _tensors((args, kwargs)), _tensors(result))
            return result

        return noted

    def _note(self, name: str, given: list[Tensor], results: list[Tensor], **about: Any) -> None:
        lines, in_layer = _port_lines()
        if self._within or not lines:
            return
        self._kept += [*given, *results]
        rows = {t.shape[0] for t in given if t.ndim > 1}
        floating = [t for t in given + results if t.is_floating_point()]
        call = Call(
            name,
            lines,
            tuple(map(storage, given)),
            tuple(map(storage, results)),
            tracked=torch.is_grad_enabled(),
            mixes=bool(rows) and any(t.shape[:1].numel() not in rows for t in results),
            low=any(t.dtype != torch.float64 for t in floating),
            in_layer=in_layer,
            made_of=next(filter(None, map(self._anchors.made_of, results)), None),
            **about,
        )
        self.calls.append(call)


@functools.cache
def is_ports(file: str) -> bool:
    """Whether a file is neither the harness's nor torch's, installed or of the standard library."""
    installed = {"site-packages", "dist-packages"}.intersection(Path(file).parts)
    return not (installed or file.startswith(("<", PARITY, TORCH, STANDARD)))


def _port_lines() -> tuple[tuple[Line, ...], bool]:
    """Of the frames up to the harness's call of the port, and whether a module of torch's is within
    the innermost."""
    lines: list[Line] = []
    in_layer = False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not (lines and frame.f_code.co_filename.startswith(PARITY)):
        file = frame.f_code.co_filename
        if is_ports(file):
            lines.append(Line(file, frame.f_lineno, frame.f_code))
        in_layer |= not lines and file.startswith(os.path.join(TORCH, "nn", "modules"))
        frame = frame.f_back
    return tuple(lines), in_layer


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
