"""The golden check takes little more than importing torch and calling the port without it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.harness.ports import ROOT

CHECK = ["check", "--golden", "goldens"]
RUNS = 5


def seconds(*command: str) -> float:
    """Wall-clock time of a whole process, on one thread as the harness runs sides."""
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - start


def test_at_most_one_and_a_half_times_the_bare_calls_and_ten_seconds(tmp_path: Path) -> None:
    """The quickest of some runs each, in turn: what other work there is slows both."""
    calls = tmp_path / "calls.pickle"
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from tests.harness.bare import recorded\n"
            "assert recorded(Path(sys.argv[1]), sys.argv[2:]) > 200",
            str(calls),
            *CHECK,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    bare, checked = [], []
    for _ in range(RUNS):
        bare.append(seconds("tests.harness.bare", str(calls)))
        checked.append(seconds("parity", *CHECK))
        if min(checked) <= 1.5 * min(bare) and min(checked) <= 10:
            return
    raise AssertionError(f"check {checked}, bare calls {bare}")
