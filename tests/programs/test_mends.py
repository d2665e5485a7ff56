"""Programs that once got a wrong answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from parity.comparison import Verdict
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


def test_what_the_reference_has_nothing_for_is_no_check(opened: Open, written: Written) -> None:
    found = verdicts(opened, written(TOKENS))
    assert list(found) == ["outputs", "parameter_gradients", "batch_independence"]
    assert all(check.verdict.green for check in found.values())


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
