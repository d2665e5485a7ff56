"""The training checks at their edges: other people's steps, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity.ask.session import Session
from parity.draw.recipes import Recipe, TrainingRecipe, WeightsRecipe, make_case
from parity.entries.train_step import _comparisons, check_training
from parity.values.cases import Case
from parity.values.traces import Trace
from parity.verdict.comparison import Verdict
from parity.verdict.outcome import Outcome
from tests.harness.edited import overlay

HEAD = """
import dataclasses, torch, parity, ebm.pair
from port_torch.training import train_step, make_optimizer, validate
from port_torch.replay_buffer import ReplayBuffer

"""

SETTINGS = {
    "height": 6,
    "width": 5,
    "convolutions": [{"filters": 3, "kernel": [3, 3], "stride": [2, 2], "activation": "swish"}],
    "dense": [],
    "steps": 1,
    "batch_size": 4,
}


def case(session: Session, iterations: int = 0) -> Case:
    training = TrainingRecipe(iterations=iterations, buffer=5)
    recipe = Recipe(WeightsRecipe(seed=8), batch=4, key=2, settings=SETTINGS, training=training)
    return make_case(session, recipe)


def found(session: Session, tmp_path: Path, text: str, iterations: int = 0) -> dict[str, Outcome]:
    path = tmp_path / "port.py"
    path.write_text(HEAD + text)
    with session.with_port(str(path)):
        outcomes = check_training(session, case(session, iterations))
    return {outcome.check: outcome for outcome in outcomes}


@pytest.mark.parametrize("iterations", [0, 10])
def test_a_port_that_keeps_its_moments_under_torchs_names(
    parity_session: Session, tmp_path: Path, iterations: int
) -> None:
    """exp_avg and exp_avg_sq are momentum and velocity; only the update differs from Keras's."""
    text = (
        "def adam(model, settings):\n"
        "    return torch.optim.Adam(model.parameters(), lr=settings.learning_rate)\n"
        "side = dataclasses.replace(ebm.pair.port, make_optimizer=adam)\n"
    )
    outcomes = found(parity_session, tmp_path, text, iterations)
    assert outcomes["parameter_gradients"].verdict.green
    state = outcomes["training_state"]
    assert state.verdict is Verdict.DIVERGENT
    wrong = {c.array.split("/")[1] for c in state.comparisons if not c.verdict.green}
    assert wrong == {"weights"}


def test_a_buffer_that_is_a_list(parity_session: Session, tmp_path: Path) -> None:
    text = (
        "class Listed:\n"
        "    def __init__(self, settings):\n"
        "        self.inner = ReplayBuffer(settings)\n"
        "        self.examples = list(self.inner.images[:, None])\n"
        "    def sample(self, model):\n"
        "        self.inner.images = torch.cat(self.examples)\n"
        "        samples = self.inner.sample(model)\n"
        "        self.examples = list(self.inner.images[:, None])\n"
        "        return samples\n"
        "changes = dict(replay_buffer=Listed, buffer_images='examples')\n"
        "side = dataclasses.replace(ebm.pair.port, **changes)\n"
    )
    outcomes = found(parity_session, tmp_path, text)
    assert all(outcome.verdict.green for outcome in outcomes.values())


@pytest.mark.parametrize(
    ("body", "check", "says"),
    [
        ("    del losses['regulariser']\n", "losses", "the port gave no losses/regulariser"),
        ("    losses['more'] = losses['loss']\n", "losses", "the port has losses/more"),
        ("    losses['loss'] = losses['loss'] * float('nan')\n", "losses", "losses/loss is nan"),
        ("    losses['loss'] = real\n", "losses", "expected a scalar"),
        ("    losses = list(losses)\n", "losses", "return a dict of scalars, got list"),
        ("    torch.rand(3)\n", "draw_log", "the port 3 uniform (float32)"),
        ("    import random; random.random()\n", "draw_log", "Python's random or NumPy's"),
        ("    raise ValueError('no')\n", "training_state", "the port raised ValueError: no"),
    ],
)
def test_steps_that_cannot_be_compared_are_named(
    parity_session: Session, tmp_path: Path, body: str, check: str, says: str
) -> None:
    text = (
        "def step(model, optimizer, real, buffer, settings):\n"
        "    losses = train_step(model, optimizer, real, buffer, settings)\n"
        f"{body}"
        "    return losses\n"
        "side = dataclasses.replace(ebm.pair.port, train_step=step)\n"
    )
    outcome = found(parity_session, tmp_path, text)[check]
    assert not outcome.verdict.green
    said = [outcome.failure, *(f["message"] for f in outcome.findings)]
    said += [c.problem for c in outcome.comparisons]
    assert any(says in text for text in said if text), said


