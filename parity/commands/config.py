"""``[tool.parity]`` in pyproject.toml: the default pair, and known differences that are waived."""

from __future__ import annotations

import dataclasses
import datetime
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parity.errors import BadCall
from parity.verdict.outcome import CheckResult


@dataclasses.dataclass(frozen=True)
class Waiver:
    """One entry of ``accept``: a known difference.

    Attributes:
        check: name of the check.
        where: part of the array's name at which the check first diverges; "" for any.
        max_residual: the largest relative residual that is waived.
        reason: why, for the report.
        expires: the last day on which it holds.
    """

    check: str
    where: str
    max_residual: float
    reason: str
    expires: datetime.date


@dataclasses.dataclass(frozen=True)
class Config:
    """What the project's pyproject.toml says."""

    root: Path
    pair: str | None = None
    accept: tuple[Waiver, ...] = ()


def load_config(folder: Path) -> Config:
    """Read the nearest pyproject.toml at or above ``folder``.

    Raises:
        BadCall: an entry is unknown, missing or of the wrong type; names file and entry.
    """
    for root in (folder, *folder.parents):
        path = root / "pyproject.toml"
        if path.is_file():
            break
    else:
        return Config(folder)
    try:
        table = tomllib.loads(path.read_text()).get("tool", {}).get("parity", {})
    except tomllib.TOMLDecodeError as error:
        raise BadCall(f"{path} is not valid TOML: {error}") from error
    if unknown := sorted(set(table) - {"pair", "accept"}):
        raise BadCall(f"{path}: [tool.parity] has unknown entries {', '.join(unknown)}")
    pair = table.get("pair")
    if pair is not None and not isinstance(pair, str):
        raise BadCall(f"{path}: [tool.parity] pair must be 'module:attribute', got {pair!r}")
    accept = tuple(_waiver(entry, path) for entry in table.get("accept", []))
    return Config(root, pair, accept)


def _waiver(entry: Any, path: Path) -> Waiver:
    types: dict[str, type | tuple[type, ...]] = {
        "check": str,
        "where": str,
        "max_residual": (int, float),
        "reason": str,
        "expires": object,
    }
    if not isinstance(entry, dict) or set(entry) != set(types):
        raise BadCall(
            f"{path}: each entry of [tool.parity] accept has {', '.join(types)}; got {entry!r}"
        )
    for name, kind in types.items():
        if not isinstance(entry[name], kind):
            raise BadCall(f"{path}: accept has {name} = {entry[name]!r}, of the wrong type")
    expires = entry["expires"]
    if isinstance(expires, str):
        try:
            expires = datetime.date.fromisoformat(expires)
        except ValueError as error:
            raise BadCall(f"{path}: accept has expires = {expires!r}: {error}") from error
    if not isinstance(expires, datetime.date):
        raise BadCall(f"{path}: accept has expires = {expires!r}; expected a date")
    return Waiver(**{**entry, "expires": expires, "max_residual": float(entry["max_residual"])})


def apply_waivers(
    checks: Sequence[CheckResult], waivers: Sequence[Waiver], today: datetime.date
) -> tuple[list[CheckResult], list[str]]:
    """Mark the checks that a waiver covers; list the waivers that are unused or expired."""
    results, problems = list(checks), []
    for waiver in waivers:
        shown = f"accept entry for {waiver.check} at {waiver.where!r}"
        if waiver.expires < today:
            problems.append(f"{shown} expired on {waiver.expires}: mend the difference or renew it")
            continue
        used = False
        for number, check in enumerate(results):
            if _covers(waiver, check):
                results[number] = dataclasses.replace(check, accepted=waiver.reason)
                used = True
        if not used and any(check.name == waiver.check for check in results):
            problems.append(f"{shown} is unused: remove it")
    return results, problems


def _covers(waiver: Waiver, check: CheckResult) -> bool:
    if check.name != waiver.check or check.verdict.green:
        return False
    bad = [c for o in check.outcomes for c in o.comparisons if not c.verdict.green]
    if not bad or any(outcome.failure is not None for outcome in check.outcomes):
        return False
    return check.residual <= waiver.max_residual and all(
        waiver.where in c.array for c in bad if c.problem is None
    )
