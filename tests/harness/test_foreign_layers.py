"""Layers that the published network has not: normalisations, layers that are activations, joins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.ask.session import Session
from parity.draw.plan import draw
from parity.entries.runner import run_checks
from parity.explain.causes import Explanation
from parity.explain.explain import NETWORK, explain
from parity.mutants.judge import LEAN

REFERENCE = """
import keras
from keras import layers

def model():
    images = keras.Input((9, 7, 2))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="first")(images)
    x = layers.ReLU()(x)
    x = layers.BatchNormalization(name="batch")(x)
    x = layers.LeakyReLU(negative_slope=0.3)(x)
    y = layers.Conv2D(4, 3, padding="same", name="second")(x)
    x = layers.ELU()(layers.Add()([x, y]))
    x = layers.Conv2D(6, 3, padding="same", activation="swish", name="third")(x)
    x = layers.LayerNormalization(name="layer")(layers.Flatten()(x))
    return keras.Model(images, layers.Dense(1, name="score")(x))
"""

PORT = """
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

import parity

SLOPE = float(np.float32(0.3))

class Port(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, 2)
        self.batch = nn.BatchNorm2d(4, eps=1e-3)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(4, 6, 3, padding=1)
        self.layer = nn.LayerNorm(120, eps=1e-3)
        self.score = nn.Linear(120, 1)

    def forward(self, x):
        x = F.relu(self.first(F.pad(x, (1, 1, 1, 1))))
        x = F.leaky_relu(self.batch(x), SLOPE)
        x = F.elu(x + self.second(x), inplace=True)
        x = F.silu(self.third(x)).permute(0, 2, 3, 1).flatten(1)
        return self.score(self.layer(x))

side = parity.TorchSide(model=Port)
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("layers")
    (folder / "reference.py").write_text(REFERENCE)
    (folder / "port.py").write_text(PORT)
    (folder / "pair.py").write_text(
        "import parity\n"
        f"reference = parity.TensorFlowSide(model={str(folder / 'reference.py:model')!r})\n"
        f"port = parity.TorchSide(model={str(folder / 'port.py:Port')!r})\n"
        "PAIR = parity.Pair(name='layers', reference=reference, port=port)\n"
    )
    with Session(f"{folder / 'pair.py'}:PAIR", root=folder) as session:
        yield session


def told(session: Session, tmp_path: Path, *edits: tuple[str, str]) -> tuple[set[str], Explanation]:
    """The checks that are red for a port with these edits, and what is told of it."""
    text = PORT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "port.py").write_text(text)
    with session.with_port(str(tmp_path / "port.py")):
        plan = draw(session, LEAN, 0)
        checks = [check for check in run_checks(session, plan) if check.name in NETWORK]
        explanation = explain(session, checks, plan)
    return {c.name for c in checks if not c.verdict.green}, explanation


def test_the_correct_port_is_green_and_nothing_is_told(session: Session, tmp_path: Path) -> None:
    """Normalisations return a tuple to the dispatcher; they are seen all the same."""
    assert told(session, tmp_path) == (set(), Explanation())


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("edit", "where", "solved"),
    [
        (("(4, eps=1e-3)", "(4)"), "batch", "eps 1e-05 where"),
        (("(120, eps=1e-3)", "(120, eps=0.0123)"), "layer", "eps 0.0123 where"),
    ],
)
def test_the_epsilon_of_a_normalisation_is_solved_for(
    session: Session, tmp_path: Path, edit: tuple[str, str], where: str, solved: str
) -> None:
    red, found = told(session, tmp_path, edit)
    assert "energies" in red
    (cause,) = found.causes
    assert (cause.id, cause.where, found.unexplained) == ("layer-hyperparameter", where, ())
    assert solved in cause.evidence
    assert cause.fix == f"eps=0.001 in {where}"
    assert cause.place.startswith(str(tmp_path)) or cause.place.startswith("port.py")


def test_of_a_normalisation_nothing_but_its_epsilon_is_guessed(
    session: Session, tmp_path: Path
) -> None:
    _, found = told(session, tmp_path, ("F.relu(self", "F.silu(self"))
    assert found.causes == ()
    (left,) = found.unexplained
    assert left.where == "batch"
    assert "no other number added to the variance reproduces it" in left.evidence


@pytest.mark.few(1)
@pytest.mark.parametrize(("slope", "told_slope"), [("0.01", "slope 0.01"), ("0.3", "slope 0.3 ")])
def test_the_slope_of_a_layer_that_is_an_activation_is_named(
    session: Session, tmp_path: Path, slope: str, told_slope: str
) -> None:
    """Also that it is rounded to float32, which 0.3 is not."""
    red, found = told(
        session,
        tmp_path,
        ("F.leaky_relu(self.batch(x), SLOPE)", f"F.leaky_relu(self.batch(x), {slope})"),
    )
    assert "energies" in red
    (cause,) = found.causes
    assert (cause.id, cause.where) == ("layer-hyperparameter", "batch, its activation")
    assert f"leaky_relu, {told_slope}" in f"{cause.evidence} "
    (joined,) = found.unexplained  # what the other branch of the join is given is wrong, too
    assert joined.where == "third"
    assert "mending that may mend this" in joined.evidence


def test_what_lies_behind_a_join_is_told_once(session: Session, tmp_path: Path) -> None:
    """Through the join a wrong gradient comes back to layers before it, too; that is no finding."""
    _, found = told(session, tmp_path, ("x + self.second(x)", "x + 0.5 * self.second(x)"))
    assert found.causes == ()
    (left,) = found.unexplained
    assert left.where == "third"
    assert "Add cannot be refitted" in left.evidence


@pytest.mark.few(1)
def test_a_layer_of_another_size_is_not_called_missing(session: Session, tmp_path: Path) -> None:
    edits = (
        ("(120, 1)", "(60, 1)"),
        ("self.score(self.layer(x))", "self.score(self.layer(x)[:, ::2])"),
    )
    red, found = told(session, tmp_path, *edits)
    assert "energies" in red
    assert found.causes == ()
    (left,) = found.unexplained
    assert left.where == "score"
    assert "can hold score/kernel (120, 1)" in left.evidence
    assert "score.weight (1, 60)" in left.evidence
    assert "give it the reference's size" in left.evidence
