"""The TensorFlow side: how to build, load, evaluate and sample there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from parity.correspond.weights import check_weights
from parity.declare import specs
from parity.declare.declarations import Pair, Side
from parity.errors import BadCall
from parity.frameworks.tensorflow.clips import Clips
from parity.frameworks.tensorflow.precision import assert_dtypes, precision
from parity.frameworks.tensorflow.randomness import intercepted
from parity.frameworks.tensorflow.rounding import rough_derivatives
from parity.frameworks.tensorflow.training import TensorFlowTrainer, built, slots
from parity.side.runner import MODELS_KEPT, Arrays, Pulled, Run, SideRunner, as_scores
from parity.side.sampler_probe import CURVATURE, Probe
from parity.side.training_probe import CURVATURE as TRAINING_CURVATURE
from parity.side.training_probe import Evaluation, TrainingProbe
from parity.values import layouts
from parity.values.cases import Case
from parity.values.randomness import SharedRandomness
from parity.verdict.floor import moved

WORTH_TRACING = 20  # evaluations: 200 ms to trace, 10 ms saved by each


class TensorFlowRunner(SideRunner):
    """Answers observables for a :class:`parity.TensorFlowSide`."""

    def __init__(self, side: Side, pair: Pair | None) -> None:
        super().__init__(side, pair)
        self._traced: dict[int, tuple[keras.Model, Callable[..., Any]]] = {}

    def precision(self, name: str) -> contextlib.AbstractContextManager[None]:
        return precision(name)

    def prepared(self, model: keras.Model, name: str) -> keras.Model:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model() must return a keras.Model, got {type(model).__name__}")
        if not model.built:
            raise BadCall(
                f"{type(model).__name__} is not built; call it once, or build it, inside model()"
            )
        assert_dtypes(model, name)
        return model

    def load(self, model: keras.Model, case: Case, weights: Mapping[str, np.ndarray]) -> None:
        self._assign(model, weights)

    def _assign(self, model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
        variables = {variable.path: variable for variable in model.weights}
        check_weights(
            {name: array.shape for name, array in weights.items()},
            {path: tuple(variable.shape) for path, variable in variables.items()},
            "the case",
        )
        for name, array in weights.items():
            variables[name].assign(array)

    def evaluate(self, model: keras.Model, images: np.ndarray, pulled: Pulled) -> Arrays:
        x = tf.constant(self.laid_out(images))
        with tf.GradientTape() as tape:
            tape.watch(x)
            scores = model(x)
        by = tf.constant(pulled.by(scores.shape, len(images), scores.dtype.name))
        gradients = tape.gradient(scores, x, output_gradients=by)
        if gradients is None:
            gradients = tf.zeros_like(x)
        side = self.side
        return {
            "energies": as_scores(scores.numpy(), len(images), side.energy_sign, side.layout),
            "energy_gradients": layouts.images_to_canonical(gradients.numpy(), side.layout),
        }

    def evaluated_with_activations(self, run: Run, images: np.ndarray) -> Arrays:
        """Both from one evaluation; that is most of what the floors of a network cost."""
        with self.shared_in(run), _recording_layers(run.model) as outputs:
            found = self.evaluate(run.model, images, self.pulled(run.case))
        return found | {f"activations/{name}": value.numpy() for name, value in outputs.items()}

    def cotangents(self, model: keras.Model, images: np.ndarray, pulled: Pulled) -> Arrays:
        x = tf.constant(self.laid_out(images))
        with tf.GradientTape() as tape, _recording_layers(model) as outputs:
            tape.watch(x)
            scores = model(x)
        by = tf.constant(pulled.by(scores.shape, len(images), scores.dtype.name))
        gradients = tape.gradient(
            scores, [x, *outputs.values()], output_gradients=by, unconnected_gradients="zero"
        )
        found = {
            name: gradient.numpy() for name, gradient in zip(outputs, gradients[1:], strict=True)
        }
        found["images"] = layouts.images_to_canonical(gradients[0].numpy(), self.side.layout)
        return {f"cotangents/{name}": array for name, array in found.items()}

    def sample(
        self, model: keras.Model, case: Case, images: np.ndarray, steps: int, every_step: bool
    ) -> np.ndarray:
        assert case.sampler is not None
        result = self.sampler_entry(
            model=model,
            images=tf.constant(self.laid_out(images)),
            steps=steps,
            step_size=case.sampler.step_size,
            noise=case.sampler.noise,
            gradient_clip=case.sampler.gradient_clip,
            return_every_step=True if every_step else None,
        )
        if isinstance(result, (list, tuple)):
            result = tf.stack(result)
        array = layouts.images_to_canonical(tf.convert_to_tensor(result).numpy(), self.side.layout)
        return array if every_step else array[np.newaxis]

    def canonical_images(self, images: np.ndarray) -> np.ndarray:
        return layouts.images_to_canonical(images, self.side.layout)

    def trainer(self, model: keras.Model, case: Case) -> TensorFlowTrainer:
        return TensorFlowTrainer(self, model, case)

    def forget(self, case: Case) -> None:
        """Nothing: variables are all that training changes, and every case loads them."""

    def probe_model(self, probe: Probe, evaluations: list[dict[str, Any]]) -> keras.Model:
        c, m = (tf.constant(self.laid_out(array[np.newaxis])) for array in (probe.c, probe.m))
        sign = self.side.energy_sign

        def keep(x: tf.Tensor) -> None:
            seen = self.canonical_images(x.numpy()) if hasattr(x, "numpy") else None
            evaluations.append({"images": seen})

        class ProbeModel(keras.Model):  # type: ignore[misc]
            def call(self, x: tf.Tensor) -> tf.Tensor:
                keep(x)
                energy = c * tf.sin(x - m) + CURVATURE * c * x * x
                return sign * tf.reduce_sum(energy, axis=(1, 2, 3))[:, tf.newaxis]

        return ProbeModel()

    def training_probe(self, probe: TrainingProbe, evaluated: list[Evaluation]) -> keras.Model:
        m, side = tf.constant(probe.m), self.side

        def keep(x: tf.Tensor) -> None:
            evaluated.append((self.canonical_images(x.numpy()), False))

        class TrainingProbeModel(keras.Model):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(name="probe")
                self.c = self.add_weight(shape=probe.m.shape, name="c")
                self.built = True

            def call(self, x: tf.Tensor) -> tf.Tensor:
                keep(x)
                if side.layout == "NCHW":
                    x = tf.transpose(x, (0, 2, 3, 1))
                x = tf.reshape(x, (tf.shape(x)[0], -1))
                features = tf.sin(x - m) + TRAINING_CURVATURE * x * x
                return side.energy_sign * tf.reduce_sum(features * self.c, axis=1, keepdims=True)

        return TrainingProbeModel()

    def moments(self, settings: Mapping[str, Any] | None) -> list[str]:
        with self.precision("float32"):
            model = self.built(settings, "float32")
            optimizer = built(specs.entry(self.side.make_optimizer)(model), model)
        return sorted({moment for moment, _ in slots(optimizer, model)})

    @contextlib.contextmanager
    def intercepted(
        self,
        model: keras.Model,
        randomness: SharedRandomness,
        precision: str,
        notes: dict[str, Any],
    ) -> Iterator[None]:
        def count(*_: Any) -> None:
            randomness.evaluations += 1

        repeated: set[str] = set(notes.get("repeated", ()))
        with intercepted(randomness, repeated.add), on_call(model, count):
            yield
        if repeated:
            notes["repeated"] = sorted(repeated)

    @contextlib.contextmanager
    def compiled(self, model: keras.Model, evaluations: int) -> Iterator[None]:
        """Evaluate ``model`` as one graph: 5 ms instead of 20 for the published network.

        Tracing costs as much as about 30 eager evaluations. A network that draws is left eager,
        for draws cannot be served while a graph is traced.
        """
        if evaluations < WORTH_TRACING or draws(model):
            yield
            return
        if id(model) not in self._traced:
            if len(self._traced) >= MODELS_KEPT:
                self._traced.pop(next(iter(self._traced)))
            spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
            self._traced[id(model)] = (
                model,
                tf.function(model.call).get_concrete_function(spec),
            )
        _, traced = self._traced[id(model)]
        with replaced_call(model, lambda images, *_, **__: traced(images)):
            yield

    def rough(self, model: keras.Model) -> contextlib.AbstractContextManager[None]:
        return rough_derivatives(flat_layers(model))

    @contextlib.contextmanager
    def reordered(self, model: keras.Model, rng: np.random.Generator) -> Iterator[None]:
        """See the base class. A network that draws is left alone, for its draws have an order."""
        if draws(model):
            yield
            return
        call = model.call

        def reordering(images: Any, *args: Any, **kwargs: Any) -> Any:
            order = rng.permutation(len(images))
            inverse = np.argsort(order)
            scores = call(_taken(images, order), *args, **kwargs)

            @tf.custom_gradient  # type: ignore[untyped-decorator]
            def in_order(value: tf.Tensor) -> Any:
                def gradient(upstream: tf.Tensor) -> tf.Tensor:
                    array = tf.gather(upstream, order).numpy()
                    return tf.constant(moved(array, array.dtype.name, rng))

                return tf.gather(value, inverse), gradient

            return in_order(scores)

        with replaced_call(model, reordering):
            yield

    def clips(self, case: Case) -> dict[str, Any]:
        """What each clip of the sampler changed (``parity.frameworks.tensorflow.clips``)."""
        assert case.sampler is not None
        notes: dict[str, Any] = {}
        with self.ready(case, "float64", notes) as model:
            randomness = SharedRandomness(case.key, self.side.layout)
            images = case.images.astype("float64")
            every = self.sampler_entry.supports("return_every_step")
            clips = Clips(image_size=int(np.prod(images.shape[1:])))
            with self.intercepted(model, randomness, "float64", notes):
                call = model.call

                def unwatched(*args: Any, **kwargs: Any) -> Any:
                    with clips.paused():
                        return call(*args, **kwargs)

                with replaced_call(model, unwatched), clips:
                    self.sample(model, case, images, case.sampler.steps, every)
        return clips.to_dict()

    def weights(self, settings: Mapping[str, Any] | None) -> dict[str, Any]:
        with self.precision("float32"):
            model = self.built(settings, "float32")
        return {
            "names": [variable.path for variable in model.weights],
            "shapes": [[int(n) for n in variable.shape] for variable in model.weights],
            "feature_maps": feature_maps(model),
            "layers": layer_facts(model),
            "image_shape": [int(n) for n in model.inputs[0].shape[1:]],
        }

    def initial_weights(
        self, settings: Mapping[str, Any] | None, seeds: list[int], shapes: Mapping[str, list[int]]
    ) -> Arrays:
        drawn = []
        with self.precision("float32"):
            for seed in seeds:
                self.seed(seed)
                model = self.build(settings)
                drawn.append({variable.path: variable.numpy() for variable in model.weights})
        return {name: np.stack([weights[name] for weights in drawn]) for name in drawn[0]}

    def read_weights(
        self, path: str, shapes: Mapping[str, list[int]], feature_maps: Mapping[str, list[int]]
    ) -> Arrays:
        with self.precision("float32"):
            model = self.build(None)
            model.load_weights(path)
        return {variable.path: variable.numpy() for variable in model.weights}

    def write_weights(
        self, path: str, weights: Arrays, feature_maps: Mapping[str, list[int]]
    ) -> None:
        with self.precision("float32"):
            model = self.build(None)
            self._assign(model, weights)
            if path.endswith(".keras"):
                model.save(path)
            else:
                model.save_weights(path)

    def preprocessed(self, images: np.ndarray) -> np.ndarray:
        result = specs.entry(self.side.preprocess)(images)
        array = tf.convert_to_tensor(result).numpy()
        return layouts.images_to_canonical(array, self.side.layout)

    def as_tensor(self, array: np.ndarray) -> tf.Tensor:
        return tf.constant(array)

    def forward(self, model: keras.Model, images: tf.Tensor) -> tf.Tensor:
        return model(images)

    def seed(self, seed: int) -> None:
        keras.utils.set_random_seed(seed % 2**32)

    def environment(self) -> dict[str, str]:
        return {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "tensorflow_threads": os.environ.get("TF_NUM_INTRAOP_THREADS", "all"),
            "tensorflow_onednn": "off" if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" else "on",
        }

    def laid_out(self, images: np.ndarray) -> np.ndarray:
        return layouts.images_from_canonical(images, self.side.layout)


def flat_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The model's own layers, nested models opened."""
    return list(model._flatten_layers(include_self=False, recursive=True))


