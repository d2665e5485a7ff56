"""Shared randomness in TensorFlow: the generated random operations are served while intercepted.

Every public route (``tf.random.*``, ``tf.random.Generator``, ``tf.nn.dropout``, ``keras.random``,
Dropout, GaussianNoise, initialisers) looks its operation up in one of TensorFlow's ``gen_*``
modules when it is called, and ``tf.raw_ops`` holds a second copy of each; replacing both catches
them all. The operation is run as it is, so that shape, dtype and errors are TensorFlow's own, and
its values are then replaced. Normals are served as standard normals and uniforms on [0, 1):
location and scale are ordinary arithmetic in TensorFlow and stay the user's.

What to know about it:

- A *seed does not select the numbers*: ``stateless_*`` operations and layers with ``seed=`` get
  fresh numbers at each call, as a reseeded torch generator does. That a draw would have repeated
  an earlier one's numbers is told all the same (``repeated``).
- Initialisers are served too, but Keras's default for many is ``truncated_normal``, which is not.
  Build models before intercepting.
- ``keras.random.shuffle`` sorts uniforms, so it draws from the uniform stream and not from the
  permutations.
- ``tf.function`` runs eagerly meanwhile; a ``ConcreteFunction`` stays compiled.

What cannot be served is left alone and logged as not served, with the reason in its name: other
distributions; a draw while a graph is built (its numbers would be baked in), as in functions given
to ``tf.data`` or ``tf.vectorized_map``; a draw in another thread, where the order is accidental;
a compiled function that draws; a ``tf.data`` pipeline that shuffles. A pipeline made before the
interception is not seen at all.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, ModuleType
from typing import Any

import tensorflow as tf
from tensorflow.python.eager.polymorphic_function.concrete_function import ConcreteFunction
from tensorflow.python.ops import (
    gen_candidate_sampling_ops,
    gen_dataset_ops,
    gen_experimental_dataset_ops,
    gen_image_ops,
    gen_nn_ops,
    gen_random_index_shuffle_ops,
    gen_random_ops,
    gen_stateful_random_ops,
    gen_stateless_random_ops,
    gen_stateless_random_ops_v2,
)

from parity.values.randomness import Draw, SharedRandomness

Serve = Callable[[SharedRandomness, tf.Tensor, dict[str, Any]], tf.Tensor | None]

FEW_WHOLE = 8
"""Whole numbers, or places of a permutation, below which a draw may be another's by chance."""

_active = threading.Lock()
_drawing_nodes: weakref.WeakKeyDictionary[ConcreteFunction, tuple[str, ...]]
_drawing_nodes = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def intercepted(
    randomness: SharedRandomness, repeated: Callable[[str], None] = lambda family: None
) -> Iterator[None]:
    """Serve every draw of this thread from ``randomness`` and log it; put all back at the end.

    Args:
        repeated: told the family of a draw whose own numbers, those that the served ones replace,
            are an earlier draw's: a stateless operation with the same seed, say.

    Raises:
        RuntimeError: an interception is active already; each draw can have one source only.
    """
    if not _active.acquire(blocking=False):
        raise RuntimeError("draws are intercepted already; leave that interception first")
    with contextlib.ExitStack() as stack:
        stack.callback(_active.release)
        stack.enter_context(warnings.catch_warnings())
        # The flag below is ours, and so would be the warning to whoever calls tf.data.
        warnings.filterwarnings("ignore", "Even though the `tf.config.experimental_run_functions_e")
        stack.callback(tf.config.run_functions_eagerly, tf.config.functions_run_eagerly())
        thread = threading.get_ident()
        own = _Own(repeated)
        for owner, name, operation, serve in _routes():
            original = getattr(owner, name)
            replacement = _intercepting(original, operation, serve, randomness, thread, own)
            stack.callback(setattr, owner, name, original)
            setattr(owner, name, replacement)
        stack.callback(setattr, ConcreteFunction, "_call_flat", ConcreteFunction._call_flat)
        ConcreteFunction._call_flat = _noticing(ConcreteFunction._call_flat, randomness)
        tf.config.run_functions_eagerly(True)
        yield


