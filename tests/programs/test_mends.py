"""Programs that once got a wrong answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from parity.errors import ReferenceFailed
from parity.verdict.comparison import Verdict
from tests.programs.conftest import Open

Written = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """``written(source)``: a file of that source."""

    def write(source: str) -> str:
        path = tmp_path / "programs.py"
        path.write_text(source)
        return str(path)

    return write


def verdicts(opened: Open, path: str, reference: str = "build", port: str = "Net") -> dict:
    pair = opened(reference if "." in reference else f"{path}:{reference}", f"{path}:{port}")
    return {check.name: check for check in pair.check(1)}


TOKENS = """
def build():
    import keras

    ids = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(20, 4)(ids)
    return keras.Model(ids, keras.layers.Dense(3)(x))


def Net():
    from torch import nn

    return nn.Sequential(nn.Embedding(20, 4), nn.Linear(4, 3))
"""


@pytest.mark.few(0)
def test_what_the_reference_has_nothing_for_is_no_check(opened: Open, written: Written) -> None:
    found = verdicts(opened, written(TOKENS))
    assert list(found) == ["outputs", "parameter_gradients", "batch_independence"]
    assert all(check.verdict.green for check in found.values())


NOISY = """
def build():
    import keras
    import numpy as np

    class Noisy(keras.layers.Layer):
        def call(self, x):
            return x * (1 + 1e-8 * np.random.default_rng().normal())

    x = keras.Input((6,))
    return keras.Model(x, Noisy()(keras.layers.Dense(3)(x)))


