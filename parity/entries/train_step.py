"""Training: losses, gradients as the optimizer gets them, what a step leaves, the replay buffer.

A case of one step is teacher-forced: weights, moments and buffer are given. Over several steps both
sides run freely, and a step of an array counts only while its floor is below 1e-6 of its size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.ask.session import Session
from parity.draw.plan import Plan
from parity.draw.recipes import make_case
from parity.entries.compared import failed, oracle_trouble
from parity.entries.draws import check_draws
from parity.entries.property import Entry, Property, saved
from parity.errors import PortFailed
from parity.side.training import stepwise
from parity.values.cases import Case
from parity.values.exhibits import TrainingCurves
from parity.values.traces import PRECISIONS, Trace
from parity.verdict.comparison import Answer, Comparison, Verdict, compare
from parity.verdict.floor import NETWORK_COPIES
from parity.verdict.outcome import Outcome

TRAINING_CHECKS = (
    "losses",
    "parameter_gradients",
    "training_state",
    "replay_buffer",
    "validation",
)

SCALARS = ("losses", "validation")

HORIZON = 1e-6
"""A step of a free-running array counts while its float64 floor is below this part of its size."""


def check_training(session: Session, case: Case, *, twice: bool = False) -> list[Outcome]:
    """The case's training steps on both sides.

    Args:
        twice: let the reference take them a second time, and require the same bits.
    """
    assert case.training is not None
    options = {"copies": NETWORK_COPIES} | ({"twice": True} if twice else {})
    reference, port = session.ask_both("training", case, reference=options)
    if isinstance(port, PortFailed):
        return [failed(check, case, port) for check in (*TRAINING_CHECKS, "draw_log")]
    outcomes = [
        Outcome(
            check,
            tuple(_comparisons(check, case.training.steps, reference, port)),
            case,
            exhibit=_curves(reference, port) if check == "losses" else None,
        )
        for check in TRAINING_CHECKS
    ]
    return [*outcomes, check_draws(case, reference, port)]


def _curves(reference: Trace, port: Trace) -> TrainingCurves:
    """What each step returned on both sides, where both returned it."""
    curves = {}
    for name, truth in reference.arrays["float64"].items():
        ours = port.array("float64", name)
        if name.startswith("losses/") and ours is not None and ours.shape == truth.shape:
            curves[name.removeprefix("losses/")] = (truth, ours)
    return TrainingCurves(curves)


def _comparisons(check: str, steps: int, reference: Trace, port: Trace) -> Iterator[Comparison]:
    """Every array of a check, step by step."""
    names = [n for n in reference.arrays["float64"] if n.split("/")[0] == check]
    for step in range(steps if any(stepwise(name) for name in names) else 1):
        for name in names:
            if (compared := _compared(name, step, steps, reference, port)) is not None:
                yield compared
    known = {*reference.arrays["float64"], *reference.notes.get("left_out", ())}
    for name in sorted(set(port.arrays["float64"]) - known):
        if name.split("/")[0] == check:
            problem = f"the port has {name}, the reference has not"
            yield Comparison(name, Verdict.INVALID, problem=problem)


def _compared(name: str, step: int, steps: int, reference: Trace, port: Trace) -> Comparison | None:
    """One array of one step; None if neither side gave it there."""
    truth, error32 = reference.arrays["float64"][name], reference.errors[name]
    ours = {p: port.array(p, name) for p in PRECISIONS}
    shown = f"{name}[{step}]" if stepwise(name) and steps > 1 else name
    if stepwise(name):
        theirs = _row(reference, "float64", name, step)
        ours = {
            p: None if a is None else _at(a, _row(port, p, name, step)) for p, a in ours.items()
        }
        if theirs is None and ours["float64"] is None:
            return None
        if theirs is None or ours["float64"] is None:
            lacking, other = ("port", "reference") if theirs is not None else ("reference", "port")
            problem = f"the {lacking} gave no {name} in this step, the {other} did"
            return Comparison(shown, Verdict.INVALID, problem=problem)
        truth, error32 = truth[theirs], error32[theirs]
    floor64, floor32 = (_floor(name, step, reference, p) for p in PRECISIONS)
    size = float(np.abs(truth).max(initial=0.0))
    if steps > 1 and floor64 > HORIZON * size > 0:
        problem = f"{shown} lies beyond the horizon: the reference's own copies part company"
        return Comparison(shown, Verdict.UNCHECKED, problem=problem)
    return compare(
        shown,
        Answer(truth, floor64, float(error32), floor32),
        ours["float64"],
        ours["float32"],
        no_oracle=oracle_trouble(port),
        same_bits=reference.same_bits(port, name),
        beside32=_greatest_beside(name, step, reference),
    )


def _row(trace: Trace, precision: str, name: str, step: int) -> int | None:
    """Where in a step-wise array the step stands; None if nothing of the name was given in it.

    An optimizer that is asked every second step is given gradients in those alone.
    """
    given = trace.notes.get("given_in", {}).get(precision, {}).get(name)
    if given is None:
        return step
    return given.index(step) if step in given else None


def _at(array: np.ndarray, row: int | None) -> np.ndarray | None:
    return None if row is None else array[row]


def _greatest_beside(name: str, step: int, reference: Trace) -> float:
    """The greatest element, in that step, of all arrays that are of one kind for each weight."""
    parts = name.split("/")
    depth = {"parameter_gradients": 1, "training_state": 2}.get(parts[0], 0)
    if not depth:
        return 0.0
    kind = "/".join(parts[:depth]) + "/"
    alike = [
        _at(array, _row(reference, "float64", other, step))
        for other, array in reference.arrays["float64"].items()
        if other.startswith(kind)
    ]
    return max(float(np.abs(a).max(initial=0.0)) for a in alike if a is not None)


def _floor(name: str, step: int, reference: Trace, precision: str) -> float:
    """The floor of an array; scalars that are returned together share the largest of theirs.

    A contrastive divergence is a difference of mean scores and carries their rounding, whatever its
    own size; four copies of a single number may by chance all agree.
    """
    floors = reference.floors[precision]
    group = name.split("/")[0]
    together = [n for n in floors if n.split("/")[0] == group] if group in SCALARS else [name]
    found = {n: np.atleast_1d(floors[n]) for n in together}
    if stepwise(name):
        rows = {n: _at(floor, _row(reference, precision, n, step)) for n, floor in found.items()}
        found = {n: floor for n, floor in rows.items() if floor is not None}
    # NumPy's maximum, for Python's passes over what is no number.
    return float(np.max([floor.max() for floor in found.values()]))


NEEDS = ("model", "make_optimizer", "train_step")


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Over the plan's training runs."""

    def trainings() -> Iterator[list[Outcome]]:
        for number, recipe in enumerate(plan.trainings):
            yield check_training(session, make_case(session, recipe), twice=number == 0)

    yield Property(
        "trainings",
        "training steps",
        (*TRAINING_CHECKS, "draw_log"),
        NEEDS,
        trainings,
        len(plan.trainings),
    )


def saved_properties(session: Session, case: Case) -> Iterator[Property]:
    """Of a case that trains."""
    if case.training is not None:
        checks = (*TRAINING_CHECKS, "draw_log")
        yield saved("training", checks, NEEDS, lambda: check_training(session, case))


ENTRY = Entry(
    TRAINING_CHECKS,
    properties,
    saved_properties,
    {"replay_buffer": "replay_buffer", "validation": "validate"},
)
