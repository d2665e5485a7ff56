"""``make bench``: the times that the documents promise, each against something that it is made of.

Ratios are of one run, each round against the same round: seconds depend on the machine, and these
hardly do. Prints a table, writes JSON, and fails where a promise is not kept. Meant for a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import ROOT, Timed, in_turn, process, ratios

CHECK = ("check", "--golden", "goldens")
LEAST_CALLS = 200
"""Fewer calls of the port than these would not be those of a check."""


@dataclasses.dataclass(frozen=True)
class Promise:
    """What is promised of a command.

    Attributes:
        ratio: to the first of its benchmark, at most; None promises nothing.
        seconds: at most; likewise.
    """

    ratio: float | None = None
    seconds: float | None = None


PROMISES = {"gate": Promise(ratio=1.5, seconds=10.0)}


def gate(folder: Path, repeats: int) -> list[Timed]:
    """The golden check against importing torch and calling the port without the harness."""
    calls = folder / "calls.pickle"
    code = (
        "import sys; from pathlib import Path; from benchmarks.bare import recorded\n"
        f"assert recorded(Path(sys.argv[1]), sys.argv[2:]) > {LEAST_CALLS}"
    )
    process(["-c", code, str(calls), *CHECK])
    bare = ("-m", "benchmarks.bare", str(calls))
    return in_turn({"bare calls": bare, "gate": ("-m", "parity", *CHECK)}, repeats)


def page(folder: Path, repeats: int) -> list[Timed]:
    """The same with its page, against without."""
    out = str(folder / "page.html")
    return in_turn(
        {
            "gate": ("-m", "parity", *CHECK),
            "gate and page": ("-m", "parity", *CHECK, "--html", out),
        },
        repeats,
    )


BENCHMARKS = {"gate": gate, "page": page}


def broken(timed: Sequence[Timed]) -> list[str]:
    """Promises that these times do not keep, in words."""
    found = []
    for each, ratio in zip(timed, ratios(timed), strict=True):
        promise = PROMISES.get(each.name, Promise())
        seconds = each.to_dict()["wall_median"]
        if each is not timed[0] and promise.ratio is not None and ratio > promise.ratio:
            found.append(
                f"{each.name} takes {ratio:.2f} times what {timed[0].name} take; "
                f"promised is at most {promise.ratio:g}"
            )
        if promise.seconds is not None and seconds > promise.seconds:
            found.append(f"{each.name} takes {seconds:.1f} s; promised is {promise.seconds:g} s")
    return found


def table(name: str, timed: Sequence[Timed]) -> str:
    """For people: medians and ratios."""
    lines = [f"{name:<16} {'wall s':>8} {'CPU s':>8} {'ratio':>7}"]
    for each, ratio in zip(timed, ratios(timed), strict=True):
        about = each.to_dict()
        lines.append(
            f"  {each.name:<14} {about['wall_median']:>8.2f} {about['cpu_median']:>8.2f} "
            f"{ratio:>7.2f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {options.repeats}")
    results, problems = {}, []
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as folder:
        for name in options.names or BENCHMARKS:
            try:
                timed = BENCHMARKS[name](Path(folder), options.repeats)
            except subprocess.CalledProcessError as error:
                print(f"{error}\n{error.stderr.decode(errors='replace')}", file=sys.stderr)
                return 1
            print(table(name, timed), flush=True)
            kept = zip(timed, ratios(timed), strict=True)
            results[name] = [each.to_dict() | {"ratio": round(ratio, 3)} for each, ratio in kept]
            problems += broken(timed)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps({"benchmarks": results, "broken": problems}, indent=2) + "\n"
    )
    print(*problems, sep="\n", end="\n" * bool(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
