"""Shared randomness in TensorFlow: every public route is served, what cannot be is logged.

Expected numbers come from ``SharedRandomness`` itself, asked directly: what TensorFlow's own code
does with them (scale, shift, mask) is written out beside each route.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

tf = pytest.importorskip("tensorflow")
import keras  # noqa: E402

from ebm.settings import PUBLISHED  # noqa: E402
from parity.frameworks.tensorflow import randomness as side  # noqa: E402
from parity.frameworks.tensorflow.precision import precision  # noqa: E402
from parity.frameworks.tensorflow.randomness import intercepted  # noqa: E402
from parity.values.randomness import SharedRandomness, compared  # noqa: E402
from reference_tf.energy_model import energy_model  # noqa: E402
from reference_tf.langevin import generate_samples  # noqa: E402

KEY = 7


def shared(key: int = KEY, layout: str = "NHWC") -> SharedRandomness:
    return SharedRandomness(key, layout)


def served(draw: Callable[[], Any], key: int = KEY) -> tuple[Any, SharedRandomness]:
    """What ``draw`` returns while intercepted, and the streams with their log."""
    randomness = shared(key)
    with intercepted(randomness):
        return draw(), randomness


def normal(*shape: int) -> np.ndarray:
    return shared().normal(shape, "float64")


def uniform(*shape: int) -> np.ndarray:
    return shared().uniform(shape, "float64")


def order(n: int) -> np.ndarray:
    return shared().permutation(n, "int64")


@pytest.fixture(scope="module", autouse=True)
def _float32() -> Iterator[None]:
    with precision("float32"):
        yield


# Every public route

X = tf.ones((4, 5))
SEED = (1, 2)


def tf_generator() -> Any:
    return tf.random.Generator.from_seed(3)


class UserNoise(keras.layers.Layer):
    """Noise at every call, as users write it."""

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(tf.shape(x))


NORMAL: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "tf.random.normal": (lambda: tf.random.normal((4, 5), 3, 2), lambda: normal(4, 5) * 2 + 3),
    "stateless_normal": (
        lambda: tf.random.stateless_normal((4, 5), SEED, 3, 2),
        lambda: normal(4, 5) * 2 + 3,
    ),
    "stateless_normal philox": (
        lambda: tf.random.stateless_normal((4, 5), SEED, alg="philox"),
        lambda: normal(4, 5),
    ),
    "Generator.normal": (lambda: tf_generator().normal((4, 5), 3, 2), lambda: normal(4, 5) * 2 + 3),
    "keras.random.normal": (
        lambda: keras.random.normal((4, 5), 3, 2),
        lambda: normal(4, 5) * 2 + 3,
    ),
    "GaussianNoise": (
        lambda: keras.layers.GaussianNoise(0.5)(X, training=True),
        lambda: X + 0.5 * normal(4, 5),
    ),
    "a user's layer": (lambda: UserNoise()(X), lambda: X + normal(4, 5)),
    "tf.raw_ops": (
        lambda: tf.raw_ops.RandomStandardNormal(shape=(4, 5), dtype=tf.float32),
        lambda: normal(4, 5),
    ),
    "tf.map_fn": (
        lambda: tf.map_fn(lambda x: x + tf.random.normal((5,)), X),
        lambda: X + normal(4, 5),
    ),
    "tf.py_function": (
        lambda: tf.py_function(lambda: tf.random.normal((4, 5)), [], tf.float32),
        lambda: normal(4, 5),
    ),
    "random_normal initialiser": (
        lambda: keras.initializers.RandomNormal(stddev=2.0)((4, 5)),
        lambda: normal(4, 5) * 2,
    ),
}
UNIFORM: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "tf.random.uniform": (lambda: tf.random.uniform((4, 5), 3, 5), lambda: uniform(4, 5) * 2 + 3),
    "stateless_uniform": (
        lambda: tf.random.stateless_uniform((4, 5), SEED, 3, 5),
        lambda: uniform(4, 5) * 2 + 3,
    ),
    "Generator.uniform": (
        lambda: tf_generator().uniform((4, 5), 3, 5),
        lambda: uniform(4, 5) * 2 + 3,
    ),
    "keras.random.uniform": (
        lambda: keras.random.uniform((4, 5), 3, 5),
        lambda: uniform(4, 5) * 2 + 3,
    ),
    "tf.nn.dropout": (
        lambda: tf.nn.dropout(X, 0.3),
        lambda: (uniform(4, 5) >= 0.3) / 0.7,
    ),
    "stateless_dropout": (
        lambda: tf.nn.experimental.stateless_dropout(X, 0.3, SEED),
        lambda: (uniform(4, 5) >= 0.3) / 0.7,
    ),
    "Dropout": (
        lambda: keras.layers.Dropout(0.3)(X, training=True),
        lambda: (uniform(4, 5) >= 0.3) / 0.7,
    ),
    "Dropout with a noise shape": (
        lambda: keras.layers.Dropout(0.3, noise_shape=(None, 1))(X, training=True),
        lambda: np.repeat((uniform(4, 1) >= 0.3) / 0.7, 5, axis=1),
    ),
    "Glorot initialiser": (
        lambda: keras.initializers.GlorotUniform()((4, 5)),
        lambda: (uniform(4, 5) * 2 - 1) * np.sqrt(6 / 9),
    ),
}
INTEGERS: dict[str, Callable[[], Any]] = {
    "tf.random.uniform": lambda: tf.random.uniform((40,), -3, 5, tf.int32),
    "stateless_uniform": lambda: tf.random.stateless_uniform((40,), SEED, -3, 5, tf.int32),
    "Generator.uniform": lambda: tf_generator().uniform((40,), -3, 5, tf.int32),
    "keras.random.randint": lambda: keras.random.randint((40,), -3, 5),
}
SHUFFLED: dict[str, Callable[[], Any]] = {
    "tf.random.shuffle": lambda: tf.random.shuffle(tf.range(9) * 2),
    "stateless_shuffle": lambda: tf.random.experimental.stateless_shuffle(tf.range(9) * 2, SEED),
}


@pytest.mark.parametrize("route", NORMAL)
def test_normal_routes(route: str) -> None:
    draw, expected = NORMAL[route]
    result, randomness = served(draw)
    np.testing.assert_allclose(result, expected(), rtol=1e-6, atol=1e-6)
    assert all(entry.served and entry.family == "normal" for entry in randomness.log)
    assert sum(entry.count for entry in randomness.log) == 20


@pytest.mark.parametrize("route", UNIFORM)
def test_uniform_routes(route: str) -> None:
    draw, expected = UNIFORM[route]
    result, randomness = served(draw)
    np.testing.assert_allclose(result, expected(), rtol=1e-6, atol=1e-6)
    (entry,) = randomness.log
    assert (entry.family, entry.served) == ("uniform", True)


@pytest.mark.parametrize("route", INTEGERS)
def test_integer_routes(route: str) -> None:
    result, randomness = served(INTEGERS[route])
    np.testing.assert_array_equal(result, shared().integers(-3, 5, (40,), "int32"))
    assert set(np.asarray(result)) == set(range(-3, 5))
    (entry,) = randomness.log
    assert (entry.family, entry.count, entry.dtype) == ("integers", 40, "int32")


@pytest.mark.parametrize("route", SHUFFLED)
def test_shuffle_routes(route: str) -> None:
    result, randomness = served(SHUFFLED[route])
    np.testing.assert_array_equal(result, 2 * order(9))
    (entry,) = randomness.log
    assert (entry.family, entry.count) == ("permutation", 9)


def test_rows_are_shuffled_whole_and_scalars_not_at_all() -> None:
    rows, _ = served(lambda: tf.random.shuffle([[1, 2], [3, 4], [5, 6]]))
    np.testing.assert_array_equal(rows, np.array([[1, 2], [3, 4], [5, 6]])[order(3)])
    scalar, randomness = served(lambda: tf.random.shuffle(3.0))
    assert (float(scalar), randomness.log) == (3.0, [])


def test_keras_shuffle_draws_uniforms() -> None:
    """It sorts them; a port that draws a permutation differs in its draw log."""
    result, randomness = served(lambda: keras.random.shuffle(tf.range(9)))
    np.testing.assert_array_equal(result, np.argsort(uniform(9)))
    assert [entry.family for entry in randomness.log] == ["uniform"]


def test_dropout_keeps_where_u_reaches_the_rate() -> None:
    """Equality keeps: u >= rate, with a rate that lies on the grid of the uniforms."""
    u = uniform(64)
    rate = float(u[10])
    result, _ = served(lambda: tf.nn.dropout(tf.ones(64), rate))
    np.testing.assert_array_equal(np.asarray(result) != 0, u >= rate)
    assert result[10] != 0


# Functions, gradients, types


@pytest.mark.parametrize("called_before", [False, True])
@pytest.mark.parametrize("jit", [False, True])
def test_inside_a_users_function(called_before: bool, jit: bool) -> None:
    @tf.function(jit_compile=jit)
    def noisy(x: Any) -> Any:
        return x + tf.random.normal(tf.shape(x))

    if called_before:
        noisy(X)
    result, randomness = served(lambda: noisy(X))
    np.testing.assert_allclose(result, X + normal(4, 5), rtol=1e-6)
    assert [entry.served for entry in randomness.log] == [True]


def test_under_a_gradient_tape() -> None:
    x = tf.Variable([1.0, 2.0, 3.0])

    def gradient(of: Callable[[], Any]) -> Any:
        with tf.GradientTape() as tape:
            y = of()
        return tape.gradient(y, x)

    scaled, _ = served(lambda: gradient(lambda: x * tf.random.normal((3,))))
    np.testing.assert_allclose(scaled, normal(3), rtol=1e-6)
    dropped, _ = served(lambda: gradient(lambda: tf.nn.dropout(x, 0.5)))
    np.testing.assert_allclose(dropped, (uniform(3) >= 0.5) * 2.0)
    without = gradient(lambda: tf.random.shuffle(x) * x)
    intercepted_gradient, _ = served(lambda: gradient(lambda: tf.random.shuffle(x) * x))
    assert sorted(np.asarray(intercepted_gradient)) == sorted(np.asarray(without)) == [1, 2, 3]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_operations_dtype_is_kept(dtype: str) -> None:
    for draw in (tf.random.normal, tf.random.uniform, keras.random.normal, keras.random.uniform):
        result, randomness = served(lambda draw=draw: draw((6,), dtype=dtype))
        assert result.dtype.name == randomness.log[0].dtype == dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_uniforms_stay_below_one(dtype: str) -> None:
    """Rounding to a half type must not reach 1: u is in [0, 1)."""
    result, _ = served(lambda: tf.random.uniform((50_000,), dtype=dtype))
    values = tf.cast(result, tf.float64).numpy()
    assert values.min() >= 0
    assert 0.99 < values.max() < 1


@given(
    rows=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    family=st.sampled_from(["normal", "uniform"]),
    key=st.integers(0, 2**32),
)
def test_split_and_merged_draws_agree(rows: list[int], family: str, key: int) -> None:
    draw = getattr(tf.random, family)
    merged, one = served(lambda: draw((sum(rows), 2, 3, 1)), key)
    split, many = served(lambda: tf.concat([draw((n, 2, 3, 1)) for n in rows], 0), key)
    flat, _ = served(lambda: draw((sum(rows) * 6,)), key)
    np.testing.assert_array_equal(merged, split)
    np.testing.assert_array_equal(tf.reshape(merged, -1), flat)
    assert compared(one.log) == compared(many.log)


@given(shape=st.lists(st.integers(0, 5), max_size=4), key=st.integers(0, 2**32))
def test_both_precisions_see_the_same_numbers(shape: list[int], key: int) -> None:
    for draw in (tf.random.normal, keras.random.uniform):
        single, _ = served(lambda draw=draw: draw(shape, dtype="float32"), key)
        double, _ = served(lambda draw=draw: draw(shape, dtype="float64"), key)
        np.testing.assert_array_equal(single, double)


def test_nchw_is_filled_in_canonical_order() -> None:
    with intercepted(shared(layout="NCHW")):
        result = tf.random.normal((2, 3, 4, 5))
    expected = np.moveaxis(normal(2, 4, 5, 3), -1, 1)
    np.testing.assert_array_equal(result, expected)


# What is not served is logged and left alone

NOT_SERVED: dict[str, tuple[Callable[[], Any], str]] = {
    "truncated_normal": (lambda: tf.random.truncated_normal((5,)), "truncated_normal"),
    "keras truncated": (
        lambda: keras.random.truncated_normal((5,)),
        "stateless_truncated_normal_v2",
    ),
    "categorical": (lambda: tf.random.categorical(tf.zeros((1, 4)), 5), "multinomial"),
    "keras categorical": (
        lambda: keras.random.categorical(tf.zeros((1, 4)), 5),
        "stateless_multinomial",
    ),
    "gamma": (lambda: tf.random.gamma((5,), 1.0), "random_gamma"),
    "keras gamma": (lambda: keras.random.gamma((5,), 1.0), "stateless_random_gamma_v3"),
    "poisson": (lambda: tf.random.poisson((5,), 1.0), "random_poisson_v2"),
    "binomial": (lambda: tf_generator().binomial((5,), 9.0, 0.5), "stateful_random_binomial"),
    "whole integers": (
        lambda: tf_generator().uniform_full_int((5,)),
        "stateless_random_uniform_full_int_v2",
    ),
    "too wide a range": (
        lambda: tf.random.uniform((5,), -(2**63), 2**63 - 1, tf.int64),
        "random_uniform_int",
    ),
    "candidate sampler": (
        lambda: tf.random.uniform_candidate_sampler([[1]], 1, 5, False, 9),
        "uniform_candidate_sampler",
    ),
}


@pytest.mark.parametrize("route", NOT_SERVED)
def test_other_distributions(route: str) -> None:
    draw, operation = NOT_SERVED[route]
    _, randomness = served(draw)
    assert [(e.family, e.count, e.served) for e in randomness.log] == [(operation, 5, False)]


def test_what_is_not_served_keeps_tensorflows_numbers() -> None:
    def truncated() -> Any:
        tf.random.set_seed(1)
        return tf.random.truncated_normal((5,))

    np.testing.assert_array_equal(served(truncated)[0], truncated())


def test_making_seeds_is_no_draw() -> None:
    """``split`` and ``fold_in`` draw whole integers, which select no served number."""

    def seeds() -> Any:
        tf_generator().split(2)
        return tf.random.split(SEED), tf.random.fold_in(SEED, 3)

    (split, folded), randomness = served(seeds)
    assert randomness.log == []
    np.testing.assert_array_equal(split, tf.random.split(SEED))
    np.testing.assert_array_equal(folded, tf.random.fold_in(SEED, 3))


def families(randomness: SharedRandomness) -> set[str]:
    assert not any(entry.served for entry in randomness.log)
    assert all(entry.count > 0 for entry in compared(randomness.log))
    return {entry.family for entry in compared(randomness.log)}


def test_while_a_graph_is_built() -> None:
    """The numbers would be baked in; an open batch size must not count as no draw at all."""

    def build() -> Any:
        function = tf.function(lambda x: x + tf.random.normal(tf.shape(x)))
        return function.get_concrete_function(tf.TensorSpec((None, 3)))

    traced, randomness = served(build)
    assert families(randomness) == {"random_standard_normal while a graph is built"}
    assert np.ptp(traced(tf.zeros((9, 3)))) > 0  # still draws, by itself


def test_a_functional_model_that_is_built_while_intercepted() -> None:
    def build() -> Any:
        images = keras.Input((3,))
        return keras.Model(images, UserNoise()(images))

    model, randomness = served(build)
    assert families(randomness) == {"stateless_random_normal_v2 while a graph is built"}
    result, _ = served(lambda: model(tf.zeros((2, 3))))
    np.testing.assert_allclose(result, normal(2, 3), rtol=1e-6)


def test_a_compiled_function_stays_compiled_and_is_noticed() -> None:
    runs = []

    def noisy(x: Any) -> Any:
        runs.append(1)
        return x + tf.random.normal(tf.shape(x))

    compiled = tf.function(noisy).get_concrete_function(tf.TensorSpec((2,)))
    _, randomness = served(lambda: compiled(tf.zeros(2)))
    assert families(randomness) == {"random_standard_normal in a compiled function"}
    assert len(runs) == 1  # traced once, never run again
    plain = tf.function(lambda x: x + 1).get_concrete_function(tf.TensorSpec((2,)))
    assert served(lambda: plain(tf.zeros(2)))[1].log == []


def test_a_saved_model_that_draws_is_noticed(tmp_path: Path) -> None:
    class Noisy(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((2,), tf.float32)])
        def noisy(self, x):  # type: ignore[no-untyped-def]
            return x + tf.random.normal((2,))

    tf.saved_model.save(Noisy(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    _, randomness = served(lambda: loaded.noisy(tf.zeros(2)))
    assert families(randomness) == {"random_standard_normal in a compiled function"}


def generated() -> Iterator[Any]:
    yield tf.random.normal(()).numpy()


Dataset = tf.data.Dataset
PIPELINES: dict[str, tuple[Callable[[], Any], str]] = {
    "map": (
        lambda: Dataset.range(3).map(lambda _: tf.random.normal((2,))),
        "random_standard_normal while a graph is built",
    ),
    "shuffle": (lambda: Dataset.range(3).shuffle(3), "shuffle_dataset_v3"),
    "random": (lambda: Dataset.random(seed=1).take(3), "random_dataset"),
    "from_generator": (
        lambda: Dataset.from_generator(generated, output_signature=tf.TensorSpec(())),
        "random_standard_normal in another thread",
    ),
}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_pipelines(pipeline: str) -> None:
    make, operation = PIPELINES[pipeline]
    _, randomness = served(lambda: list(make()))
    assert families(randomness) == {operation}


def test_another_thread() -> None:
    def in_a_thread() -> None:
        thread = threading.Thread(target=lambda: tf.random.normal((3,)))
        thread.start()
        thread.join()

    _, randomness = served(in_a_thread)
    assert families(randomness) == {"random_standard_normal in another thread"}


def test_keras_fit_does_not_go_unnoticed() -> None:
    """Its layers draw eagerly and are served; the order of its batches cannot be."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    images, targets = np.zeros((4, 3), "float32"), np.zeros((4, 1), "float32")
    _, randomness = served(lambda: model.fit(images, targets, verbose=0))
    assert {(entry.family, entry.served) for entry in randomness.log} == {
        ("random_shuffle while a graph is built", False),
        ("uniform", True),
    }


