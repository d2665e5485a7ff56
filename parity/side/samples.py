"""One side's sampler: trajectories under shared noise, with floors, and under its own."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.errors import BadCall
from parity.side.repeated import MOVED, note_difference
from parity.side.runner import Arrays, Run, SideRunner
from parity.side.sampler_probe import Probe
from parity.values.cases import Case
from parity.values.randomness import SharedRandomness, host_generators_seeded
from parity.values.traces import PRECISIONS, Trace, chosen
from parity.verdict.floor import floors_of, moved_copies

FEW_STEPS = 8
"""Steps of a trajectory up to which a sampler that returns only the last is run for each."""


def samples(
    runner: SideRunner,
    case: Case,
    *,
    copies: int = 0,
    twice: bool = False,
    precisions: Sequence[str] = PRECISIONS,
    every_step: bool = True,
) -> Trace:
    """The trajectory of the case's images under shared noise, in both precisions.

    ``twice`` is as of :meth:`network`. Without ``every_step`` the sampler is called as most
    callers do, for the last samples alone.

    A sampler that cannot return every step is run once for each number of steps, or if they
    are many for 1, 2, 4, ...: notes ``ran``.
    """
    if case.sampler is None:
        raise BadCall("the case calls no sampler: it has no 'sampler' arguments")
    arrays: dict[str, Arrays] = {}
    floors: dict[str, Arrays] = {}
    notes: dict[str, Any] = {}
    draws: tuple[Any, ...] = ()
    for precision in precisions:
        with contextlib.ExitStack() as stack:
            model = stack.enter_context(runner.ready(case, precision, notes))
            images = case.images.astype(precision)
            run = Run(model, case, precision, notes)
            samples, randomness = _trajectory(runner, run, images, every_step)
            arrays[precision] = {"samples": samples}
            draws = tuple(randomness.log)  # of float32, the last
            if copies:
                moved_answers = []
                stack.enter_context(runner.rough(model))
                stack.enter_context(runner.compiled(model, case.sampler.steps * copies))
                for copy in moved_copies(case, precision, copies):
                    runner.load(model, case, copy.weights)
                    moved, _ = _trajectory(runner, run, copy.images, every_step)
                    moved_answers.append({"samples": moved})
                if twice:
                    again, _ = _trajectory(runner, run, copy.images, every_step)
                    note_difference(notes, moved_answers[-1], {"samples": again}, MOVED)
                floors[precision] = floors_of(
                    arrays[precision], moved_answers, precision, by_step=("samples",)
                )
                runner.load(model, case, case.weights)
        if twice:  # as at first: eager, with exact derivatives
            with runner.ready(case, precision, notes) as model:
                run = Run(model, case, precision, notes)
                again, _ = _trajectory(runner, run, case.images.astype(precision), every_step)
            note_difference(notes, arrays[precision], {"samples": again})
    return Trace(arrays, floors, draws, notes)


def _trajectory(
    runner: SideRunner, run: Run, images: np.ndarray, every_step: bool
) -> tuple[np.ndarray, SharedRandomness]:
    assert run.case.sampler is not None
    steps = run.case.sampler.steps
    if not every_step or runner.sampler_entry.supports("return_every_step"):
        with runner.shared_in(run) as randomness:
            return runner.sample(run.model, run.case, images, steps, every_step), randomness
    # Each number of steps is a run of its own: of a long trajectory a few are made.
    ran = chosen(steps) if steps > FEW_STEPS else list(range(steps))
    parts: list[np.ndarray] = []
    for step in ran:
        with runner.shared_in(run) as randomness:
            last = runner.sample(run.model, run.case, images, step + 1, False)
        parts += [last] * (step + 1 - len(parts))  # what was not run is not looked at
    run.notes["ran"] = ran
    return np.concatenate(parts), randomness


def unintercepted_samples(
    runner: SideRunner, case: Case, seed: int
) -> tuple[np.ndarray, list[int]]:
    """(steps, B, H, W, C) float32, with the framework's own noise.

    A sampler that cannot return every step is run step by step.

    Returns:
        The samples, and the steps in which a second call, for which nothing is seeded, added
        the same.
    """
    assert case.sampler is not None
    with runner.precision("float32"):
        model = runner.built(case.settings, "float32")
        runner.load(model, case, case.weights)
        return _drawn_twice(runner, model, case, case.images, seed)


def probing_noise(runner: SideRunner, case: Case, seed: int) -> list[int]:
    """The steps in which a second call, for which nothing is seeded, draws the same noise.

    For a port whose network cannot be run: on a probe of zeros, along which no image moves, and
    from images within every clip. A step that adds nothing has no noise that could be the same.
    """
    images = np.full(case.images.shape, case.images.mean(dtype=np.float64))
    with runner.precision("float64"):
        model = runner.probe_model(Probe.drawn(0.0), [])
        samples, alike = _drawn_twice(runner, model, case, images, seed)
    before = np.concatenate([images[np.newaxis], samples[:-1]])
    return [step for step in alike if (samples[step] != before[step]).any()]


def _drawn_twice(
    runner: SideRunner, model: Any, case: Case, images: np.ndarray, seed: int
) -> tuple[np.ndarray, list[int]]:
    runner.seed(seed)
    with host_generators_seeded(seed):
        samples, again = (_own_samples(runner, model, case, images) for _ in range(2))
    return samples, added_alike(images, samples, again)


def _own_samples(runner: SideRunner, model: Any, case: Case, images: np.ndarray) -> np.ndarray:
    assert case.sampler is not None
    if runner.sampler_entry.supports("return_every_step"):
        return runner.sample(model, case, images, case.sampler.steps, True)
    states = [images]
    for _ in range(case.sampler.steps):
        states.append(runner.sample(model, case, states[-1], 1, False)[0])
    return np.stack(states[1:])


def added_alike(images: np.ndarray, one: np.ndarray, other: np.ndarray) -> list[int]:
    """The steps in which two trajectories from the same images had the same added to them.

    What was added is known as well as its sum is: each was rounded once, and so was the state that
    it was added to.
    """
    if one.shape != other.shape:
        return []
    found = []
    before, before_other = images, images
    for step, (after, after_other) in enumerate(zip(one, other, strict=True)):
        states = [s.astype(np.float64) for s in (before, after, before_other, after_other)]
        apart = np.abs((states[1] - states[0]) - (states[3] - states[2]))
        largest = max(np.abs(state).max(initial=0.0) for state in states)
        if (apart <= 2 * np.finfo(np.float32).eps * largest).all():
            found.append(step)
        before, before_other = after, after_other
    return found
