"""Is the gate ever flaky? Run it again and again, each time with another seed.

``python -m tests.soak --runs 200`` (``make soak``) runs ``parity check --golden goldens --strict``
over 1 and 2 threads and with oneDNN on and off, in turn, and fails if any run is not green.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from parity.ask.progress import progress

PORT = """
import torch
torch.set_num_threads({threads})
torch.backends.mkldnn.enabled = {onednn}
from ebm.pair import port as side
"""
WAYS = [(threads, onednn) for onednn in (True, False) for threads in (1, 2)]


def runs(n: int, folder: Path) -> Iterator[tuple[tuple[int, bool], int, dict[str, Any], float]]:
    """(way, exit status, report, seconds) of each run."""
    specs = {}
    for threads, onednn in WAYS:
        path = folder / f"port_{threads}_{onednn}.py"
        path.write_text(PORT.format(threads=threads, onednn=onednn))
        specs[threads, onednn] = str(path)
    for seed, way in zip(range(n), itertools.cycle(WAYS), strict=False):
        out = folder / "report.json"
        command = [sys.executable, "-m", "parity", "check", "--golden", "goldens", "--strict"]
        command += ["--port", specs[way], "--seed", str(seed), "--json", str(out)]
        start = time.perf_counter()
        ran = subprocess.run(command, capture_output=True, text=True)
        report = json.loads(out.read_text()) if out.exists() else {}
        out.unlink(missing_ok=True)
        if ran.returncode != 0:
            print(ran.stdout[-4000:], ran.stderr[-2000:], sep="\n")
        yield way, ran.returncode, report, time.perf_counter() - start


def _refuse_another_way(way: tuple[int, bool], report: dict[str, Any]) -> None:
    """A run that was not made in the way it is counted for would prove nothing."""
    environment = report.get("environment", {})
    ran = environment.get("torch_threads"), environment.get("torch_onednn")
    if report and ran != (str(way[0]), "on" if way[1] else "off"):
        raise SystemExit(f"asked for {way} threads and oneDNN, ran with {ran}")


def main() -> int:
    """Print, for each way, how many runs were green, and how near a bound any came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, metavar="N", help="default 200")
    n = parser.parse_args().runs
    green = dict.fromkeys(WAYS, 0)
    count = dict.fromkeys(WAYS, 0)
    floors = dict.fromkeys(WAYS, 0.0)
    ratios = dict.fromkeys(WAYS, 0.0)
    seconds: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        progress(Console(stderr=True)) as tell,
    ):
        for done, (way, status, report, took) in enumerate(runs(n, Path(folder)), start=1):
            count[way] += 1
            _refuse_another_way(way, report)
            green[way] += status == 0
            for entry in report.get("evidence", {}).get("arrays", ()):
                floors[way] = max(floors[way], entry["floors"] or 0.0)
                ratios[way] = max(ratios[way], entry["error_ratio"] or 0.0)
            seconds.append(took)
            tell("the gate, again and again", done, n)
    print("| threads | oneDNN | runs | green | most floors (64) | greatest error ratio (16) |")
    print("|--:|---|--:|--:|--:|--:|")
    for (threads, onednn), runs_ in count.items():
        way = threads, onednn
        cells = [threads, "on" if onednn else "off", runs_, green[way]]
        print(f"| {' | '.join(map(str, cells))} | {floors[way]:.1f} | {ratios[way]:.1f} |")
    print(f"\nmedian {sorted(seconds)[len(seconds) // 2]:.1f} s a run")
    return 0 if green == count else 1


if __name__ == "__main__":
    sys.exit(main())
