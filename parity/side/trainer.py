"""A side's training, ready to take steps: a model, its optimizer and its replay buffer."""

from __future__ import annotations

import abc
import contextlib
import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from parity.declare import specs
from parity.declare.declarations import Side
from parity.errors import BadCall
from parity.side.buffers import BufferImages, as_array
from parity.values.cases import Case

Arrays = dict[str, np.ndarray]

IMAGES = {"train_step": 2, "validate": 1}
"""Which argument is the caller's batch of images."""


class Owner(Protocol):
    """What a trainer needs of the side that it belongs to."""

    @property
    def side(self) -> Side:
        """The declaration."""

    def entered(
        self, entry: str, *given: Any, model: Any = None
    ) -> contextlib.AbstractContextManager[None]:
        """Around one call of the user's code."""

    def settings_of(self, case: Case) -> Any:
        """What the case's settings are to this side's entries."""

    def canonical_images(self, images: np.ndarray) -> np.ndarray:
        """Images in this side's layout, as NHWC."""


class Trainer(abc.ABC):
    """A model, its optimizer and its replay buffer, ready to take steps.

    Args:
        runner: the side.
        model: loaded with the case's weights.
        case: its ``settings`` go to every entry that has an argument of that name.
    """

    def __init__(self, runner: Owner, model: Any, case: Case) -> None:
        self.runner, self.model, self.case = runner, model, case
        side = runner.side
        self.optimizer = self.call("make_optimizer", model)
        self.buffer = None if side.replay_buffer is None else self.call("replay_buffer")
        self.buffer_images = (
            None if self.buffer is None else BufferImages(self.buffer, side.buffer_images)
        )

    def call(self, entry: str, *arguments: Any) -> Any:
        """Call the side's entry of that name, with ``settings=`` if it takes them."""
        declared = getattr(self.runner.side, entry)
        if declared is None:
            raise BadCall(f"this side declares no {entry}")
        function = specs.entry(declared)
        settings = self.runner.settings_of(self.case)
        takes = settings is not None and "settings" in inspect.signature(function).parameters
        given = [arguments[IMAGES[entry]]] if entry in IMAGES else []
        model = arguments[0] if entry == "validate" else None
        with self.runner.entered(entry, *given, model=model):
            return function(*arguments, **({"settings": settings} if takes else {}))

    def step(self, real: np.ndarray) -> Arrays:
        """Take one step on real images (B, H, W, C).

        Returns:
            ``losses/<name>`` (), and ``parameter_gradients/<weight>`` as the optimizer got them.
        """
        images = self.tensor(real)
        arguments = [self.model, self.optimizer, images]
        if self.buffer is not None:
            arguments.append(self.buffer)
        gradients: Arrays = {}
        with self.recording(gradients):
            losses = self.call("train_step", *arguments)
        found = scalars("losses", losses, real.dtype)
        found |= {f"parameter_gradients/{name}": array for name, array in gradients.items()}
        return found

    def validate(self, real: np.ndarray) -> Arrays:
        """``validation/<name>`` ()."""
        found = self.call("validate", self.model, self.tensor(real))
        return scalars("validation", found, real.dtype)

    def read_buffer(self) -> Arrays:
        """``replay_buffer`` (N, H, W, C), canonical; nothing if there is no buffer."""
        if self.buffer_images is None:
            return {}
        return {"replay_buffer": self.runner.canonical_images(self.buffer_images.read())}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Put the case's moments into the optimizer, and its images into the buffer."""
        moments = {name: array for name, array in state.items() if name != "buffer"}
        if moments:
            assert self.case.training is not None
            self.restore_moments(moments, self.case.training.iterations)
        if "buffer" in state:
            if self.buffer_images is None:
                raise BadCall("the case gives a replay buffer, and this side declares none")
            self.buffer_images.write(state["buffer"], self.own_tensor)

    @abc.abstractmethod
    def tensor(self, images: np.ndarray) -> Any:
        """Canonical images as a tensor in this side's layout, as a caller hands them over."""

    def own_tensor(self, images: np.ndarray) -> Any:
        """As the side keeps them itself: never a view."""
        return self.tensor(images)

    @abc.abstractmethod
    def recording(self, gradients: Arrays) -> contextlib.AbstractContextManager[None]:
        """Record the gradients that the optimizer is given, canonical, by weight."""

    @abc.abstractmethod
    def restore_moments(self, moments: Mapping[str, np.ndarray], iterations: int) -> None:
        """Put canonical ``<moment>/<weight>`` arrays and the number of steps taken there."""

    @abc.abstractmethod
    def state(self) -> Arrays:
        """``training_state/<what>/<weight>``, canonical: weights and the optimizer's moments."""


def scalars(kind: str, named: Any, dtype: np.dtype[Any]) -> Arrays:
    """A returned dict of scalars as arrays ``<kind>/<name>``.

    A number that is no tensor, as ``.item()`` gives it, has no precision of its own and is taken in
    that of the run; but for NumPy's that have less.

    Args:
        dtype: of the run. A tensor keeps its own, right or wrong.

    Raises:
        TypeError: it is no dict, or holds something that is no scalar; names it.
    """
    if not isinstance(named, Mapping):
        raise TypeError(
            f"train_step and validate return a dict of scalars, got {type(named).__name__}"
        )
    found = {}
    for name, value in named.items():
        array = as_array(value)
        if array.size != 1:
            raise TypeError(f"{kind} {name!r} has shape {array.shape}, expected a scalar")
        plain = isinstance(value, int | float | np.generic | np.ndarray)
        narrower = isinstance(value, np.floating | np.ndarray) and array.itemsize < dtype.itemsize
        if plain and not narrower:
            array = array.astype(dtype)
        found[f"{kind}/{name}"] = array.reshape(())
    return found
