"""References that no port can be held to, and arrays whose floor hides everything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import jsonschema
import pytest

from parity.explain.explain import explain
from parity.mutants.judge import LEAN
from parity.outcome import CheckResult
from parity.plan import draw
from parity.runner import run_checks
from parity.session import Session
from tests.harness.test_cli import SCHEMA, parity

CHECKS = ("energies", "energy_gradients", "batch_independence", "activations")

REFERENCE = """
import keras
import numpy as np
import tensorflow as tf
from keras import layers

GENERATOR = np.random.default_rng(0)

@keras.saving.register_keras_serializable()
class Strange(layers.Layer):
    def call(self, x):
        {strange}
        return x

def model():
    images = keras.Input((5, 6, 2))
    x = Strange()(images)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="swish", name="conv")(x)
    x = layers.Dense(10, name="dense")(layers.Flatten()(x))
    return keras.Model(images, {head})
"""

PORT = """
import torch
from torch import nn
import torch.nn.functional as F

import parity

class Port(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.dense = nn.Conv2d(2, 4, 3, 2), nn.Linear(36, 10)

    def forward(self, x):
        x = F.silu(self.conv(F.pad(x, (0, 1, 1, 1))))
        x = self.dense(x.permute(0, 2, 3, 1).flatten(1))
        {before}
        return {head}

side = parity.TorchSide(model=Port)
"""

MOVED = "moved = tf.reduce_any(tf.cast(tf.cast(x, tf.float32), x.dtype) != x)"
"""True of a case's moved copies in float64 alone: its images are float32 numbers."""


def write(
    folder: Path,
    strange: str = "pass",
    before: str = "pass",
    heads: tuple[str, str] = ("layers.Softmax()(x)", "x.softmax(1)"),
) -> str:
    """A pair in ``folder``; returns its SPEC."""
    (folder / "reference.py").write_text(REFERENCE.format(strange=strange, head=heads[0]))
    (folder / "port.py").write_text(PORT.format(before=before, head=heads[1]))
    (folder / "pair.py").write_text(
        "import parity\n"
        f"reference = parity.TensorFlowSide(model={str(folder / 'reference.py:model')!r})\n"
        f"port = parity.TorchSide(model={str(folder / 'port.py:Port')!r})\n"
        "PAIR = parity.Pair(name='softmax', reference=reference, port=port)\n"
    )
    return f"{folder / 'pair.py'}:PAIR"


@pytest.fixture(scope="module")
def softmax(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("softmax")
    with Session(write(folder), root=folder, remember=True) as session:
        yield session


def checked(session: Session, tmp_path: Path, before: str) -> Sequence[CheckResult]:
    (tmp_path / "port.py").write_text(PORT.format(before=before, head="x.softmax(1)"))
    with session.with_port(str(tmp_path / "port.py")):
        return run_checks(session, draw(session, LEAN, 0), only=CHECKS)


def test_a_softmax_head_is_compared_and_a_right_port_is_green(
    softmax: Session, tmp_path: Path
) -> None:
    checks = checked(softmax, tmp_path, "pass")
    assert {c.name: c.verdict.green for c in checks} == dict.fromkeys(CHECKS, True)
    assert all(c.unchecked_because == () for c in checks)
    gradients = next(c for c in checks if c.name == "energy_gradients")
    assert gradients.floor < 1e-12, "a floor that hides nothing"


def test_halved_gradients_in_front_of_a_softmax_are_red(softmax: Session, tmp_path: Path) -> None:
    """The gradient of a softmax's sum is noise on both sides, halved or not: it was green."""
    checks = checked(softmax, tmp_path, "x = 0.5 * x + 0.5 * x.detach()")
    red = {c.name for c in checks if not c.verdict.green}
    assert red == {"energy_gradients", "batch_independence"}
    gradients = next(c for c in checks if c.name == "energy_gradients")
    assert gradients.residual == pytest.approx(0.5)
    with softmax.with_port(str(tmp_path / "port.py")):
        found = explain(softmax, checks, draw(softmax, LEAN, 0))
    assert any("it is 0.5 times the reference's" in left.evidence for left in found.unexplained)
    assert {left.where for left in found.unexplained} == {"from dense to energies"}


def test_a_reference_that_draws_for_itself_is_refused(tmp_path: Path) -> None:
    """1 % of noise is in its floors too, so that a port that is 1 % off was green."""
    noisy = "x = x * (1 + 0.01 * tf.constant(GENERATOR.normal(), x.dtype))"
    pair = write(tmp_path, noisy, "x = 1.01 * x", ("x[:, :1]", "x[:, :1]"))
    for command in (("check",), ("record", "--golden", str(tmp_path / "golden"))):
        run = parity(command[0], pair, *command[1:])
        assert run.returncode == 3, run.stdout + run.stderr
        said = " ".join((run.stdout + run.stderr).split())
        assert "the reference is not deterministic: asked twice for the network" in said
        assert "(float" in said
        assert "elements)" in said


def test_a_reference_that_draws_on_moved_copies_alone_is_refused(tmp_path: Path) -> None:
    noise = "x = x * (1 + 0.01 * tf.cast(moved, x.dtype) * GENERATOR.normal())"
    pair = write(tmp_path, f"{MOVED}\n        {noise}", heads=("x[:, :1]", "x[:, :1]"))
    run = parity("check", pair)
    assert run.returncode == 3, run.stdout + run.stderr
    said = " ".join((run.stdout + run.stderr).split())
    assert "gives other bits: a copy moved by one unit in the last place, energies" in said


def test_a_reference_whose_moved_copies_are_no_numbers_proves_nothing(tmp_path: Path) -> None:
    """The bound was NaN, and no difference is more than that."""
    nan = "x = tf.where(moved, x * float('nan'), x)"
    heads = ("x[:, :1]", "x[:, :1]")
    pair = write(tmp_path, f"{MOVED}\n        {nan}", "x = (1 + 3e-7) * x", heads)
    report = tmp_path / "report.json"
    run = parity("check", pair, "--json", str(report))
    assert run.returncode == 1, run.stdout + run.stderr
    told = json.loads(report.read_text())
    jsonschema.validate(told, SCHEMA)
    for check in told["checks"]:
        if check["name"] in CHECKS:
            assert check["verdict"] == "unchecked"
            assert "was judged in no case: its float64 floor is nan" in check["problem"]
            assert check["unchecked_because"]
