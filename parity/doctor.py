"""``parity doctor``: does the instrument itself hold here?

It says what is installed, proves the float64 oracle and the shared randomness on this machine, and
measures how residuals of the pair's *correct* port are distributed in units of the noise floor:
the distribution that the constants 64, 4 and 16 stand against. Then it plants single-element
faults of 100 bounds and counts those that a comparison misses.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from parity import archive, strategies
from parity.cases import Case
from parity.checks.network import compare_arrays, oracle_trouble, reference_answer
from parity.checks.sampler import HORIZON, check_sampler
from parity.checks.training import check_training
from parity.comparison import (
    FLOAT64_FLOORS,
    POOLED_RATIO,
    SINGLE_RATIO,
    Answer,
    Comparison,
    Verdict,
    compare,
    pooled_ratio,
    ratio,
)
from parity.drawing import drawn
from parity.errors import PortFailed
from parity.explain.causes import Explanation
from parity.explain.explain import explain_network_case, explain_probes
from parity.floor import NETWORK_COPIES, TRAJECTORY_COPIES
from parity.outcome import Outcome
from parity.progress import Tell, progress
from parity.randomness import generator
from parity.recipes import make_case
from parity.session import Session
from parity.traces import PRECISIONS, Trace
from parity.workers import ENVIRONMENT

PACKAGES = ("torch", "tensorflow-cpu", "tensorflow", "keras", "numpy", "hypothesis", "safetensors")
ORACLE = 1e-13  # relative agreement in float64 that only a float64 computation reaches
QUANTILES = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0)
TRAJECTORY_SHARE = 5  # one case in five is a trajectory
UNFINISHED = "not proven"
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
        """As a check pools them (:func:`parity.comparison.pooled_ratio`); 0 of no arrays."""
        return pooled_ratio(self.errors.get(observable, [])) or 0.0


def examine(options: argparse.Namespace, pair: str, root: Path) -> int:
    """Run the examination; 0 if everything holds, 1 if not."""
    out = Console(highlight=False)
    versions = installed()
    out.print(f"Python {sys.version.split()[0]} on {platform.machine()} {platform.system()}")
    for name, version in versions.items():
        out.print(f"  {name:16} {version}")
    out.print("each side runs in a process of its own, with")
    out.print("  " + " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items()))
    measured, trouble = Measured(), [UNFINISHED]
    environment: dict[str, str] = {}
    stopped: BaseException | None = None
    with (
        Session(
            pair,
            reference=options.reference,
            port=options.port,
            timeout=options.timeout,
            twins=True,
            root=root,
        ) as session,
        progress(Console(stderr=True)) as tell,
    ):
        try:
            environment = session.environment()
            trouble = list(_oracle(session))
            _measure(session, options.cases, options.faults, options.seed, measured, tell)
        except (Exception, KeyboardInterrupt) as error:
            stopped = error
    out.print()
    out.print(
        "float64 oracle: "
        + ("; ".join(trouble) if trouble else f"holds (agreement {_shown(measured)} relative)")
    )
    out.print(_table(measured))
    out.print(
        f"{options.cases} random cases: {len(measured.alarms)} alarms; "
        f"{measured.planted} faults of 100 bounds planted: {len(measured.missed)} missed; "
        f"{len(measured.named)} causes named in the port by explain",
        soft_wrap=True,
    )
    for line in measured.alarms[:10] + measured.missed[:10] + measured.named[:10]:
        out.print(f"  {line}", markup=False, soft_wrap=True)
    if stopped is not None:
        out.print(f"stopped before all of it was measured: {stopped!r}", markup=False)
    wrong = trouble or measured.alarms or measured.missed or measured.named or stopped is not None
    holds = not wrong and all(measured.pooled(name) <= POOLED_RATIO for name in measured.errors)
    if options.json is not None:
        report = {
            "schema": 1,
            "pair": pair,
            "seed": options.seed,
            "holds": holds,
            "oracle": trouble,
            "cases": options.cases,
            "alarms": measured.alarms,
            "faults": measured.planted,
            "missed": measured.missed,
            "named": measured.named,
            "observables": summary(measured),
            "environment": versions | environment,
        }
        archive.write_whole(options.json, (json.dumps(report, indent=2) + "\n").encode())
    if stopped is not None:
        raise stopped  # once what was measured by then is told
    return 0 if holds else 1


def installed() -> dict[str, str]:
    """Versions of what the sides need; "not installed" where it is not."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name not in ("tensorflow", "tensorflow-cpu"):
                found[name] = "not installed"
    if not any(name.startswith("tensorflow") for name in found):
        found["tensorflow"] = "not installed"
    return found


def _oracle(session: Session) -> Iterator[str]:
    """Whether float64 is float64 on both sides, and draws are shared and repeatable."""
    recipe = drawn(strategies.networks(session), 1, 0)[0]
    case = make_case(session, recipe)
    reference, port = session.ask_both("network", case, reference={"copies": NETWORK_COPIES})
    if isinstance(port, PortFailed):
        yield str(port)
        return
    if (found := oracle_trouble(port)) is not None:
        yield found
    for name in ("energies", "energy_gradients"):
        comparison = compare_arrays(name, reference, port)
        if ratio(comparison.residual, comparison.scale) > ORACLE:
            yield (
                f"{name} agree to {ratio(comparison.residual, comparison.scale):.1e} only; float64 "
                f"computations agree to {ORACLE:g}"
            )
    if session.has("generate_samples"):
        calls = strategies.sampler_calls(session, max_steps=3)
        recipe = drawn(strategies.networks(session, sampler=calls), 1, 0)[0]
        for outcome in check_sampler(session, make_case(session, recipe), twice=True):
            if outcome.check == "draw_log" and not outcome.verdict.green:
                yield outcome.failure or "; ".join(f["message"] for f in outcome.findings)


def _measure(
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


def _table(measured: Measured) -> Table:
    table = Table(
        box=None, pad_edge=False, title="residual / floor (float64), and error ratio (float32)"
    )
    table.add_column("observable")
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
        table.add_column(heading, justify="right")
    for name, values in measured.floors.items():
        ratios = measured.ratios.get(name, [0.0])
        table.add_row(
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
    return table


def _shown(measured: Measured) -> str:
    return f"{measured.largest_relative:.0e}"