def layer_facts(model: keras.Model) -> list[dict[str, Any]]:
    """Each layer with weights, in order: what it computes, and what lies before it.

    ``before`` names the layers without weights since the last one with weights; only activations
    and flattening can be refitted through. ``activation`` is what follows the layer's own values,
    fused or as a layer of its own. A normalisation has its ``epsilon`` besides.
    """
    found: list[dict[str, Any]] = []
    before: list[str] = []
    flattened: list[int] | None = None
    for layer in flat_layers(model):
        kind = type(layer).__name__
        if not layer.weights:
            if isinstance(layer, keras.layers.Flatten):
                flattened = [int(n) for n in layer.input.shape[1:]]
            elif found and (name := _as_activation(layer)) and found[-1]["activation"] == "linear":
                found[-1]["activation"] = name
            elif not isinstance(layer, keras.layers.InputLayer):
                before.append(kind)
            continue
        found.append(
            {
                "layer": layer.path,
                "kind": kind,
                "weights": [variable.path for variable in layer.weights],
                "strides": [int(n) for n in getattr(layer, "strides", ())],
                "padding": getattr(layer, "padding", None),
                "dilation": [int(n) for n in getattr(layer, "dilation_rate", ())],
                "activation": _activation(layer),
                "flattened": flattened,
                "before": before,
                **_normalising(layer),
            }
        )
        before, flattened = [], None
    return found


