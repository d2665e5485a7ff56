"""References that no port can be held to, and arrays whose floor hides everything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import jsonschema
import pytest

from parity.ask.session import Session
from parity.draw.plan import draw
from parity.entries.runner import run_checks
from parity.errors import ReferenceFailed
from parity.explain.explain import explain
from parity.mutants.judge import LEAN
from parity.tell.report import Report, to_json
from parity.verdict.comparison import Verdict
from parity.verdict.outcome import CheckResult
from tests.harness.test_cli import SCHEMA, parity

CHECKS = ("energies", "energy_gradients", "batch_independence", "activations")

# What the layer does besides is read when it is called, so that one process is many references.
REFERENCE = """
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

GENERATOR = np.random.default_rng(0)
STRANGE = Path(__file__).with_name("strange")

class Strange(layers.Layer):
    def call(self, x):
        # True of a case's moved copies in float64 alone: its images are float32 numbers.
        moved = tf.reduce_any(tf.cast(tf.cast(x, tf.float32), x.dtype) != x)
        return eval(STRANGE.read_text(), globals(), {"x": x, "moved": moved})

def model():
    images = keras.Input((5, 6, 2))
    x = Strange()(images)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="swish", name="conv")(x)
    x = layers.Dense(10, name="dense")(layers.Flatten()(x))
    return keras.Model(images, layers.Softmax()(x))
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
        return x.softmax(1)

side = parity.TorchSide(model=Port)
"""

RIGHT = "x"
NOISY = "x * (1 + 0.01 * GENERATOR.normal())"
NOISY_COPIES = "x * (1 + 0.01 * tf.cast(moved, x.dtype) * GENERATOR.normal())"
NAN_COPIES = "x * tf.cast(tf.where(moved, float('nan'), 1.0), x.dtype)"


def write(folder: Path, strange: str) -> str:
    """A pair in ``folder``; returns its SPEC."""
    (folder / "strange").write_text(strange)
    (folder / "reference.py").write_text(REFERENCE)
    (folder / "port.py").write_text(PORT.format(before="pass"))
    (folder / "pair.py").write_text(
        "import parity\n"
        f"reference = parity.TensorFlowSide(model={str(folder / 'reference.py:model')!r})\n"
        f"port = parity.TorchSide(model={str(folder / 'port.py:Port')!r})\n"
        "PAIR = parity.Pair(name='softmax', reference=reference, port=port)\n"
    )
    return f"{folder / 'pair.py'}:PAIR"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("softmax")
    with Session(write(folder, RIGHT), root=folder) as session:
        yield session


@pytest.fixture
def softmax(opened: Session) -> Iterator[Session]:
    yield opened
    (opened.root / "strange").write_text(RIGHT)


def checked(session: Session, tmp_path: Path, before: str) -> Sequence[CheckResult]:
    (tmp_path / "port.py").write_text(PORT.format(before=before))
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


@pytest.mark.parametrize("strange", [NOISY, NOISY_COPIES], ids=["always", "on moved copies alone"])
def test_a_reference_that_draws_for_itself_is_refused(
    softmax: Session, tmp_path: Path, strange: str
) -> None:
    """1 % of noise is in its floors too, so that a port that is 1 % off was green."""
    (softmax.root / "strange").write_text(strange)
    with pytest.raises(ReferenceFailed) as refused:
        checked(softmax, tmp_path, "x = 1.01 * x")
    said = str(refused.value)
    assert "the reference is not deterministic: asked twice for the network, it gives" in said
    assert "bits: a copy moved by one unit in the last place, energies (float64) is " in said
    assert " at [" in said


def test_such_a_reference_is_not_recorded_either_and_the_exit_status_is_3(tmp_path: Path) -> None:
    pair = write(tmp_path, NOISY)
    run = parity("record", pair, "--golden", str(tmp_path / "golden"))
    assert run.returncode == 3, run.stdout + run.stderr
    assert "the reference is not deterministic" in " ".join((run.stdout + run.stderr).split())
    assert not (tmp_path / "golden").exists()


def test_a_reference_whose_moved_copies_are_no_numbers_proves_nothing(
    softmax: Session, tmp_path: Path
) -> None:
    """The bound was NaN, and no difference is more than that: 3 in 10 million were green."""
    (softmax.root / "strange").write_text(NAN_COPIES)
    checks = checked(softmax, tmp_path, "x = (1 + 3e-7) * x")
    for check in checks:
        assert check.verdict is Verdict.UNCHECKED
        assert "its float64 floor is nan" in str(check.problem)
        assert "was judged in no case" in check.unchecked_because[0]
    report = Report("p", "quick", 0, tuple(checks), {}, {})
    assert report.verdict is Verdict.UNCHECKED
    jsonschema.validate(json.loads(to_json(report.to_dict())), SCHEMA)
