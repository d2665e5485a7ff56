"""One side's training: steps taken from a given state, and everything that each leaves behind.

The framework's part is a :class:`parity.side.trainer.Trainer`.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.errors import BadCall
from parity.side.repeated import note_difference
from parity.side.runner import SideRunner
from parity.side.trainer import Arrays, Trainer
from parity.values.cases import Case
from parity.values.randomness import SharedRandomness, generator
from parity.values.traces import PRECISIONS, Trace
from parity.verdict.floor import floors_of, moved_copies


def training(
    runner: SideRunner,
    case: Case,
    *,
    copies: int = 0,
    every_step: bool = True,
    twice: bool = False,
    precisions: Sequence[str] = PRECISIONS,
) -> Trace:
    """Take the case's training steps in each precision, on shared randomness.

    Args:
        copies: moved copies for the noise floor; 0 leaves it out.
        twice: train once more, after the copies: notes ``differs``, in words, if other bits come
            out.
        every_step: keep gradients and state of every step; else of the last one only.

    Returns:
        ``validation/<name>`` (before any step), ``losses/<name>`` (steps,),
        ``parameter_gradients/<weight>`` and ``training_state/...`` (steps or 1, ...), and
        ``replay_buffer`` (N, H, W, C) as it is at the end. What only some of the steps gave has as
        many rows: notes ``given_in`` have the steps of each, by precision.
    """
    if case.training is None:
        raise BadCall("the case trains nothing: it has no 'training' arguments")
    arrays: dict[str, Arrays] = {}
    floors: dict[str, Arrays] = {}
    notes: dict[str, Any] = {}
    draws: tuple[Any, ...] = ()
    for precision in precisions:
        with contextlib.ExitStack() as stack:
            model = stack.enter_context(runner.ready(case, precision, notes))
            state = {name: array.astype(precision) for name, array in case.state.items()}
            images = case.images.astype(precision)
            own, randomness = run_steps(
                runner, model, case, precision, notes, images, state, every_step
            )
            arrays[precision] = own
            draws = tuple(randomness.log)
            if copies:
                answers = []
                stack.enter_context(runner.rough(model))
                stack.enter_context(runner.compiled(model, randomness.evaluations * copies))
                rng = generator(case.key, "floor/order")
                for copy in moved_copies(case, precision, copies):
                    runner.load(model, case, copy.weights)
                    with runner.reordered(model, rng):
                        again, _ = run_steps(
                            runner, model, case, precision, {}, copy.images, copy.state, every_step
                        )
                    answers.append(again)
                by_step = tuple(name for name in own if stepwise(name))
                floors[precision] = floors_of(own, answers, precision, by_step)
        if twice:  # as at first: eager, with exact derivatives, in order
            with runner.ready(case, precision, notes) as model:
                again, _ = run_steps(runner, model, case, precision, {}, images, state, every_step)
            note_difference(notes, own, again)
    if again_by := _drawn_again(runner, case, precisions[-1]):
        notes["again"] = again_by
    runner.forget(case)
    return Trace(arrays, floors, draws, notes)


def _drawn_again(runner: SideRunner, case: Case, precision: str) -> dict[str, Any]:
    """What a second replay buffer, or a second validation, would by itself draw as the first did.

    The steps of one run show it of themselves. It is asked last, when nothing more is compared.

    Returns:
        entry -> the ``repeated`` of ``SideRunner.intercepted``, where there are any.
    """
    assert case.training is not None
    real = case.images.reshape(case.training.steps, -1, *case.images.shape[1:])[0]
    found = {}
    with runner.ready(case, precision, {}) as model:
        for entry in ("replay_buffer", "validate"):
            notes: dict[str, Any] = {}
            if getattr(runner.side, entry) is None:
                continue
            with runner.shared(model, case, precision, notes):
                trainer = runner.trainer(model, case)
                if entry == "validate":
                    for _ in range(2):
                        trainer.validate(real.astype(precision))
                else:  # the trainer has made the first
                    trainer.call(entry)
            if "repeated" in notes:
                found[entry] = notes["repeated"]
    return found


def stepwise(name: str) -> bool:
    """Whether the named array has a first axis of steps."""
    return name.startswith(("losses/", "parameter_gradients/", "training_state/"))


def run_steps(
    runner: SideRunner,
    model: Any,
    case: Case,
    precision: str,
    notes: dict[str, Any],
    images: np.ndarray,
    state: Mapping[str, np.ndarray],
    every_step: bool,
    mark: Callable[[str, Trainer], None] = lambda stage, trainer: None,
) -> tuple[Arrays, SharedRandomness]:
    """``mark`` is told the stage that begins: "validation", "step 0", ..., and last "end"."""
    assert case.training is not None
    steps = case.training.steps
    batches = images.reshape(steps, -1, *images.shape[1:])
    found: Arrays = {}
    if runner.side.validate is not None:
        with runner.shared(model, case, precision, notes):
            trainer = runner.trainer(model, case)
            mark("validation", trainer)
            found |= trainer.validate(batches[0])
    per_step: dict[str, dict[int, np.ndarray]] = {}
    with runner.shared(model, case, precision, notes) as randomness:
        trainer = runner.trainer(model, case)
        trainer.restore(state)
        for step, real in enumerate(batches):
            mark(f"step {step}", trainer)
            answers = trainer.step(real)
            if every_step or step == steps - 1:
                answers |= trainer.state()
            else:
                answers = {k: v for k, v in answers.items() if k.startswith("losses/")}
            for name, array in answers.items():
                per_step.setdefault(name, {})[step] = np.asarray(array, dtype=array.dtype)
        mark("end", trainer)
        found |= {name: np.stack([*parts.values()]) for name, parts in per_step.items()}
        if some := {name: [*parts] for name, parts in per_step.items() if len(parts) < steps}:
            notes.setdefault("given_in", {})[precision] = some
        found |= trainer.read_buffer()
        notes["host_generators"] = _host_generators()
    return found, randomness


def _host_generators() -> str:
    """Where Python's and NumPy's generators stand: equal if they were drawn from alike."""
    states = random.getstate(), np.random.get_state(legacy=False)
    return hashlib.sha256(repr(_plain(states)).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """``value`` with its arrays as lists, so that ``repr`` leaves nothing out."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return value.tolist() if isinstance(value, np.ndarray) else value