def _routes() -> Iterator[tuple[ModuleType, str, str, Serve | None]]:
    """Every place an operation is looked up in: (module, attribute, operation, how it is served).

    Operations that this version of TensorFlow does not have are passed over.
    """
    raw = _raw_names()
    for module, operations in OPERATIONS.items():
        for operation, serve in operations.items():
            for owner in (module, tf):  # tf.random_index_shuffle is the generated function itself
                if hasattr(owner, operation):
                    yield owner, operation, operation, serve
            if operation in raw:
                yield tf.raw_ops, raw[operation], operation, serve


@functools.cache
def _raw_names() -> dict[str, str]:
    """``random_standard_normal`` -> ``RandomStandardNormal``, its name in tf.raw_ops and graphs."""
    functions = ((name, value) for name, value in vars(tf.raw_ops).items() if callable(value))
    return {value.__name__: name for name, value in functions if not name.startswith("_")}


def _intercepting(
    original: Callable[..., Any],
    operation: str,
    serve: Serve | None,
    randomness: SharedRandomness,
    thread: int,
    own: _Own,
) -> Callable[..., Any]:
    """``original`` with its values replaced by served ones where that is possible."""

    @functools.wraps(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if operation in _FULL_RANGE and _derives_a_seed():
            return result
        obstacle = ""
        if not tf.executing_eagerly():
            obstacle = " while a graph is built"
        elif threading.get_ident() != thread:
            obstacle = " in another thread"
        elif serve is not None:
            bound = inspect.signature(original).bind(*args, **kwargs)
            served = serve(randomness, result, bound.arguments)
            if served is not None:
                own.see(operation, result, randomness.log[-1:])
                return served
        shape, dtype = _shape_and_dtype(result)
        randomness.not_served(operation + obstacle, shape, dtype)
        return result

    return draw


class _Own:
    """The numbers that draws would have given by themselves, to see which come again."""

    def __init__(self, repeated: Callable[[str], None]) -> None:
        self._repeated = repeated
        self._seen: set[tuple[str, tuple[int, ...], bytes]] = set()

    def see(self, operation: str, result: tf.Tensor, logged: Sequence[Draw]) -> None:
        """Of few numbers that are no fractions chance alone may give the same."""
        if not logged or logged[-1].count < (2 if result.dtype.is_floating else FEW_WHOLE):
            return
        values = result.numpy()
        key = (operation, values.shape, hashlib.sha256(values.tobytes()).digest())
        if key in self._seen:
            self._repeated(logged[-1].family)
        self._seen.add(key)


def _noticing(call: Callable[..., Any], randomness: SharedRandomness) -> Callable[..., Any]:
    """``ConcreteFunction._call_flat``, logging what the compiled function draws by itself."""

    @functools.wraps(call)
    def noticing(function: ConcreteFunction, *args: Any, **kwargs: Any) -> Any:
        if function not in _drawing_nodes:
            _drawing_nodes[function] = _draws_of(function)
        for operation in _drawing_nodes[function]:
            randomness.not_served(f"{operation} in a compiled function", (), "unknown")
        return call(function, *args, **kwargs)

    return noticing


def _draws_of(function: ConcreteFunction) -> tuple[str, ...]:
    """The names of the drawing operations in a compiled function and in those it calls."""
    drawing = {_raw_names().get(name): name for names in OPERATIONS.values() for name in names}
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    return tuple(sorted({drawing[node.op] for node in nodes if node.op in drawing}))


def _shape_and_dtype(result: Any) -> tuple[tuple[int, ...], str]:
    """Of the first tensor of a result; sizes that a graph leaves open count as 1, never as 0."""
    tensor = result[0] if isinstance(result, (tuple, list)) else result
    shape = tensor.shape
    sizes = () if shape.rank is None else tuple(1 if n is None else n for n in shape)
    return sizes, tensor.dtype.name


def _derives_a_seed() -> bool:
    """Whether TensorFlow draws whole integers only to make seeds (``tf.random.split``)."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("tensorflow."):
        if frame.f_code.co_name in _SEED_MAKERS:
            return True
        frame = frame.f_back
    return False


def _normal(randomness: SharedRandomness, result: tf.Tensor, _: dict[str, Any]) -> tf.Tensor:
    return tf.cast(randomness.normal(result.shape, result.dtype.name), result.dtype)


def _uniform(randomness: SharedRandomness, result: tf.Tensor, _: dict[str, Any]) -> tf.Tensor:
    return tf.cast(randomness.uniform(result.shape, result.dtype.name), result.dtype)


def _integers(
    randomness: SharedRandomness, result: tf.Tensor, arguments: dict[str, Any]
) -> tf.Tensor | None:
    low, high = int(arguments["minval"]), int(arguments["maxval"])
    if high - low > 2**62 or high > 2**63:  # more than the shared stream can give
        return None
    if result.shape.num_elements() == 0:  # TensorFlow then checks no limits: they may be equal
        high = max(high, low + 1)
    values = randomness.integers(low, high, result.shape, result.dtype.name)
    return tf.cast(values, result.dtype)


def _shuffle(
    randomness: SharedRandomness, result: tf.Tensor, arguments: dict[str, Any]
) -> tf.Tensor:
    if result.shape.rank == 0:
        return result  # a scalar has nothing to shuffle
    order = randomness.permutation(int(result.shape[0]), "int64")
    return tf.stop_gradient(tf.gather(arguments["value"], order))  # as tf.random.shuffle: none


#: Draws of whole integers, and the functions of TensorFlow's that use them to make seeds.
_FULL_RANGE = (
    "stateless_random_uniform_full_int",
    "stateless_random_uniform_full_int_v2",
)
_SEED_MAKERS = (
    "split",
    "fold_in",
    "make_seeds",
    "_make_int64_keys",
    "_preprocess_key",
    "_philox_scramble_seed",
)

#: What is replaced: module -> operation -> how it is served; None: logged and left alone.
OPERATIONS: dict[ModuleType, dict[str, Serve | None]] = {
    gen_random_ops: {
        "random_standard_normal": _normal,
        "random_uniform": _uniform,
        "random_uniform_int": _integers,
        "random_shuffle": _shuffle,
        "truncated_normal": None,
        "parameterized_truncated_normal": None,
        "multinomial": None,
        "random_gamma": None,
        "random_poisson": None,
        "random_poisson_v2": None,
    },
    gen_stateless_random_ops: {
        "stateless_random_normal": _normal,
        "stateless_random_uniform": _uniform,
        "stateless_random_uniform_int": _integers,
        "stateless_random_uniform_full_int": None,
        "stateless_truncated_normal": None,
        "stateless_parameterized_truncated_normal": None,
        "stateless_multinomial": None,
        "stateless_random_binomial": None,
        "stateless_random_gamma_v2": None,
        "stateless_random_poisson": None,
    },
    gen_stateless_random_ops_v2: {
        "stateless_random_normal_v2": _normal,
        "stateless_random_uniform_v2": _uniform,
        "stateless_random_uniform_int_v2": _integers,
        "stateless_shuffle": _shuffle,
        "stateless_random_uniform_full_int_v2": None,
        "stateless_truncated_normal_v2": None,
        "stateless_random_gamma_v3": None,
    },
    gen_stateful_random_ops: {
        "stateful_standard_normal": _normal,
        "stateful_standard_normal_v2": _normal,
        "stateful_uniform": _uniform,
        "stateful_uniform_int": _integers,
        "stateful_uniform_full_int": None,
        "stateful_truncated_normal": None,
        "stateful_random_binomial": None,
    },
    gen_random_index_shuffle_ops: {"random_index_shuffle": None},
    gen_candidate_sampling_ops: dict.fromkeys(
        (
            "all_candidate_sampler",
            "fixed_unigram_candidate_sampler",
            "learned_unigram_candidate_sampler",
            "log_uniform_candidate_sampler",
            "thread_unsafe_unigram_candidate_sampler",
            "uniform_candidate_sampler",
        )
    ),
    gen_image_ops: dict.fromkeys(
        (
            "random_crop",
            "sample_distorted_bounding_box",
            "sample_distorted_bounding_box_v2",
            "stateless_sample_distorted_bounding_box",
        )
    ),
    gen_nn_ops: dict.fromkeys(("fractional_avg_pool", "fractional_max_pool")),
    gen_dataset_ops: dict.fromkeys(
        (
            "shuffle_dataset",
            "shuffle_dataset_v2",
            "shuffle_dataset_v3",
            "shuffle_and_repeat_dataset",
            "shuffle_and_repeat_dataset_v2",
        )
    ),
    gen_experimental_dataset_ops: dict.fromkeys(
        (
            "experimental_random_dataset",
            "global_shuffle_dataset",
            "random_dataset",
            "random_dataset_v2",
            "sampling_dataset",
        )
    ),
}
