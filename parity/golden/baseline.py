"""What a port was when it was last seen green: its margins, its sources, its environment.

A port may stay green and yet get worse, and a green port may turn red though nobody touched it.
Both can be told only against a record. ``parity record`` keeps one beside the golden.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.ask.session import ANYWHERE, Session
from parity.errors import GoldenRefused
from parity.golden import goldens
from parity.verdict.comparison import Verdict
from parity.verdict.outcome import CheckResult

SCHEMA = 1

WORSE = 16.0
"""From how many times the recorded margin on a port has got worse: correct ports vary by 13."""

LEAST = 1.0
"""Floors: what lies below one noise floor is not told apart from it."""


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A green port, as it was recorded.

    Attributes:
        green: no check that compared anything was red.
        margins: green check -> the most noise floors of any of its arrays, in float64.
        sources: the port's own files, relative to the project, with their digests.
        environment: versions and settings of the port's process.
    """

    green: bool
    margins: Mapping[str, float]
    sources: Mapping[str, str]
    environment: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Margin:
    """How far a green check is from its bound, now and when it was recorded; in noise floors."""

    check: str
    recorded: float
    now: float

    @property
    def factor(self) -> float:
        """How many times the recorded margin the present one is."""
        return self.now / max(self.recorded, LEAST)

    @property
    def worse(self) -> bool:
        return self.factor >= WORSE

    def in_words(self) -> str:
        return (
            f"{self.check} is green, but its margin got worse: {self.now:.3g} noise floors, "
            f"{self.recorded:.3g} were recorded in this environment (64 are allowed; "
            f"{WORSE:g} times as many is a regression). If that was meant, record it again"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "factor": self.factor, "worse": self.worse}


@dataclasses.dataclass(frozen=True)
class Difference:
    """A version or setting that is not the recorded one; None where it was not or is not there."""

    name: str
    recorded: str | None
    here: str | None


@dataclasses.dataclass(frozen=True)
class Since:
    """What changed since the recording.

    Attributes:
        differences: of the environment.
        not_judged: why margins were not judged, one sentence; else "".
        changed: the port's sources that are not the recorded ones.
        margins: of each check that is green; none in another environment, where last bits differ.
        attribution: what a verdict that is not green is put down to, one sentence; else "".
    """

    differences: tuple[Difference, ...] = ()
    not_judged: str = ""
    changed: tuple[str, ...] = ()
    margins: tuple[Margin, ...] = ()
    attribution: str = ""


def record(session: Session, checks: Sequence[CheckResult], golden: Path) -> tuple[bytes, str]:
    """The margins of the checks that are green, to be kept beside a golden.

    Args:
        golden: the folder of the golden that the port was held against.

    Returns:
        The file's content; and what was recorded, in words.
    """
    red = [c.name for c in checks if not c.verdict.green and c.verdict is not Verdict.UNCHECKED]
    content = {
        "kind": "baseline",
        "schema": SCHEMA,
        "golden": goldens.digest_of_file(golden / goldens.MANIFEST),
        "green": not red,
        "margins": margins_of(checks),
        "sources": sources_of(session),
        "environment": session.port_environment(),
    }
    said = "the port is green; its margins are recorded too"
    if red:
        said = (
            f"the port is not green in {', '.join(red)}: margins of the other checks are recorded; "
            "'parity explain --golden DIR' says why"
        )
    elif unchecked := [c.name for c in checks if c.verdict is Verdict.UNCHECKED]:
        said += f", but for what is unchecked: {', '.join(unchecked)}"
    return goldens.sealed(content), said


def load(golden: goldens.Golden) -> Baseline | None:
    """The baseline beside a golden; None if none was recorded.

    Raises:
        GoldenRefused: it is altered, cut short, of a newer schema, or of another golden.
    """
    path = golden.folder / goldens.BASELINE
    if not os.path.lexists(path):
        return None
    content = goldens.unsealed(path, "baseline", SCHEMA)
    if content["golden"] != goldens.digest_of_file(golden.folder / goldens.MANIFEST):
        raise GoldenRefused(f"{path} belongs to another golden than {golden.folder}: record again")
    try:
        margins = {str(name): float(floors) for name, floors in content["margins"].items()}
        if not all(math.isfinite(floors) and floors >= 0 for floors in margins.values()):
            raise ValueError("margins are numbers of at least 0")
        sources, environment = dict(content["sources"]), dict(content["environment"])
        return Baseline(bool(content["green"]), margins, sources, environment)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GoldenRefused(f"{path} holds no baseline: {error}") from error


