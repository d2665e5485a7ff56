"""How residuals of a correct port are distributed in units of the noise floor, on random cases.

The distribution that the constants 64, 4 and 16 stand against. Then single elements are moved by
100 bounds, and those counted that a comparison misses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from parity.ask.progress import Tell
from parity.ask.session import Session
from parity.draw import strategies
from parity.draw.drawing import drawn
from parity.draw.recipes import make_case
from parity.entries.compared import compare_arrays, reference_answer
from parity.entries.sampler import HORIZON, check_sampler
from parity.entries.train_step import check_training
from parity.errors import PortFailed
from parity.explain.causes import Explanation
from parity.explain.explain import explain_network_case, explain_probes
from parity.values.cases import Case
from parity.values.randomness import generator
from parity.values.traces import PRECISIONS, Trace
from parity.verdict.comparison import (
    FLOAT64_FLOORS,
    SINGLE_RATIO,
    Answer,
    Comparison,
    Verdict,
    compare,
    pooled_ratio,
    ratio,
)
from parity.verdict.floor import NETWORK_COPIES, TRAJECTORY_COPIES
from parity.verdict.outcome import Outcome

QUANTILES = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0)
TRAJECTORY_SHARE = 5  # one case in five is a trajectory
TRAINING_SHARE = 20  # and one in twenty a training step


@dataclasses.dataclass
class Measured:
    """What the random cases came to, so far."""

    floors: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    ratios: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    errors: dict[str, list[tuple[float, float]]] = dataclasses.field(default_factory=dict)
    alarms: list[str] = dataclasses.field(default_factory=list)
    planted: int = 0
    missed: list[str] = dataclasses.field(default_factory=list)
    named: list[str] = dataclasses.field(default_factory=list)
    largest_relative: float = 0.0

    def add(self, observable: str, comparison: Comparison, case: Case) -> None:
        """Count one array of a correct port."""
        if comparison.verdict not in (Verdict.IDENTICAL, Verdict.ROUNDING, Verdict.UNCHECKED):
            self.alarms.append(
                f"{comparison.array} of {case.digest[:12]}: {comparison.verdict}, "
                f"{comparison.floors:.1f} floors, error ratio {comparison.error_ratio}, "
                f"{comparison.problem or ''} {dict(case.origin)}"
            )
        if comparison.worst is None or comparison.scale == 0:
            return
        self.floors.setdefault(observable, []).append(comparison.floors)
        if comparison.error_ratio is not None and comparison.floor32 is not None:
            self.ratios.setdefault(observable, []).append(comparison.error_ratio)
            relative = (
                ratio(comparison.error32 or 0.0, comparison.scale),
                ratio(comparison.floor32, comparison.scale),
            )
            self.errors.setdefault(observable, []).append(relative)

    def add_outcomes(self, outcomes: Sequence[Outcome], case: Case) -> None:
        """Count what checks found on one case, array by array."""
        for outcome in outcomes:
            for text in (outcome.failure, *(f["message"] for f in outcome.findings)):
                self.alarms += [f"{outcome.check}: {text}"] if text else []
            for comparison in outcome.comparisons:
                self.add(outcome.check, comparison, case)

    def say(self, explanation: Explanation) -> None:
        """Count what is said of a port of which there is nothing to say."""
        self.named += [f"{c.id} at {c.where}: {c.evidence}" for c in explanation.causes]
        self.named += [f"{u.where}: {u.evidence}" for u in explanation.unexplained]

    def pooled(self, observable: str) -> float:
        """As a check pools them (``comparison.pooled_ratio``); 0 of no arrays."""
        return pooled_ratio(self.errors.get(observable, [])) or 0.0


def measure(
    session: Session, cases: int, faults: int, seed: int, measured: Measured, tell: Tell
) -> None:
    pool = strategies.architectures(session, max(1, cases // 7), seed).cases
    has_sampler = session.has("generate_samples")
    n_trajectories = cases // TRAJECTORY_SHARE if has_sampler else 0
    trains = all(session.has(entry) for entry in ("train_step", "make_optimizer"))
    n_trainings = cases // TRAINING_SHARE if trains else 0
    n_networks = cases - n_trajectories - n_trainings
    networks = drawn(strategies.networks(session, pool), n_networks, seed)
    rng = generator(seed, "planted faults")
    done = 0
    for recipe in networks:
        case = make_case(session, recipe)
        reference, port = session.ask_both("network", case, reference={"copies": NETWORK_COPIES})
        done += 1
        tell("random cases", done, cases)
        if isinstance(port, PortFailed):
            measured.alarms.append(str(port))
            continue
        _name_causes(session, case, measured, (reference, port))
        for name in reference.arrays["float64"]:
            comparison = compare_arrays(name, reference, port)
            measured.add(name.split("/")[0], comparison, case)
            if name == "energies" and comparison.scale:
                relative = ratio(comparison.residual, comparison.scale)
                measured.largest_relative = max(measured.largest_relative, relative)
        while measured.planted < faults * done // cases:
            name = str(rng.choice([n for n, a in reference.arrays["float64"].items() if a.size]))
            arrays = {p: port.arrays[p][name] for p in PRECISIONS}
            _plant(rng, name, reference_answer(reference, name), arrays, measured)
    measured.say(explain_probes(session))
    calls = strategies.sampler_calls(session)
    trajectories = strategies.networks(session, pool, max_batch=4, sampler=calls)
    for recipe in drawn(trajectories, n_trajectories, seed + 1):
        case = make_case(session, recipe)
        measured.add_outcomes(check_sampler(session, case), case)
        _name_causes(session, case, measured)
        done += 1
        tell("random cases", done, cases)
        if measured.planted < faults * done // cases:
            _plant_in_trajectory(rng, session, case, faults * done // cases, measured)
    for recipe in drawn(strategies.trainings(session, max_steps=2), n_trainings, seed + 2):
        case = make_case(session, recipe)
        measured.add_outcomes(check_training(session, case), case)
        _name_causes(session, case, measured)
        done += 1
        tell("random cases", done, cases)


def _name_causes(
    session: Session,
    case: Case,
    measured: Measured,
    network: tuple[Trace, Trace | PortFailed] | None = None,
) -> None:
    """What ``explain`` says of the network on this case: nothing, of a correct port."""
    causes, left = explain_network_case(session, case, True, network)
    measured.say(Explanation(tuple(causes), tuple(left)))


def _plant_in_trajectory(
    rng: np.random.Generator, session: Session, case: Case, until: int, measured: Measured
) -> None:
    """Faults in random steps of a trajectory, within its horizon."""
    reference, port = session.ask_both("samples", case, reference={"copies": TRAJECTORY_COPIES})
    if isinstance(port, PortFailed):
        return
    floors = reference.floors["float64"]["samples"]
    steps = np.flatnonzero(floors < HORIZON * np.ptp(session.pair.image_range))
    while len(steps) and measured.planted < until:
        step = int(rng.choice(steps))
        truth = reference.arrays["float64"]["samples"][step]
        error32 = float(reference.errors["samples"][step])
        floor32 = float(reference.floors["float32"]["samples"][step])
        arrays = {p: port.arrays[p]["samples"][step] for p in PRECISIONS}
        answer = Answer(truth, float(floors[step]), error32, floor32)
        _plant(rng, f"samples[{step}]", answer, arrays, measured)


def _plant(
    rng: np.random.Generator,
    name: str,
    answer: Answer,
    arrays: Mapping[str, np.ndarray],
    measured: Measured,
) -> None:
    """Move one element of one array of the port's by 100 bounds and compare again."""
    precision = str(rng.choice(PRECISIONS))
    arrays = {p: array.copy() for p, array in arrays.items()}
    faulty = arrays[precision]
    index = tuple(int(rng.integers(0, n)) for n in faulty.shape)
    assert answer.allowed32 is not None
    if precision == "float64":
        bound = FLOAT64_FLOORS * answer.floor64
    else:
        bound = SINGLE_RATIO * answer.allowed32
    # An array of zeros has no floor: there, any change at all must be seen.
    change = max(100 * bound, float(np.finfo(np.float32).tiny))
    faulty[index] += change * float(rng.choice([-1.0, 1.0]))
    found = compare(name, answer, arrays["float64"], arrays["float32"])
    measured.planted += 1
    expected = Verdict.DIVERGENT if precision == "float64" else Verdict.IMPRECISE
    if found.verdict is not expected:
        measured.missed.append(f"{name}{list(index)} in {precision}: {found.verdict}")


