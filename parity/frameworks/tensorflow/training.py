"""Training on the TensorFlow side: what an optimizer is given, what it keeps, how to set it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from parity.errors import BadCall
from parity.side.trainer import Arrays, Owner, Trainer
from parity.values.cases import Case


class TensorFlowOwner(Owner, Protocol):
    """A TensorFlow side, as far as its trainer needs it."""

    def laid_out(self, images: np.ndarray) -> np.ndarray:
        """Images in this side's layout."""


class TensorFlowTrainer(Trainer):
    """A Keras model, its optimizer and its replay buffer."""

    runner: TensorFlowOwner

    def __init__(self, runner: TensorFlowOwner, model: keras.Model, case: Case) -> None:
        super().__init__(runner, model, case)
        if not isinstance(self.optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                "make_optimizer must return a keras.optimizers.Optimizer, got "
                f"{type(self.optimizer).__name__}"
            )
        built(self.optimizer, model)

    def tensor(self, images: np.ndarray) -> tf.Tensor:
        return tf.constant(self.runner.laid_out(images))

    @contextlib.contextmanager
    def recording(self, gradients: Arrays) -> Iterator[None]:
        """What ``apply`` is given, which ``apply_gradients`` goes through too."""
        apply = self.optimizer.apply

        def recording_apply(grads: Any, trainable_variables: Any = None) -> Any:
            grads = list(grads)
            variables = trainable_variables
            if variables is None:
                variables = self.model.trainable_variables
            else:
                variables = trainable_variables = list(variables)
            for gradient, variable in zip(grads, variables, strict=True):
                if gradient is not None:
                    gradients[variable.path] = tf.convert_to_tensor(gradient).numpy()
            return apply(grads, trainable_variables)

        object.__setattr__(self.optimizer, "apply", recording_apply)
        try:
            yield
        finally:
            object.__delattr__(self.optimizer, "apply")

    def restore_moments(self, moments: Mapping[str, np.ndarray], iterations: int) -> None:
        variables = {f"{m}/{w}": v for (m, w), v in slots(self.optimizer, self.model).items()}
        if set(variables) != set(moments):
            wrong = ", ".join(sorted(set(variables) ^ set(moments)))
            raise BadCall(f"the case's moments are not those of the reference's optimizer: {wrong}")
        for name, array in moments.items():
            variables[name].assign(array)
        self.optimizer.iterations.assign(iterations)

    def state(self) -> Arrays:
        found = {f"training_state/weights/{v.path}": v.numpy() for v in self.model.weights}
        for (moment, weight), variable in slots(self.optimizer, self.model).items():
            found[f"training_state/{moment}/{weight}"] = variable.numpy()
        return found


def built(optimizer: Any, model: keras.Model) -> Any:
    """The optimizer with its variables for the model's."""
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return optimizer


def slots(optimizer: Any, model: keras.Model) -> dict[tuple[str, str], Any]:
    """(moment, weight) -> the optimizer's variable, such as ("momentum", "conv1/kernel").

    Keras names them "adam/conv1_kernel_momentum".
    """
    weights = {variable.path.replace("/", "_"): variable.path for variable in model.weights}
    found = {}
    for variable in optimizer.variables:
        name = variable.path.partition("/")[2]
        for flat in sorted(weights, key=len, reverse=True):
            if name.startswith(f"{flat}_"):
                found[name.removeprefix(f"{flat}_"), weights[flat]] = variable
                break
    return found
