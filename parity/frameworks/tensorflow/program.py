"""The reference as it is: a Keras model, a ``tf.Module`` or whatever builds one."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.models.functional import Functional
from tensorflow.python.framework import op_callbacks

from parity.declare.inputs import FREE, InputSpec
from parity.errors import BadCall, ReferenceFailed
from parity.frameworks.tensorflow.departures import departed
from parity.frameworks.tensorflow.exact import exact_reading
from parity.frameworks.tensorflow.precision import assert_dtypes, precision
from parity.values.table import Called, Fingerprint, Table, Use, fingerprint

Arrays = dict[str, np.ndarray]

SEED = 1
"""Of what a model draws when it is built, and in training mode."""


class KerasProgram:
    """Answers for a reference that is nothing but a model.

    Args:
        found: what the SPEC names: a model, or a class or function that builds one.
        given: what was said of its inputs, in the order of its arguments.
    """

    def __init__(self, found: Any, given: list[InputSpec]) -> None:
        self._found, self._given = found, given
        self._models: dict[str, Any] = {}
        self._fresh: dict[str, list[np.ndarray]] = {}
        self._states: dict[str, list[np.ndarray]] = {}

    def model(self, dtype: str) -> Any:
        """The model in ``dtype``, built once for each; a model that was given whole is cloned.

        Raises:
            ReferenceFailed: something in it stays in another precision.
        """
        if dtype not in self._models:
            with precision(dtype):
                keras.backend.clear_session()
                keras.utils.set_random_seed(SEED)
                model = self._build(dtype)
                if not getattr(model, "built", True) or not weights_of(model):
                    self._called(
                        model,
                        {i.name: tf.constant(i.zeros(dtype)) for i in self.inputs(model)},
                        training=False,
                    )
            if isinstance(model, keras.Model):
                assert_dtypes(model, dtype, integers=True)
            else:
                _assert_variables(model, dtype)
            self._models[dtype] = model
            self._fresh[dtype] = [np.array(v.numpy()) for v in weights_of(model)]
            self._states[dtype] = [np.array(v.numpy()) for v in states_of(model)]
        return self._models[dtype]

    def _build(self, dtype: str) -> Any:
        found = self._found
        if isinstance(found, keras.layers.Layer):
            model = recast(found, dtype)
            if found.built:
                model.set_weights(found.get_weights())
            return model
        if isinstance(found, tf.Module):
            return found
        model = built(found)
        if not isinstance(model, tf.Module) and not callable(model):
            raise BadCall(f"the reference builds a {type(model).__name__}, not a model")
        return model

    # What it is.

    def describe(self) -> dict[str, Any]:
        """Inputs, weights and layers."""
        model = self.model("float64")
        inputs = self.inputs(model)
        owners = layers_of(model)
        return {
            "inputs": [spec.to_plain() for spec in inputs],
            "weights": [
                {
                    "name": str(number),
                    "path": variable_path(variable, number),
                    "shape": [int(n) for n in variable.shape],
                    "trainable": bool(variable.trainable),
                    **owners.get(id(variable), {"layer": "", "kind": type(model).__name__}),
                }
                for number, variable in enumerate(weights_of(model))
            ],
        }

    def inputs(self, model: Any) -> list[InputSpec]:
        """Its inputs: from the model where it knows them, and from what was given."""
        found = [
            _spec(model, tensor)
            for tensor in keras.tree.flatten(getattr(model, "inputs", None) or [])
        ]
        if not found:
            if not self._given:
                raise BadCall(
                    f"{type(model).__name__} does not know its inputs: give each as "
                    "--input NAME=SHAPE[:DTYPE[:LOW..HIGH]], without the batch"
                )
            names = argument_names(model)
            return [
                g.named(names[n] if n < len(names) else f"input_{n}")
                for n, g in enumerate(self._given)
            ]
        for number, given in enumerate(self._given):
            place = next((n for n, s in enumerate(found) if s.name == given.name), number)
            if place >= len(found):
                raise BadCall(
                    f"--input {given.name!r}: the reference has {len(found)} inputs, "
                    f"{[spec.name for spec in found]}"
                )
            found[place] = given.named(found[place].name)
        return found

    # What it answers.

    def initial(self) -> Arrays:
        """The weights that it has when it is built."""
        self.model("float32")
        return {str(n): array for n, array in enumerate(self._fresh["float32"])}

    def load(self, dtype: str, weights: Mapping[str, np.ndarray]) -> Any:
        model = self.model(dtype)
        for number, variable in enumerate(weights_of(model)):
            variable.assign(np.asarray(weights[str(number)]).astype(_name(variable.dtype)))
        return model

    def forward(
        self,
        dtype: str,
        weights: Arrays,
        inputs: Arrays,
        cotangents: Callable[[str, tuple[int, ...]], np.ndarray] | None,
        *,
        exact: bool = True,
    ) -> Arrays:
        """``outputs/...``; with cotangents ``input_gradients/...``, ``parameter_gradients/...``.

        Args:
            exact: with constants as they are written; otherwise as TensorFlow keeps them.
        """
        reading = exact_reading(dtype) if exact else contextlib.nullcontext()
        with precision(dtype), reading:
            model = self.load(dtype, weights)
            given = {n: tf.constant(a) for n, a in inputs.items()}
            floating = {n: x for n, x in given.items() if x.dtype.is_floating}
            variables = [v for v in weights_of(model) if v.trainable and _floating(v)]
            with tf.GradientTape() as tape:
                tape.watch(list(floating.values()))
                outputs = flat_outputs(self._called(model, given, training=False))
                total = None
                if cotangents is not None and any(x.dtype.is_floating for x in outputs.values()):
                    parts = [
                        tf.reduce_sum(
                            x * tf.constant(cotangents(n, tuple(x.shape)).astype(_name(x.dtype)))
                        )
                        for n, x in outputs.items()
                        if x.dtype.is_floating
                    ]
                    total = tf.add_n([tf.cast(p, dtype) for p in parts])
            found = {f"outputs/{n}": x.numpy() for n, x in outputs.items()}
            if total is None:
                return found
            values = [v.value if isinstance(v, keras.Variable) else v for v in variables]
            sources = [*floating.values(), *values]
            gradients = tape.gradient(total, sources, unconnected_gradients="zero")
            for n, g in zip(floating, gradients, strict=False):
                found[f"input_gradients/{n}"] = tf.convert_to_tensor(g).numpy()
            numbers = {id(v): str(k) for k, v in enumerate(weights_of(model))}
            for v, g in zip(variables, gradients[len(floating) :], strict=True):
                found[f"parameter_gradients/{numbers[id(v)]}"] = tf.convert_to_tensor(g).numpy()
            return found

    def settled(self, weights: Arrays, inputs: Arrays) -> Arrays:
        """The weights with the statistics of normalisations as this batch has them.

        One pass in training mode whose momentum keeps nothing of the old: the signal then reaches
        the end of a deep network.
        """
        with precision("float64"):
            model = self.load("float64", weights)
            keras.utils.set_random_seed(SEED)
            for variable, state in zip(states_of(model), self._states["float64"], strict=False):
                variable.assign(state)
            norms = [
                layer
                for layer in flat_layers(model)
                if isinstance(layer, keras.layers.BatchNormalization)
            ]
            if norms:
                before = [layer.momentum for layer in norms]
                try:
                    for layer in norms:
                        layer.momentum = 0.0
                    self._called(
                        model, {n: tf.constant(a) for n, a in inputs.items()}, training=True
                    )
                finally:
                    for layer, momentum in zip(norms, before, strict=True):
                        layer.momentum = momentum
            statistics = {id(v) for norm in norms for v in norm.non_trainable_variables}
            return {
                name: variable.numpy() if id(variable) in statistics else weights[name]
                for name, variable in ((str(n), v) for n, v in enumerate(weights_of(model)))
            }

    def table(self, weights: Arrays, inputs: Arrays) -> Table:
        """Everything computed in float64."""
        with precision("float64"), exact_reading("float64"):
            model = self.load("float64", weights)
            with _Recording(model) as recording:
                given = {n: tf.constant(a) for n, a in inputs.items()}
                self._called(model, given, training=False)
        return recording.table()

    def departed(
        self,
        weights: Arrays,
        inputs: Arrays,
        path: str,
        departures: Sequence[Mapping[str, Any]],
        others: Mapping[str, np.ndarray],
    ) -> dict[str, Arrays]:
        """What the layer at ``path`` is given and gives at its first call, and what it would give
        if it were another: see :func:`parity.frameworks.tensorflow.departures.departed`."""
        with precision("float64"), exact_reading("float64"):
            model = self.load("float64", weights)
            layer = next(layer for layer, own in layer_paths(model) if own == path)
            seen: list[tuple[Any, Any, Any]] = []
            call = keras.layers.Layer.__call__

            def calling(called: Any, *args: Any, **kwargs: Any) -> Any:
                result = call(called, *args, **kwargs)
                if called is layer:
                    seen.append((args, kwargs, result))
                return result

            keras.layers.Layer.__call__ = calling
            try:
                given = {n: tf.constant(a) for n, a in inputs.items()}
                self._called(model, given, training=False)
            finally:
                keras.layers.Layer.__call__ = call
            args, kwargs, result = seen[0]
            found = {
                "given": _numbered((args, kwargs)),
                "result": _numbered(result),
                "departed": {},
            }
            for number, departure in enumerate(departures):
                other = departed(layer, args, kwargs, departure, others)
                if other is not None:
                    found["departed"][str(number)] = other
            return found

    def _called(self, model: Any, inputs: Mapping[str, Any], training: bool) -> Any:
        eagerly = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            structure = getattr(model, "_inputs_struct", None)
            if isinstance(structure, dict):
                given: Any = {key: inputs[_input_name(structure[key])] for key in structure}
            elif structure is not None:
                given = keras.tree.pack_sequence_as(structure, list(inputs.values()))
            else:
                given = list(inputs.values())
                given = given[0] if len(given) == 1 else given
            if isinstance(model, keras.layers.Layer):
                if (
                    structure is None
                    and isinstance(given, list)
                    and len(argument_names(model)) >= len(given)
                ):
                    return (
                        model(*given, training=training) if takes_training(model) else model(*given)
                    )
                return model(given, training=training)
            return model(*given) if isinstance(given, list) else model(given)
        finally:
            tf.config.run_functions_eagerly(eagerly)


class _Recording:
    """Fingerprints of what TensorFlow computes while active, of layers' calls, of weights' uses."""

    def __init__(self, model: Any) -> None:
        self._weights = {}
        self._kept: list[Any] = []
        for number, variable in enumerate(weights_of(model)):
            value = variable.value if isinstance(variable, keras.Variable) else variable
            self._weights[id(value.handle)] = str(number)
        self._derived: dict[int, str] = {}  # tensors made of one weight alone
        self._paths = {id(layer): path for layer, path in layer_paths(model)}
        self._tensors: list[Fingerprint] = []
        self._uses: list[Use] = []
        self._calls: list[dict[str, Any]] = []

    def __enter__(self) -> _Recording:
        self._call = keras.layers.Layer.__call__
        recording = self

        def calling(layer: Any, *args: Any, **kwargs: Any) -> Any:
            path = recording._paths.get(id(layer))
            if path is None:
                return recording._call(layer, *args, **kwargs)
            entry: dict[str, Any] = {"path": path, "kind": type(layer).__name__}
            entry |= {"given": _prints((args, kwargs)), "config": plain_config(layer)}
            recording._calls.append(entry)
            result = recording._call(layer, *args, **kwargs)
            entry["result"] = _prints(result)
            return result

        keras.layers.Layer.__call__ = calling
        op_callbacks.add_op_callback(self._on)
        return self

    def __exit__(self, *_: object) -> None:
        op_callbacks.remove_op_callback(self._on)
        keras.layers.Layer.__call__ = self._call

    def _on(
        self,
        kind: str,
        inputs: Any,
        attrs: Any,
        outputs: Any,
        op_name: Any = None,
        graph: Any = None,
    ) -> Any:
        self._kept += [*inputs, *outputs]
        if kind == "ReadVariableOp" and id(inputs[0]) in self._weights:
            self._derived[id(outputs[0])] = self._weights[id(inputs[0])]
            return None
        if kind == "ResourceGather" and id(inputs[0]) in self._weights:
            operands, weights = [inputs[1]], {self._weights[id(inputs[0])]}
        else:
            weights = {self._derived[id(t)] for t in inputs if id(t) in self._derived}
            operands = [t for t in inputs if id(t) not in self._derived]
        data = [f for t in operands if (f := _print(t)) is not None]
        made = [f for t in outputs if (f := _print(t)) is not None]
        if weights and not data and len(weights) == 1 and not any(_data(t) for t in operands):
            for t in outputs:
                self._derived[id(t)] = next(iter(weights))
            return None
        for weight in weights:
            self._uses.append(Use(weight, kind, tuple(data), made[0] if made else None))
        self._tensors += made
        return None

    def table(self) -> Table:
        calls = tuple(
            Called(c["path"], c["kind"], c["given"], c.get("result", ()), c["config"])
            for c in self._calls
        )
        return Table(tuple(self._tensors), tuple(self._uses), calls)


def _data(tensor: Any) -> bool:
    """Whether a tensor may be data: axes, shapes and permutations are small integers."""
    dtype = getattr(tensor, "dtype", None)
    return dtype is not None and (dtype.is_floating or dtype.is_complex)


def _print(tensor: Any) -> Fingerprint | None:
    dtype = getattr(tensor, "dtype", None)
    if dtype is None or not (dtype.is_floating or dtype.is_integer) or not hasattr(tensor, "numpy"):
        return None
    try:
        return fingerprint(tensor.numpy())
    except Exception:  # a resource, a variant
        return None


def _prints(structure: Any) -> tuple[Fingerprint, ...]:
    leaves = tf.nest.flatten(structure)
    return tuple(f for x in leaves if tf.is_tensor(x) and (f := _print(x)) is not None)


def plain_config(layer: Any) -> dict[str, Any]:
    """What a layer was built with, as far as it is numbers, words and lists of numbers."""
    try:
        config = layer.get_config()
    except Exception:  # a layer of the user's own need not have one
        return {}
    return {key: _copied(value) for key, value in config.items() if _plain(value)}


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(v, (int, float)) for v in value)
    return isinstance(value, (bool, int, float, str))


def _copied(value: Any) -> Any:
    """A plain value that crosses a pipe: Keras has lists and numbers of its own."""
    if isinstance(value, (list, tuple)):
        return [_copied(v) for v in value]
    return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))


def _numbered(structure: Any) -> Arrays:
    tensors = [x for x in tf.nest.flatten(structure) if tf.is_tensor(x)]
    return {str(number): x.numpy() for number, x in enumerate(tensors)}


def from_file(path: str) -> keras.Model:
    """The model in a ``.keras`` file; nothing in it is executed.

    Raises:
        BadCall: it cannot be loaded, or not without running code of its own.
    """
    try:
        return keras.models.load_model(path, safe_mode=True, compile=False)
    except (ValueError, TypeError, OSError) as error:
        raise BadCall(f"{path} cannot be loaded: {error}") from error


def recast(found: Any, dtype: str) -> Any:
    """A model or layer built anew in ``dtype`` from its configuration, with weights of its own.

    Raises:
        BadCall: it has none; name what builds it.
    """
    try:
        if isinstance(found, (keras.Sequential, Functional)):
            given = None
            if isinstance(found, Functional) or found.built:
                given = keras.tree.map_structure(
                    lambda x: keras.Input(
                        batch_shape=x.shape, dtype=_recast(x.dtype, dtype), name=x.name
                    ),
                    found.input,
                )
            return keras.models.clone_model(
                found, input_tensors=given, clone_function=lambda layer: recast(layer, dtype)
            )
        return type(found).from_config(_recast(found.get_config(), dtype))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise BadCall(
            f"the reference is a {type(found).__name__} that cannot be built anew in {dtype}: "
            f"{error}; name a function that builds it"
        ) from error


def _recast(config: Any, dtype: str) -> Any:
    """A configuration, or the name of a float type, with every float type and policy of it
    ``dtype``."""
    if isinstance(config, dict):
        if config.get("class_name") in ("DTypePolicy", "FloatDTypePolicy"):
            name = config["config"].get("name", "")
            return config if "float" not in name else {**config, "config": {"name": dtype}}
        return {
            key: _recast(value, dtype)
            if isinstance(value, (dict, list, tuple)) or key == "dtype"
            else value
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(
            _recast(value, dtype) if isinstance(value, (dict, list, tuple)) else value
            for value in config
        )
    return dtype if isinstance(config, str) and "float" in config else config


def _assert_variables(model: Any, dtype: str) -> None:
    offenders = [
        f"{variable_path(v, n)} is {_name(v.dtype)}"
        for n, v in enumerate(weights_of(model))
        if _floating(v) and _name(v.dtype) != dtype
    ]
    if offenders:
        raise ReferenceFailed(
            f"the reference does not run in {dtype}: {'; '.join(offenders)}; let what builds it "
            "make its variables in keras.config.floatx()"
        )


def states_of(model: Any) -> list[Any]:
    """Variables that are no weights: those of seed generators."""
    weights = {id(v) for v in weights_of(model)}
    return [v for v in model.variables if id(v) not in weights]


def built(found: Any) -> Any:
    """What a class or function of no required argument builds.

    Raises:
        BadCall: it needs arguments.
    """
    if not callable(found):
        raise BadCall(f"expected a model, or what builds one, got a {type(found).__name__}")
    try:
        needed = [
            p.name
            for p in inspect.signature(found).parameters.values()
            if p.default is p.empty
            and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
    except (TypeError, ValueError):
        needed = []
    if needed:
        raise BadCall(
            f"{getattr(found, '__name__', found)} needs {', '.join(needed)}: name a function that "
            "builds the model without arguments"
        )
    return found()


def weights_of(model: Any) -> list[Any]:
    """Its weights in their own order; of a ``tf.Module`` its variables."""
    if isinstance(model, keras.layers.Layer):
        return list(model.weights)
    return list(model.variables)


def variable_path(variable: Any, number: int) -> str:
    path = getattr(variable, "path", None) or getattr(variable, "name", "")
    return str(path) if path and not str(path).startswith("Variable") else f"variable {number}"


def flat_layers(model: Any) -> list[Any]:
    if not isinstance(model, keras.Model):
        return []
    return list(model._flatten_layers(include_self=False, recursive=True))


def layer_paths(model: Any) -> list[tuple[Any, str]]:
    """Every layer of the model with a path that is its own."""
    seen: dict[str, int] = {}
    found = []
    for layer in flat_layers(model):
        path = layer.path or layer.name
        seen[path] = seen.get(path, 0) + 1
        found.append((layer, path if seen[path] == 1 else f"{path}#{seen[path]}"))
    return found


def layers_of(model: Any) -> dict[int, dict[str, Any]]:
    """id of each variable -> the layer that has it: its path, class, the weight's own name there,
    and what tells how it is laid out."""
    found: dict[int, dict[str, Any]] = {}
    for layer, path in layer_paths(model):
        for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
            found[id(variable)] = {
                "layer": path,
                "kind": type(layer).__name__,
                "role": variable.name,
                "equation": getattr(layer, "equation", None),
                "reset_after": getattr(layer, "reset_after", None),
            }
    return found


def flat_outputs(result: Any) -> dict[str, Any]:
    """Outputs by path: "0" for a single one, keys of dicts, numbers of sequences."""
    if isinstance(result, Mapping):
        return {
            f"{k}/{n}" if n != "0" or _nested(v) else str(k): x
            for k, v in result.items()
            for n, x in flat_outputs(v).items()
        }
    if isinstance(result, (list, tuple)):
        return {
            f"{k}/{n}" if _nested(v) else str(k): x
            for k, v in enumerate(result)
            for n, x in flat_outputs(v).items()
        }
    return {"0": tf.convert_to_tensor(result)}


def _nested(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple))


def _input_name(tensor: Any) -> str:
    return str(tensor.name)


def _spec(model: Any, tensor: Any) -> InputSpec:
    free = iter(FREE)
    shape = tuple(next(free) if n is None else int(n) for n in tensor.shape[1:])
    dtype = str(tensor.dtype)
    integer = "int" in dtype
    high = _vocabulary(model, tensor) if integer else None
    return InputSpec(
        name=_input_name(tensor),
        shape=shape,
        dtype=dtype if integer else "float",
        low=0.0 if integer else -1.0,
        high=float(high if high is not None else 9) if integer else 1.0,
    )


def _vocabulary(model: Any, tensor: Any) -> int | None:
    """The greatest index of the embeddings that take the input."""
    sizes = [
        layer.input_dim
        for layer in flat_layers(model)
        if isinstance(layer, keras.layers.Embedding)
        and any(t is tensor for node in layer._inbound_nodes for t in node.input_tensors)
    ]
    return min(sizes) - 1 if sizes else None


def argument_names(model: Any) -> list[str]:
    """The arguments of the model's call that may be inputs."""
    function = model.call if isinstance(model, keras.layers.Layer) else model.__call__
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        p.name
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        and p.name not in ("self", "training", "mask")
    ]


def takes_training(model: Any) -> bool:
    return "training" in inspect.signature(model.call).parameters


def _floating(variable: Any) -> bool:
    return "float" in _name(variable.dtype)


def _name(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype))