def summary(measured: Measured) -> dict[str, Any]:
    """Quantiles of residual / floor and of the error ratio, by observable."""
    return {
        name: {
            "arrays": len(values),
            "residual_over_floor": _quantiles(values),
            "error_ratio": _quantiles(measured.ratios.get(name, [])),
            "pooled_error_ratio": measured.pooled(name),
        }
        for name, values in measured.floors.items()
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {f"{q:g}": float(np.quantile(values, q)) for q in QUANTILES}


def table(measured: Measured) -> Table:
    found = Table(
        box=None, pad_edge=False, title="residual / floor (float64), and error ratio (float32)"
    )
    found.add_column("observable")
    for heading in (
        "arrays",
        "exactly 0",
        "median",
        "99 %",
        "largest",
        "ratio 99 %",
        "largest",
        "pooled",
    ):
        found.add_column(heading, justify="right")
    for name, values in measured.floors.items():
        ratios = measured.ratios.get(name, [0.0])
        found.add_row(
            name,
            str(len(values)),
            f"{np.mean(np.array(values) == 0):.0%}",
            f"{np.median(values):.2f}",
            f"{np.quantile(values, 0.99):.2f}",
            f"{max(values):.2f}",
            f"{np.quantile(ratios, 0.99):.2f}",
            f"{max(ratios):.2f}",
            f"{measured.pooled(name):.2f}",
        )
    return found
