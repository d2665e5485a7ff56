"""Commands timed in turn: what else the machine does in the meantime slows all of them alike."""

from __future__ import annotations

import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""As the harness runs sides."""


@dataclasses.dataclass(frozen=True)
class Timed:
    """What one command took, in every round.

    Attributes:
        wall: seconds from start to end.
        cpu: seconds of processors, of its processes together; they say more where others work too.
    """

    name: str
    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: medians and every round."""
        return {
            "name": self.name,
            "wall_median": round(statistics.median(self.wall), 3),
            "cpu_median": round(statistics.median(self.cpu), 3),
            "wall": [round(seconds, 3) for seconds in self.wall],
            "cpu": [round(seconds, 3) for seconds in self.cpu],
        }


def in_turn(
    commands: Mapping[str, Sequence[str]],
    repeats: int,
    run: Callable[[Sequence[str]], None] | None = None,
) -> list[Timed]:
    """Time Python commands, first one of each, then again; the first round is not counted.

    Args:
        commands: name -> arguments of this interpreter.
        repeats: rounds that count.
        run: runs one of them; in a process of its own by default.

    Raises:
        subprocess.CalledProcessError: one of them failed, so that its time says nothing.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(repeats + 1):
        for name, command in commands.items():
            taken = _seconds(command, run or process)
            if number:
                found[name].append(taken)
    return [
        Timed(name, tuple(wall for wall, _ in rounds), tuple(cpu for _, cpu in rounds))
        for name, rounds in found.items()
    ]


def _seconds(command: Sequence[str], run: Callable[[Sequence[str]], None]) -> tuple[float, float]:
    start, used = time.perf_counter(), _used()
    run(command)
    return time.perf_counter() - start, _used() - used


def _used() -> float:
    """Processor seconds of this process's children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process(command: Sequence[str]) -> None:
    """Run one in a process of its own, in the project's folder."""
    subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        check=True,
        capture_output=True,
    )


def ratios(timed: Sequence[Timed]) -> list[float]:
    """Median over the rounds of each one's wall-clock time over that of the first, same round."""
    first = timed[0]
    return [
        statistics.median(mine / base for mine, base in zip(each.wall, first.wall, strict=True))
        for each in timed
    ]