def _activation(layer: keras.layers.Layer) -> str:
    activation = getattr(layer, "activation", None)
    return "linear" if activation is None else str(getattr(activation, "__name__", activation))


def _normalising(layer: keras.layers.Layer) -> dict[str, Any]:
    """What a layer that normalises adds to the variance, where it does so over the last axis."""
    kinds = (keras.layers.BatchNormalization, keras.layers.LayerNormalization)
    if not isinstance(layer, kinds):
        return {}
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    last = [axis in (-1, len(layer.input.shape) - 1) for axis in axes]
    return {"epsilon": float(layer.epsilon)} if last == [True] else {}


def _as_activation(layer: keras.layers.Layer) -> str:
    """What a layer that is nothing but an activation computes; empty if it is another."""
    layers = keras.layers
    if isinstance(layer, layers.Activation):
        return _activation(layer)
    if isinstance(layer, layers.ReLU) and not layer.threshold:
        slope = float(layer.negative_slope or 0.0)
        if layer.max_value is None:
            return _leaky(slope) if slope else "relu"
        return "relu6" if float(layer.max_value) == 6 and not slope else ""
    if isinstance(layer, layers.LeakyReLU):
        return _leaky(layer.negative_slope)
    if isinstance(layer, layers.ELU):
        return "elu" if float(layer.alpha) == 1 else f"elu, alpha {float(layer.alpha)!r}"
    return ""