#: Operations with a seed or key, or "random" in their names, that draw nothing a program sees.
DRAW_NOTHING = {
    "AnonymousRandomSeedGenerator",  # seeds of pipelines, which are noticed themselves
    "AnonymousSeedGenerator",
    "DeleteRandomSeedGenerator",
    "ComputeAccidentalHits",  # its seed is ignored
    "RandomGammaGrad",  # a function of the sample
    "SnapshotDataset",
    "StatelessRandomGetAlg",
    "StatelessRandomGetKeyCounter",
    "StatelessRandomGetKeyCounterAlg",
    "FileSystemSetConfiguration",  # keys of dictionaries, hashes and file systems
    "StringToHashBucketStrong",
} | {f"{kind}{does}" for kind in ("Map", "OrderedMap") for does in ("Peek", "Stage", "Unstage")}
DRAW_NOTHING |= {f"TensorMap{does}" for does in ("Erase", "HasKey", "Insert", "Lookup")}
#: Operations that do draw and have no route in TensorFlow 2's public API on a CPU.
OUT_OF_REACH = ("CudnnRNN", "KMC2Chain", "KmeansPlusPlus", "RandomShuffleQueue")


def test_no_drawing_operation_was_forgotten() -> None:
    """Every operation of this TensorFlow that takes a seed is served, logged or explained above."""
    known = {side._raw_names()[name] for names in side.OPERATIONS.values() for name in names}
    forgotten = {
        name
        for name, function in vars(tf.raw_ops).items()
        if callable(function)
        and (
            "Random" in name
            or {"seed", "seed2", "key", "seed_generator"}
            & set(inspect.signature(function).parameters)
        )
        and not name.startswith(OUT_OF_REACH)
    } - known
    assert forgotten == DRAW_NOTHING
    for module, names in side.OPERATIONS.items():
        assert not [name for name in names if not hasattr(module, name)]