def Net():
    from torch import nn

    class Near(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(6, 3)

        def forward(self, x):
            return self.dense(x) * (1 + 1e-7)

    return Near()
"""


def test_a_reference_that_draws_of_its_own_is_refused(opened: Open, written: Written) -> None:
    """Its noise would be in its floors, and a port a ten-millionth off within them."""
    with pytest.raises(ReferenceFailed, match="the reference is not deterministic: asked twice"):
        verdicts(opened, written(NOISY))


ATTENTION = """
def build():
    import keras

    x = keras.Input((5, 8))
    y = keras.layers.Conv1D(8, 1)(x)
    y = keras.layers.LayerNormalization(axis=(1, 2), epsilon=1e-5)(y)
    y = keras.layers.MultiHeadAttention(2, 4)(y, y)
    return keras.Model(x, y)


def Net(stop=None, half=None):
    import torch
    from torch import nn

    class Port(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(8, 8, 1)
            self.norm = nn.LayerNorm((5, 8), eps=1e-5)
            self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
            self.out = nn.Linear(8, 8)

        def forward(self, x):
            x = self.conv(x.transpose(1, 2)).transpose(1, 2)
            x = self.norm(x)
            q, k, v = (
                f(x).unflatten(-1, (2, 4)).transpose(1, 2)
                for f in (self.query, self.key, self.value)
            )
            if stop:
                q = q.detach()
            if half:
                v = (v + v.detach()) / 2
            y = torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
            return self.out(y.transpose(1, 2).flatten(2))

    return Port()


def stopped():
    return Net(stop=True)


def halved():
    return Net(half=True)
"""


def test_a_gradient_that_is_zero_by_construction_is_judged(opened: Open, written: Written) -> None:
    found = verdicts(opened, written(ATTENTION))
    assert {n: (c.verdict.green, c.problem) for n, c in found.items()} == dict.fromkeys(
        found, (True, None)
    )


@pytest.mark.few(0)
@pytest.mark.parametrize("port", ["stopped", "halved"])
def test_a_gradient_that_is_missing_or_halved_is_red(
    opened: Open, written: Written, port: str
) -> None:
    found = verdicts(opened, written(ATTENTION), port=port)
    assert found["outputs"].verdict.green
    assert found["parameter_gradients"].verdict is Verdict.DIVERGENT


INSTANCE = """
def model():
    import keras

    keras.utils.set_random_seed(3)
    x = keras.Input((6, 6, 2))
    inner = keras.Sequential(
        [keras.Input((6, 6, 2)), keras.layers.Conv2D(3, 3, dtype="float32"), keras.layers.ReLU()]
    )
    y = keras.layers.GlobalAveragePooling2D()(inner(x))
    return keras.Model(x, keras.layers.Dense(2)(y))


def Net():
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(3, 2)
    )


def save(path):
    model().save(path)


if __name__ == "__main__":
    import sys

    save(sys.argv[1])
"""


@pytest.mark.few(0)
def test_a_saved_model_runs_in_both_precisions_with_its_weights(
    opened: Open, written: Written, tmp_path: Path
) -> None:
    import subprocess
    import sys

    path, saved = written(INSTANCE), tmp_path / "saved.keras"
    subprocess.run([sys.executable, path, str(saved)], check=True, capture_output=True)
    pair = opened(str(saved), f"{path}:Net")
    assert {c.name: c.verdict.green for c in pair.check(1)} == dict.fromkeys(
        ("outputs", "input_gradients", "parameter_gradients", "batch_independence"), True
    )
    kept = pair.initial_case().weights
    pair.check(1)
    assert all((kept[n] == a).all() for n, a in pair.initial_case().weights.items())
    (fixed,) = [a for a in kept.values() if a.shape == (3, 3, 2, 3)]
    assert pytest.approx(fixed.std(), abs=0.1) == (2 / 45) ** 0.5


FIXED = """
def build():
    import keras

    x = keras.Input((4,))
    return keras.Model(x, keras.layers.Dense(2, dtype="float32")(x))


def Net():
    from torch import nn

    return nn.Linear(4, 2)
"""


def test_a_layer_of_a_fixed_precision_is_the_references_failure(
    opened: Open, written: Written
) -> None:
    from parity.errors import ReferenceFailed

    path = written(FIXED)
    with pytest.raises(ReferenceFailed, match="computes in float32"):
        opened(f"{path}:build", f"{path}:Net")


LAZY = """
def build():
    import keras

    return keras.Sequential([keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(2)])


def Net():
    from torch import nn

    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
"""


def test_a_model_that_builds_itself_when_called_keeps_its_own_weights(
    opened: Open, written: Written
) -> None:
    path = written(LAZY)
    pair = opened(f"{path}:build", f"{path}:Net", "x=4")
    assert all(check.verdict.green for check in pair.check(1))
    kept = pair.initial_case().weights
    again = opened(f"{path}:build", f"{path}:Net", "x=4").initial_case().weights
    assert all((kept[n] == again[n]).all() for n in kept)
    assert any((a != pair.drawn_case(0).weights[n]).any() for n, a in kept.items())


NAMED = """
def build():
    import keras

    image = keras.Input((4, 4, 4), name="image")
    kind = keras.Input((4,), name="kind")
    x = keras.layers.Conv2D(4, 2)(image)
    x = keras.layers.Flatten()(x)
    return keras.Model([image, kind], keras.layers.Dense(2)(x) + keras.layers.Dense(2)(kind))


def Net(swap=False, write=False):
    import torch
    from torch import nn

    class Port(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head, self.kind = nn.Conv2d(4, 4, 2), nn.Linear(36, 2), nn.Linear(4, 2)

        def forward(self, *, kind, image):
            if write:
                kind.mul_(2).div_(2)
            x = self.conv(image).permute(0, 2, 3, 1).flatten(1)
            return self.head(x) + self.kind(kind)

    return Port()


def writes():
    return Net(write=True)
"""


def test_inputs_are_passed_by_name_and_laid_out_as_what_is_inside_has_it(
    opened: Open, written: Written
) -> None:
    path = written(NAMED)
    pair = opened(f"{path}:build", f"{path}:Net")
    assert pair.given.named
    assert pair.given.channels_first == {"image"}
    assert "runs in 2 ways" in pair.said()[0]
    checks = pair.check(1)
    assert all(check.verdict.green for check in checks)
    assert pair.departures(checks) == []


def test_an_input_that_the_port_writes_to_is_told(opened: Open, written: Written) -> None:
    path = written(NAMED)
    pair = opened(f"{path}:build", f"{path}:writes")
    assert "the port writes to its input kind" in pair.departures(pair.check(1))


SQUARE = """
def build():
    import keras

    x = keras.Input((5, 5))
    y = keras.layers.Dense(5, activation="tanh")(x)
    return keras.Model(x, keras.layers.Dense(3)(y))


def Net(extra=False, frozen=False):
    import torch
    from torch import nn

    class Port(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(5, 5), nn.Linear(5, 3)
            self.gain = nn.Parameter(torch.ones(()), requires_grad=not frozen)

        def forward(self, x):
            x = torch.tanh(self.one(x))
            return self.two(self.gain * x if extra else x)

    return Port()


def extra():
    return Net(extra=True)


def frozen():
    return Net(extra=True, frozen=True)


def fails():
    from torch import nn

    return nn.Linear(4, 3)


def single():
    import keras

    x = keras.Input((5, 5))
    return keras.Model(x, keras.layers.Dense(3)(x))


def Single():
    from torch import nn

    return nn.Linear(5, 3)
"""


def test_the_order_of_axes_is_not_taken_because_it_runs(opened: Open, written: Written) -> None:
    path = written(SQUARE)
    for reference, port in (("build", "Net"), ("single", "Single")):
        pair = opened(f"{path}:{reference}", f"{path}:{port}")
        assert pair.given.channels_first == frozenset()
        assert all(check.verdict.green for check in pair.check(1))


def test_what_the_port_trains_besides_is_told(opened: Open, written: Written) -> None:
    path = written(SQUARE)
    found = verdicts(opened, path, port="extra")
    assert found["outputs"].verdict.green
    assert found["parameter_gradients"].verdict is Verdict.UNCHECKED
    assert "the port trains gain" in (found["parameter_gradients"].problem or "")
    assert verdicts(opened, path, port="frozen")["parameter_gradients"].verdict.green


def test_a_port_that_raises_on_the_inputs_has_failed(opened: Open, written: Written) -> None:
    from parity.errors import PortFailed

    path = written(SQUARE)
    with pytest.raises(PortFailed, match=r"does not run on .* \(5, 5\); tried"):
        opened(f"{path}:build", f"{path}:fails")


CHOICES = """
def build():
    import keras

    x = keras.Input((6,))
    y = keras.layers.Dense(4)(x)
    wide = keras.layers.Dense(7)(x)
    return keras.Model(x, [keras.ops.argmax(y, axis=-1), wide])


def Net(lowest=False):
    from torch import nn

    class Port(nn.Module):
        def __init__(self):
            super().__init__()
            self.y, self.wide = nn.Linear(6, 4), nn.Linear(6, 7)

        def forward(self, x):
            y = self.y(x)
            return self.wide(x), (y.argmin(-1) if lowest else y.argmax(-1))

    return Port()


def lowest():
    return Net(lowest=True)
"""


def test_integers_are_compared_and_outputs_found_by_shape(opened: Open, written: Written) -> None:
    path = written(CHOICES)
    found = verdicts(opened, path)
    assert found["outputs"].verdict.green, found["outputs"].problem
    found = verdicts(opened, path, port="lowest")
    assert found["outputs"].verdict is Verdict.DIVERGENT
    assert "elements differ" in (found["outputs"].problem or "")
