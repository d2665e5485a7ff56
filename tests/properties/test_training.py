"""Training is equal: losses, gradients, weights, moments and the replay buffer, step by step."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from parity.ask.session import Session
from parity.draw import strategies
from parity.draw.recipes import Recipe, TrainingRecipe, WeightsRecipe, make_case
from parity.entries.train_step import check_training
from parity.testing import assert_green
from parity.values.cases import Case, TrainingCall
from parity.values.traces import Trace
from tests.amount import examples

ONE_STEP = 1e-12  # of each array's largest magnitude, float64
HUNDRED_STEPS = 1e-8
FLOAT64 = {"precisions": ["float64"]}


@examples(10)
@given(data=st.data())
def test_a_training_step_is_equal_from_any_state(
    parity_session: Session, data: st.DataObject
) -> None:
    """Any weights, moments and buffer; any cut of the batch; Binomial extremes included."""
    recipe = data.draw(strategies.trainings(parity_session, max_steps=2))
    assert_green(check_training(parity_session, make_case(parity_session, recipe)))


def test_a_gradient_that_is_all_cancellation_is_no_difference(parity_session: Session) -> None:
    """A bias in front of the scores' difference. Its square, the velocity, is one number of
    rounding alone, and in float32 was 18 times the reference's on a processor without AVX-512."""
    convolution = {"filters": 1, "kernel": [1, 5], "stride": [1, 1], "activation": "linear"}
    changes = {
        "height": 6,
        "width": 14,
        "convolutions": [convolution],
        "dense": [],
        "steps": 1,
        "batch_size": 1,
        "buffer_size": 1,
        "fresh_fraction": 0.0,
        "alpha": 0.0,
    }
    weights, training = WeightsRecipe(scale=0.5), TrainingRecipe()
    recipe = Recipe(weights, batch=7, key=0, settings=changes, training=training)
    assert_green(check_training(parity_session, make_case(parity_session, recipe)))


@pytest.mark.parametrize("n_real", [128, 96])
def test_one_published_step(parity_session: Session, n_real: int) -> None:
    """The published batch, and the last of an epoch, whose halves count 16 fakes as real."""
    case = published(parity_session, {"steps": 3}, n_real, 1)
    reference, port = answers(parity_session, case, FLOAT64)
    assert set(reference) == set(port)
    for name, truth in reference.items():
        assert np.abs(port[name] - truth).max() <= ONE_STEP * np.abs(truth).max(), name


def test_the_published_halves_are_not_the_counts(parity_session: Session) -> None:
    losses = {}
    for split in ("halves", "counts"):
        case = published(parity_session, {"steps": 1, "score_split": split}, 96, 1)
        _, port = answers(parity_session, case, FLOAT64)
        losses[split] = port["losses/contrastive_divergence"][0]
    assert abs(losses["halves"] - losses["counts"]) > 1e-3


@pytest.mark.few(0)
@pytest.mark.parametrize("steps", [10, 100])
def test_steps_in_lockstep(parity_session: Session, steps: int) -> None:
    """Four Langevin steps each, batch 32, free-running from trained weights."""
    case = published(parity_session, {"steps": 4, "batch_size": 32}, 32, steps)
    reference, port = answers(parity_session, case, FLOAT64 | {"every_step": False})
    assert reference["losses/loss"].shape == (steps,)
    moved = reference["training_state/weights/conv1/kernel"][0] - case.weights["conv1/kernel"]
    assert np.abs(moved).max() > 1e-5 * steps, "training hardly changed the weights"
    assert len(reference["replay_buffer"]) == 32 * (1 + steps)
    for name, truth in reference.items():
        assert np.abs(port[name] - truth).max() <= HUNDRED_STEPS * np.abs(truth).max(), name


class ReplayBuffers(RuleBasedStateMachine):
    """Both sides' buffers at once, held against what a buffer is, in three lines of NumPy."""

    session: Session
    case: Case

    @initialize(size=st.integers(1, 9), seed=st.integers(0, 99))
    def fill(self, size: int, seed: int) -> None:
        training = TrainingRecipe(buffer=size)
        recipe = Recipe(WeightsRecipe(seed=seed), batch=2, settings=SMALL, training=training)
        self.case = make_case(self.session, recipe)
        self.images = self.case.state["buffer"]

    @rule(
        key=st.integers(0, 2**20), fresh=st.sampled_from([0.0, 0.5, 1.0]), n=st.sampled_from([2, 4])
    )
    def train(self, key: int, fresh: float, n: int) -> None:
        """One training step: a batch is drawn, run, and put at the head."""
        changes = {"fresh_fraction": fresh, "batch_size": n}
        assert self.case.settings is not None
        self.case = dataclasses.replace(
            self.case,
            key=key,
            settings={**self.case.settings, **changes},
            state={"buffer": self.images},
            training=TrainingCall(),
        )
        outcomes = check_training(self.session, self.case)
        assert_green([o for o in outcomes if o.check in ("replay_buffer", "draw_log")])
        trace = self.session.ask_reference("training", self.case)
        after = Trace.from_bytes(trace).arrays["float32"]["replay_buffer"]
        kept = min(BUFFER_SIZE, n + len(self.images))
        assert len(after) == kept
        assert np.array_equal(after[n:], self.images[: max(0, kept - n)]), "prepended, tail dropped"
        if fresh == 1.0:
            far = np.abs(after[:n, None] - self.images[None]).max(axis=(2, 3, 4))
            assert far.min() > 0.1, "every image is new"
        if fresh == 0.0:
            near = np.abs(after[:n, None] - self.images[None]).max(axis=(2, 3, 4)).min(axis=1)
            assert near.max() < 0.4, "every image goes on from an old one"
        self.images = after

    @invariant()
    def in_range(self) -> None:
        if hasattr(self, "images"):
            assert np.abs(self.images).max() <= 1.0


BUFFER_SIZE = 11
SMALL: dict[str, Any] = {
    "height": 5,
    "width": 6,
    "channels": 2,
    "convolutions": [{"filters": 2, "kernel": [3, 2], "stride": [2, 2], "activation": "swish"}],
    "dense": [],
    "steps": 1,
    "buffer_size": BUFFER_SIZE,
}


@pytest.mark.few(0)
def test_both_replay_buffers(parity_session: Session) -> None:
    machine = type("Machine", (ReplayBuffers,), {"session": parity_session})
    run_state_machine_as_test(
        machine, settings=settings(examples(3), stateful_step_count=6, deadline=None)
    )


def published(session: Session, changes: dict[str, Any], n_real: int, steps: int) -> Case:
    """The published network and settings but for ``changes``, from trained weights and digits."""
    return make_case(
        session,
        Recipe(
            WeightsRecipe(trained="trained"),
            images="real",
            batch=n_real,
            key=3,
            settings=changes,
            training=TrainingRecipe(steps=steps),
        ),
    )


def answers(
    session: Session, case: Case, options: dict[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    reference, port = session.ask_both("training", case, reference=options, port=options)
    assert isinstance(port, Trace), port
    return dict(reference.arrays["float64"]), dict(port.arrays["float64"])