def test_an_optimizer_that_is_none(parity_session: Session, tmp_path: Path) -> None:
    text = "side = dataclasses.replace(ebm.pair.port, make_optimizer=lambda model: 'adam')\n"
    outcome = found(parity_session, tmp_path, text)["losses"]
    assert outcome.verdict is Verdict.INVALID
    assert "must return a torch.optim.Optimizer, got str" in str(outcome.failure)


def test_a_step_that_never_steps(parity_session: Session, tmp_path: Path) -> None:
    text = (
        "def step(model, optimizer, real, buffer, settings):\n"
        "    optimizer.step = lambda: None\n"
        "    return train_step(model, optimizer, real, buffer, settings)\n"
        "side = dataclasses.replace(ebm.pair.port, train_step=step)\n"
    )
    outcomes = found(parity_session, tmp_path, text)
    assert outcomes["losses"].verdict.green
    assert outcomes["parameter_gradients"].verdict is Verdict.INVALID
    assert outcomes["training_state"].verdict is not Verdict.ROUNDING


def test_a_port_that_leaves_out_a_step_of_its_optimizer_is_invalid(
    parity_session: Session, tmp_path: Path
) -> None:
    """Seen: parity itself failed, with IndexError: two steps of three had gradients."""
    every_second = (
        "    steps = optimizer.__dict__.setdefault('taken', [])\n"
        "    steps.append(None)\n"
        "    if len(steps) % 2:\n"
        "        optimizer.step()\n"
    )
    recipe = Recipe(
        WeightsRecipe(seed=8),
        batch=4,
        key=2,
        settings=SETTINGS,
        training=TrainingRecipe(steps=3, buffer=5),
    )
    changed = overlay("training.py", "    optimizer.step()\n", every_second, tmp_path)
    with parity_session.with_overlay(changed) as session:
        outcomes = {o.check: o for o in check_training(session, make_case(session, recipe))}
    gradients = outcomes["parameter_gradients"]
    assert gradients.verdict is Verdict.INVALID
    wrong = [c for c in gradients.comparisons if c.verdict is Verdict.INVALID]
    assert {c.array.rpartition("[")[2] for c in wrong} == {"1]"}
    assert "the port gave no parameter_gradients/" in str(wrong[0].problem)


def trace(given: list[int], *, reference: bool = False) -> Trace:
    """Of gradients 2, 3, 4, ... in the steps ``given``, each that of its step."""
    array = np.array([[2.0 + step] for step in given])
    arrays = {"float64": {"parameter_gradients/w": array}}
    notes = {"given_in": {p: {"parameter_gradients/w": given} for p in ("float64", "float32")}}
    arrays["float32"] = {name: a.astype(np.float32) for name, a in arrays["float64"].items()}
    floors = {p: {"parameter_gradients/w": np.full(len(given), 1e-16)} for p in arrays}
    made = Trace(arrays, floors if reference else {}, notes=notes)
    return made.reduced() if reference else made


@pytest.mark.parametrize(
    ("theirs", "ours", "invalid"),
    [([0, 2], [0, 2], []), ([0, 2], [0, 1], [1, 2]), ([1], [0, 1, 2], [0, 2]), ([0, 1], [1], [0])],
)
def test_gradients_of_some_steps_are_compared_in_those(
    theirs: list[int], ours: list[int], invalid: list[int]
) -> None:
    """Gradients that are accumulated reach the optimizer in some of the steps only."""
    pair = trace(theirs, reference=True), trace(ours)
    compared = list(_comparisons("parameter_gradients", 3, *pair))
    assert len(compared) == len({*theirs, *ours})
    named = [int(c.array[-2]) for c in compared if c.verdict is Verdict.INVALID]
    assert named == invalid
    assert all(c.verdict.green for c in compared if c.verdict is not Verdict.INVALID)