# Before and after


def functions_now() -> list[Any]:
    return [getattr(owner, name) for owner, name, _, _ in side._routes()] + [
        side.ConcreteFunction._call_flat
    ]


@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back(eagerly: bool, fails: bool) -> None:
    tf.config.run_functions_eagerly(eagerly)
    try:
        before = functions_now()
        if fails:
            with pytest.raises(ZeroDivisionError), intercepted(shared()):
                raise ZeroDivisionError
        else:
            with intercepted(shared()):
                assert tf.config.functions_run_eagerly()
                assert not any(a is b for a, b in zip(functions_now(), before, strict=True))
        assert all(a is b for a, b in zip(functions_now(), before, strict=True))
        assert tf.config.functions_run_eagerly() is eagerly
        with intercepted(shared()):
            pass  # the interception is free again
    finally:
        tf.config.run_functions_eagerly(False)


def test_a_second_interception_is_refused() -> None:
    with intercepted(shared()):
        with pytest.raises(RuntimeError, match="intercepted already"), intercepted(shared()):
            pass
        result = tf.random.normal((3,))
    np.testing.assert_allclose(result, normal(3), rtol=1e-6)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: tf.random.normal((-2,)),
        lambda: tf.random.uniform((2,), 3, 3, tf.int32),
        lambda: tf.raw_ops.RandomStandardNormal(shape=(2,), dtype=tf.int32),
    ],
)
def test_errors_are_tensorflows_own(draw: Callable[[], Any]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as without:
        draw()
    randomness = shared()
    with intercepted(randomness), pytest.raises(tf.errors.InvalidArgumentError) as within:
        draw()
    assert str(within.value) == str(without.value)
    assert randomness.log == []


def test_nothing_changes_without_interception() -> None:
    def both() -> tuple[Any, Any]:
        keras.utils.set_random_seed(5)
        return tf.random.normal((9,)), keras.random.uniform((9,))

    before = both()
    with intercepted(shared()):
        intercepted_draws = both()
    after = both()
    for first, between, last in zip(before, intercepted_draws, after, strict=True):
        np.testing.assert_array_equal(first, last)
        assert not np.array_equal(first, between)


def test_tensorflows_generators_move_on_as_without_it() -> None:
    """What comes after an interception is what would have come without one."""

    def third(intercept: bool) -> Any:
        tf.random.set_seed(5)
        generator = tf.random.Generator.from_seed(1)
        for _ in range(2):
            if intercept:
                served(lambda: (tf.random.normal((9,)), generator.normal((9,))))
            else:
                tf.random.normal((9,)), generator.normal((9,))
        return tf.stack([tf.random.normal((9,)), generator.normal((9,))])

    np.testing.assert_array_equal(third(True), third(False))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_published_sampler_is_reproduced_by_its_key(dtype: str) -> None:
    with precision(dtype):
        model = energy_model(PUBLISHED)
        images = tf.zeros((3, 32, 32, 1), dtype)

        def samples(key: int) -> tuple[Any, SharedRandomness]:
            return served(
                lambda: generate_samples(model, images, steps=3, step_size=10.0, noise=0.005), key
            )

        (first, log), (again, _), (other, _) = samples(1), samples(1), samples(2)
        free = generate_samples(model, images, steps=3, step_size=10.0, noise=0.005)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, free)
    assert [(entry.family, entry.count, entry.dtype) for entry in log.log] == [
        ("normal", 3 * 32 * 32, dtype)
    ] * 3


def repeated(draw: Callable[[], Any]) -> list[str]:
    """The families of draws that would by themselves have given an earlier draw's numbers."""
    found: list[str] = []
    with intercepted(shared(), found.append):
        draw()
    return found


def test_draws_that_would_repeat_their_own_numbers_are_told() -> None:
    seed = (1, 2)
    stateless = tf.random.stateless_normal
    assert repeated(lambda: [stateless((3,), seed) for _ in range(3)]) == ["normal", "normal"]
    assert repeated(lambda: [stateless((3,), (1, n)) for n in range(3)]) == []
    assert repeated(lambda: [tf.random.normal((3,)) for _ in range(3)]) == []
    own = tf.random.Generator.from_seed(0)
    assert repeated(lambda: [own.normal((3,)) for _ in range(3)]) == []
    assert repeated(lambda: [tf.random.Generator.from_seed(0).uniform((3,)) for _ in range(2)]) == [
        "uniform"
    ]
    once = tf.random.uniform
    assert repeated(lambda: [once((3,), 0, 2, tf.int32) for _ in range(40)]) == [], "by chance"
