"""``parity doctor``: does the instrument itself hold here?

It says what is installed, proves the float64 oracle and the shared randomness on this machine, and
measures how residuals of the pair's *correct* port are distributed in units of the noise floor:
the distribution that the constants 64, 4 and 16 stand against. Then it plants single-element
faults of 100 bounds and counts those that a comparison misses.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from parity.ask.progress import progress
from parity.ask.session import Session
from parity.doctor.calibrate import Measured, measure, summary, table
from parity.draw import strategies
from parity.draw.drawing import drawn
from parity.draw.recipes import make_case
from parity.entries.compared import compare_arrays, oracle_trouble
from parity.entries.sampler import check_sampler
from parity.errors import PortFailed
from parity.side.settings import ENVIRONMENT
from parity.values import archive
from parity.verdict.comparison import (
    POOLED_RATIO,
    ratio,
)
from parity.verdict.floor import NETWORK_COPIES

PACKAGES = ("torch", "tensorflow-cpu", "tensorflow", "keras", "numpy", "hypothesis", "safetensors")
ORACLE = 1e-13  # relative agreement in float64 that only a float64 computation reaches
UNFINISHED = "not proven"


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
            measure(session, options.cases, options.faults, options.seed, measured, tell)
        except (Exception, KeyboardInterrupt) as error:
            stopped = error
    out.print()
    out.print(
        "float64 oracle: "
        + ("; ".join(trouble) if trouble else f"holds (agreement {_shown(measured)} relative)")
    )
    out.print(table(measured))
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


def _shown(measured: Measured) -> str:
    return f"{measured.largest_relative:.0e}"