def since(
    golden: goldens.Golden,
    baseline: Baseline | None,
    session: Session,
    checks: Sequence[CheckResult],
    port: str | None,
) -> Since:
    """What changed since the recording.

    Args:
        baseline: None if the port was not green then; nothing can be put down to anything.
        port: SPEC that replaced the pair's port, which then is no port that was recorded.
    """
    here = session.port_environment()
    elsewhere = [
        Difference(f"reference's {name}", golden.environment.get(name), here.get(name))
        for name in ANYWHERE
        if name != "python" and golden.environment.get(name) != here.get(name)
    ]
    if baseline is None:
        return Since(tuple(elsewhere), "margins were not judged: none are recorded")
    recorded = baseline.environment
    differences = [
        Difference(name, recorded.get(name), here.get(name))
        for name in sorted({*recorded, *here})
        if _told(name, recorded) != _told(name, here)
    ]
    now = sources_of(session)
    changed = sorted(n for n in {*baseline.sources, *now} if baseline.sources.get(n) != now.get(n))
    if port is not None:
        changed = [port]
    margins: list[Margin] = []
    not_judged = ""
    if differences:
        where = ", ".join(f"{d.name} {d.recorded} -> {d.here}" for d in differences)
        not_judged = f"margins were not judged, for last bits differ with the environment: {where}"
    else:
        margins = [
            Margin(name, baseline.margins[name], floors)
            for name, floors in margins_of(checks).items()
            if name in baseline.margins
        ]
    return Since(
        (*differences, *elsewhere),
        not_judged,
        tuple(changed),
        tuple(margins),
        attributed(checks, changed, differences) if baseline.green else "",
    )


def _told(name: str, environment: Mapping[str, str]) -> str | None:
    """What of an entry counts: of Python, no patch level."""
    value = environment.get(name)
    return ".".join(value.split(".")[:2]) if name == "python" and value else value


def attributed(
    checks: Sequence[CheckResult], changed: Sequence[str], differences: Sequence[Difference]
) -> str:
    """To what a verdict that is not green is put down: the port, a library, or neither.

    A port whose sources are the recorded ones was green in the recorded environment, so a change of
    the environment is to blame. Where both changed, float64 decides: no other library makes another
    program of one, and rounding moves float64 by floors.
    """
    red = [c.verdict for c in checks if not c.verdict.green and c.accepted is None]
    if not red:
        return ""
    files = ", ".join(changed)
    versions = ", ".join(f"{d.name} {d.recorded} -> {d.here}" for d in differences)
    if changed and not differences:
        return f"a regression of the port: in this very environment it was green; {files} changed"
    if differences and not changed:
        return f"not the port, which is unchanged since it was green; the environment: {versions}"
    if not changed:
        return (
            "neither the port nor its environment changed since it was green; look at what is not "
            "recorded: data files, hardware, a generator of your own"
        )
    if Verdict.DIVERGENT not in red and Verdict.IMPRECISE not in red:
        return (
            f"both changed, the port ({files}) and the environment ({versions}), and nothing was "
            "compared that could tell which of them is to blame: try the recorded versions"
        )
    if Verdict.DIVERGENT not in red:
        return (
            f"both changed, the port ({files}) and the environment ({versions}); float64 agrees, "
            "so it is still the same program: first look at the libraries' float32 arithmetic"
        )
    return (
        f"a regression of the port: both it ({files}) and the environment ({versions}) changed, "
        "but no library's rounding makes float64 disagree"
    )


def margins_of(checks: Sequence[CheckResult]) -> dict[str, float]:
    """Check -> the most noise floors of its arrays, of the green ones with numbers."""
    return {
        check.name: max(
            c.floors for o in check.outcomes for c in o.comparisons if c.worst is not None
        )
        for check in checks
        if check.verdict.green and check.worst is not None
    }


def sources_of(session: Session) -> dict[str, str]:
    """The port's own files, with digests."""
    names = session.ask_port("sources", root=str(session.root))
    found = {}
    for name in names if isinstance(names, list) else []:
        digest = goldens.digest_of_file(session.root / name)
        if digest is not None:
            found[name] = digest
    return found