def _leaky(slope: float) -> str:
    """TensorFlow rounds the slope to float32, whatever it computes in."""
    return f"leaky_relu, slope {float(np.float32(slope))!r}"


def draws(model: keras.Model) -> bool:
    """Whether a layer of the model draws random numbers."""
    return any(hasattr(layer, "seed_generator") for layer in flat_layers(model))


def _taken(array: tf.Tensor, order: np.ndarray) -> tf.Tensor:
    """``array[order]`` with a dense gradient, where ``tf.gather`` has a sparse one."""
    inverse = np.argsort(order)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def take(value: tf.Tensor) -> Any:
        return tf.gather(value, order), lambda gradient: tf.gather(gradient, inverse)

    return take(array)


def feature_maps(model: keras.Model) -> dict[str, list[int]]:
    """For each dense kernel that follows a Flatten: the (H, W, C) that is flattened."""
    found: dict[str, list[int]] = {}
    flattened: list[int] | None = None
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.Flatten):
            shape = layer.input.shape[1:]
            flattened = [int(n) for n in shape] if len(shape) == 3 else None
        elif isinstance(layer, keras.layers.Dense) and flattened is not None:
            found[layer.kernel.path] = flattened
            flattened = None
    return found


@contextlib.contextmanager
def on_call(model: keras.Model, tell: Callable[..., None]) -> Iterator[None]:
    """Call ``tell(images)`` before each evaluation of the model."""
    call = model.call

    def telling(images: Any, *args: Any, **kwargs: Any) -> Any:
        tell(images)
        return call(images, *args, **kwargs)

    with replaced_call(model, telling):
        yield


@contextlib.contextmanager
def replaced_call(layer: keras.layers.Layer, call: Callable[..., Any]) -> Iterator[None]:
    """Let ``layer(x)`` go through ``call``, past Keras's tracking of attributes."""
    before = layer.__dict__.get("call")
    object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        if before is None:
            object.__delattr__(layer, "call")
        else:
            object.__setattr__(layer, "call", before)


@contextlib.contextmanager
def _recording_layers(model: keras.Model) -> Iterator[dict[str, tf.Tensor]]:
    """Record what each layer with weights computes, by its path, while active."""
    outputs: dict[str, tf.Tensor] = {}
    with contextlib.ExitStack() as stack:
        for layer in flat_layers(model):
            if layer.weights:
                stack.enter_context(_recording(layer, outputs))
        yield outputs


@contextlib.contextmanager
def _recording(layer: keras.layers.Layer, outputs: dict[str, tf.Tensor]) -> Iterator[None]:
    """Record what ``layer`` computes before its activation, each call numbered."""

    def record(value: tf.Tensor) -> None:
        name = layer.path
        number = 1 + sum(key == name or key.startswith(f"{name}#") for key in outputs)
        outputs[name if number == 1 else f"{name}#{number}"] = value

    if getattr(layer, "activation", None) is not None:
        activation = layer.activation

        def recording(value: Any) -> Any:
            record(value)
            return activation(value)

        layer.activation = recording
        try:
            yield
        finally:
            layer.activation = activation
        return
    call = layer.call

    def recording_call(*args: Any, **kwargs: Any) -> Any:
        value = call(*args, **kwargs)
        record(value)
        return value

    with replaced_call(layer, recording_call):
        yield
