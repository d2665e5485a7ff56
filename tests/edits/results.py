"""What became of the edits: committed, shown as a page, and why survivors are no holes."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from parity.values import archive
from tests.edits.draw import SEED
from tests.edits.judge import ROOT, TESTED, Judged
from tests.edits.sites import Edit

RESULTS = ROOT / "tests/edits/results.json"
REASONS = ROOT / "tests/edits/reasons.toml"
PAGE = ROOT / "docs/edits.md"
UNFINISHED = ROOT / ".parity/edits.json"

JUDGED_BY = (
    "parity",
    "ebm",
    "port_torch",
    "goldens",
    "tests/edits/judge.py",
    *sorted({*TESTED.values()}),
)
"""What decides what becomes of an edit."""

INTRODUCTION = """\
# Edits by machine

Written by `make edits`; do not edit. {count} small edits of `port_torch/`, drawn from seed {seed},
each put into the port and judged: {red} are red, and {survived} survive, each for the reason given
below: it is the same program, or differs by less than the bound allows at least. An edit is one
constant, operator, comparison, argument, string or name in place of another; docstrings,
annotations, imports and what `raise` says are left alone.

Edits are judged against the golden, as by `parity check --golden goldens`. What no entry of a pair
reaches is judged by the test that claims it: {tested}. The last column
says which check or test was red first; *import* is an edit that fails where the port is imported,
*hung* one that does not answer in time.
"""


class Kept:
    """What an unfinished run has judged, if nothing that it depends on has changed since."""

    def __init__(self, path: Path = UNFINISHED) -> None:
        self._path, self._of = path, _digest()
        self.red: dict[str, str] = {}
        try:
            content = json.loads(path.read_text())
            if content["of"] == self._of:
                self.red = dict(content["red"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none, or nothing that can be gone on with

    def keep(self, red: Mapping[str, str]) -> None:
        """Write what is known by now, whole or not at all."""
        self._path.parent.mkdir(exist_ok=True)
        content = {"of": self._of, "red": dict(red)}
        archive.write_whole(self._path, json.dumps(content).encode())


def _digest() -> str:
    found = hashlib.sha256()
    for path in sorted(_files()):
        found.update(f"{path.relative_to(ROOT)}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _files() -> Iterator[Path]:
    for name in JUDGED_BY:
        path = ROOT / name
        for file in (path,) if path.is_file() else path.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file


def reasons(path: Path = REASONS) -> dict[str, str]:
    """Name of an edit -> why it is the same program.

    Raises:
        ValueError: an edit is given two reasons, or an empty one.
    """
    found: dict[str, str] = {}
    for group in tomllib.loads(path.read_text()).get("equivalent", []):
        why = " ".join(group["why"].split())
        for name in group["edits"]:
            if name in found or not why:
                raise ValueError(f"{path.name}: {name} needs one reason")
            found[name] = why
    return found


def to_json(judged: Sequence[Judged]) -> str:
    """The results as they are committed, an edit a line."""
    edits = ",\n".join(
        json.dumps({"name": each.edit.name, "kind": each.edit.kind, "red": each.red})
        for each in judged
    )
    return f'{{"seed": {SEED}, "edits": [\n{edits}\n]}}\n'


def committed(edits: Sequence[Edit], path: Path = RESULTS) -> list[Judged]:
    """The committed results of these edits.

    Raises:
        ValueError: they are of other edits.
    """
    content = json.loads(path.read_text())
    red = {edit["name"]: edit["red"] for edit in content["edits"]}
    names = [edit.name for edit in edits]
    if list(red) != names or content["seed"] != SEED:
        changed = sorted(set(names) ^ set(red))
        raise ValueError(
            f"{path.name} is stale: {len(changed)} edits are not what the port as it is gives, "
            f"such as {changed[0] if changed else 'their order'}; run make edits"
        )
    return [Judged(edit, red[edit.name]) for edit in edits]


def to_markdown(judged: Sequence[Judged], why: Mapping[str, str]) -> str:
    """The page: survivors and why, then every edit and what saw it."""
    survivors = [each for each in judged if each.survived]
    tested = "; ".join(f"`{what}` by `{test}`" for what, test in TESTED.items())
    lines = [
        INTRODUCTION.format(
            count=len(judged),
            seed=SEED,
            red=len(judged) - len(survivors),
            survived=len(survivors),
            tested=tested,
        ),
        "| kind | edits | red | survived |",
        "|---|--:|--:|--:|",
    ]
    kinds = Counter(each.edit.kind for each in judged)
    alive = Counter(each.edit.kind for each in survivors)
    lines += [f"| {k} | {n} | {n - alive[k]} | {alive[k]} |" for k, n in sorted(kinds.items())]
    lines += ["", "## What survives, and why it may", ""]
    groups: dict[str, list[Edit]] = {}
    for each in survivors:
        groups.setdefault(why.get(each.edit.name, "**no reason is given**"), []).append(each.edit)
    for reason, edits in groups.items():
        lines += [f"{reason}", "", *(f"- {_place(edit)}: {_change(edit)}" for edit in edits), ""]
    lines += ["## Every edit", "", "| place | edit | red |", "|---|---|---|"]
    for each in judged:
        told = each.red or "*survived*"
        lines.append(f"| {_place(each.edit)} | {_change(each.edit)} | {told} |")
    return "\n".join(lines) + "\n"


def _place(edit: Edit) -> str:
    return f"{Path(edit.file).name}:{edit.line}"


def _change(edit: Edit) -> str:
    before, after = (text.replace("|", "\\|") for text in (edit.before, edit.after))
    return f"`{before}` → `{after}`"
