"""Run the story's programs, two at a time, and write the page with its figures."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ebm.story.page import write_page
from ebm.story.runs import PROGRAMS
from parity.ask.session import Session
from parity.draw.plan import draw
from parity.draw.profiles import PROFILES
from parity.entries.runner import run_checks
from parity.values import archive
from parity.verdict.outcome import CheckResult

UPDATES, FLOAT64_UPDATES = 300, 25
AT_ONCE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    runs = [("float64", name, options.float64_updates) for name in ("a", "a'", "b")]
    runs += [("float32", name, options.updates) for name in ("a", "b", "c", "d")]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:34}"), BarColumn(), MofNCompleteColumn())
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def train(precision: str, name: str, updates: int) -> dict[str, Any]:
            title = f"{name}: {PROGRAMS[name].title}, {precision}"
            task = progress.add_task(title, total=updates)
            out = Path(folder) / f"{precision}-{name}.safetensors"
            command = [sys.executable, "-m", "ebm.story.runs", name, precision, str(updates)]
            command += [str(out), *(["--looks"] if precision == "float32" else [])]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    progress.update(task, completed=int(line))
            if process.returncode:
                raise RuntimeError(f"{title} ended with status {process.returncode}")
            return archive.load(out)[0]

        answers = pool.map(lambda run: train(*run), sorted(runs, key=lambda run: -run[2]))
        keys = [(p, n) for p, n, _ in sorted(runs, key=lambda run: -run[2])]
        seen = dict(zip(keys, answers, strict=True))
    console.print("checking the two wrong programs ...")
    checks = {name: _checks(PROGRAMS[name].spec) for name in ("b", "c", "d")}
    write_page(options.out, seen, checks, options.updates, options.float64_updates)
    console.print(f"wrote {options.out}")
    return 0


def _checks(port: str) -> list[CheckResult]:
    """What ``parity check --port`` finds in a program."""
    with Session("ebm.story.pair:pair", port=port) as session:
        return run_checks(session, draw(session, PROFILES["quick"], 0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ebm.story",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--updates", type=int, default=UPDATES, help="training steps, in float32")
    parser.add_argument(
        "--float64-updates", type=int, default=FLOAT64_UPDATES, help="training steps, in float64"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/story.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
