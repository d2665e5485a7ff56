"""One precision in TensorFlow: it holds end to end, it is put back, and a false oracle is caught.

The traps are Keras's own; each is sprung here without the harness first, so that a test notices if
a later Keras no longer has it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import keras  # noqa: E402

from parity.errors import ReferenceFailed  # noqa: E402
from parity.frameworks.tensorflow.precision import assert_dtypes, precision  # noqa: E402
from reference_tf.energy_model import energy_model  # noqa: E402


@pytest.fixture(autouse=True)
def _float32_afterwards() -> Iterator[None]:
    """Some tests set Keras's globals by hand."""
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def small_model(**arguments: object) -> keras.Model:
    inputs = keras.Input((3,), name="images")
    return keras.Model(inputs, keras.layers.Dense(2, name="dense", **arguments)(inputs))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_published_model_runs_in_it_end_to_end(dtype: str) -> None:
    with precision(dtype):
        model = energy_model()
        assert_dtypes(model, dtype)
        images = tf.zeros((2, 32, 32, 1), dtype)
        with tf.GradientTape() as tape:
            tape.watch(images)
            scores = model(images)
        assert scores.dtype.name == dtype
        assert tape.gradient(scores, images).dtype.name == dtype


def test_float64_is_not_float32_in_disguise() -> None:
    """One part in 10**12 moves a float64 score and would be lost in a float32 one."""
    with precision("float64"):
        model = small_model(kernel_initializer="ones")
        images = np.ones((1, 3))
        moved = model(tf.constant(images + 1e-12)) - model(tf.constant(images))
    np.testing.assert_allclose(moved, 3e-12, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_other_precision_is_refused(dtype: str) -> None:
    other = "float64" if dtype == "float32" else "float32"
    with precision(dtype):
        model = small_model()
    with pytest.raises(ReferenceFailed, match=f"does not run in {other}"):
        assert_dtypes(model, other)


def test_floatx_alone_leaves_float32_and_is_caught() -> None:
    """Keras has cached its dtype policy: inputs turn float64, the network does not."""
    small_model()
    keras.config.set_floatx("float64")
    model = energy_model()
    assert model(tf.zeros((1, 32, 32, 1), "float64")).dtype == "float32"  # the trap itself
    with pytest.raises(ReferenceFailed) as caught:
        assert_dtypes(model, "float64")
    assert "layer conv1 computes in float32" in str(caught.value)
    assert "variable conv1/kernel is float32" in str(caught.value)
    assert "variable score/bias is float32" in str(caught.value)


def test_the_policy_alone_leaves_the_input_and_is_caught() -> None:
    keras.config.set_dtype_policy("float64")
    model = small_model()
    assert model.inputs[0].dtype == "float32"  # the trap itself
    with pytest.raises(ReferenceFailed, match="input images is float32"):
        assert_dtypes(model, "float64")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", "layer dense computes in float32"),
        ("bfloat16", "variable dense/kernel is bfloat16"),
        ("mixed_float16", "layer dense computes in float16"),
    ],
)
def test_one_layer_of_another_type_is_named(dtype: str, expected: str) -> None:
    with precision("float64"):
        model = small_model(dtype=dtype)
    with pytest.raises(ReferenceFailed, match=expected):
        assert_dtypes(model, "float64")


def test_a_layer_of_a_nested_model_is_named() -> None:
    with precision("float64"):
        images = keras.Input((3,))
        model = keras.Model(images, small_model(dtype="float32")(images))
    with pytest.raises(ReferenceFailed, match="layer dense computes in float32"):
        assert_dtypes(model, "float64")


def test_an_input_of_integers_is_named() -> None:
    with precision("float64"):
        images = keras.Input((3,), dtype="int32", name="grey")
        model = keras.Model(images, keras.layers.Dense(1)(keras.layers.Rescaling(1.0)(images)))
    with pytest.raises(ReferenceFailed, match="input grey is int32"):
        assert_dtypes(model, "float64")


def test_states_of_seed_generators_are_no_offenders() -> None:
    with precision("float64"):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5)])
    assert any("seed_generator" in variable.path for variable in model.variables)
    assert_dtypes(model, "float64")


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, images: object) -> object:
        return self.dense(images)


def test_a_model_without_declared_inputs() -> None:
    with precision("float64"):
        model = Subclassed()
        assert model(tf.zeros((1, 3), "float64")).dtype == "float64"
    assert_dtypes(model, "float64")
    with pytest.raises(ReferenceFailed, match="does not run in float32"):
        assert_dtypes(model, "float32")


@pytest.mark.parametrize("before", ["float32", "float64", "mixed_float16"])
@pytest.mark.parametrize("fails", [False, True])
def test_put_back(before: str, fails: bool) -> None:
    floatx = "float32" if before.startswith("mixed") else before
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(before)
    if fails:
        with pytest.raises(ZeroDivisionError), precision("float64"):
            raise ZeroDivisionError
    else:
        with precision("float64"):
            assert keras.config.floatx() == "float64"
            assert keras.config.dtype_policy().name == "float64"
    assert keras.config.floatx() == floatx
    assert keras.config.dtype_policy().name == before


def test_nested() -> None:
    with precision("float64"):
        with precision("float32"):
            assert_dtypes(small_model(), "float32")
        assert_dtypes(small_model(), "float64")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "double", ""])
def test_other_precisions_are_refused_and_change_nothing(dtype: str) -> None:
    with pytest.raises(ValueError, match="must be 'float32' or 'float64'"), precision(dtype):
        pass
    assert keras.config.floatx() == "float32"
