"""Goldens: a recorded reference, against which a port is checked without TensorFlow.

A golden is a folder: ``golden.json``, the manifest, and one safetensors file for each case, with
all that the reference answered to it. The manifest lists the recipes of all cases, the files with
their sizes and digests, and what the reference was made of: its source files, the weights, the
versions. A golden that is altered, cut short, incomplete, or of another reference is refused by
name; it is never half believed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from parity.draw.plan import Plan
from parity.errors import BadCall, BadFile, GoldenRefused
from parity.values import archive
from parity.values.traces import array_digest

SCHEMA = 1
MANIFEST = "golden.json"
BASELINE = "baseline.json"
"""What the port was when it was last green (``parity.golden.baseline``); not part of the golden."""

LARGEST_MANIFEST = 4 << 20
LARGEST_FILE = 64 << 20
NAME = re.compile(r"[a-z0-9_]+(-[a-z0-9_]+)*\.safetensors")

Answers = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Golden:
    """A golden that was read and found whole.

    Attributes:
        folder: where it lies.
        pair: SPEC of the pair it was recorded for.
        seed: what its cases were drawn from.
        plan: its cases.
        environment: versions and settings of the reference's process.
        sources: the reference's source files and the pair's weights, relative to the project, with
            their digests.
        files: name of each file -> the keys of the answers in it.
        answers: key of a question -> the recorded answer.
    """

    folder: Path
    pair: str
    seed: int
    plan: Plan
    environment: Mapping[str, str]
    sources: Mapping[str, str]
    files: Mapping[str, Sequence[str]]
    answers: Answers

    def unused(self, asked: Iterable[str]) -> list[str]:
        """The files of which no answer was asked for."""
        used = set(asked)
        return [name for name, keys in self.files.items() if not used & set(keys)]


def write(folder: Path, **content: Any) -> None:
    """Write a golden whole, in place of the one that is there, or not at all.

    Args:
        content: as :func:`fill` takes it.

    Raises:
        BadCall: the folder cannot be written, or holds something else than a golden.
    """
    with replacing(folder) as fresh:
        fill(fresh, **content)


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder that at the end takes the place of ``folder``; not at all, if that fails.

    Raises:
        BadCall: the folder cannot be written, or holds something else than a golden.
    """
    refuse_other_content(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield fresh
            fresh.chmod(0o755)
            _exchange(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise BadCall(f"the golden {folder} cannot be written: {error}") from error


def fill(
    folder: Path,
    *,
    pair: str,
    seed: int,
    plan: Plan,
    environment: Mapping[str, str],
    sources: Mapping[str, str],
    groups: Mapping[str, Answers],
) -> None:
    """Write a golden's files into an empty folder.

    Args:
        groups: name of a case -> the answers to it; bytes are an archive's, all else plain values.
    """
    files = {f"{name}.safetensors": _packed(answers) for name, answers in groups.items()}
    content = {
        "kind": "golden",
        "schema": SCHEMA,
        "pair": pair,
        "seed": seed,
        "plan": plan.to_dict(),
        "environment": dict(environment),
        "sources": dict(sources),
        "files": {
            name: {"size": len(data), "digest": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        },
    }
    files[MANIFEST] = sealed(content)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _exchange(fresh: Path, folder: Path) -> None:
    """Move ``fresh`` to ``folder``; what was there is in ``fresh`` afterwards."""
    if not folder.exists():
        os.rename(fresh, folder)
        return
    before = fresh.with_name(f"{fresh.name}.before")
    os.rename(folder, before)
    try:
        os.rename(fresh, folder)
    except OSError:
        os.rename(before, folder)
        raise
    os.rename(before, fresh)


def refuse_other_content(folder: Path) -> None:
    """A golden replaces its folder as a whole, so there must be nothing else in it.

    Raises:
        BadCall: names what is there.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadCall(f"--golden {folder} is a file; expected a folder")
    own = (MANIFEST, BASELINE)
    others = sorted(p.name for p in folder.iterdir() if p.name not in own and not _is_ours(p))
    if others:
        raise BadCall(
            f"--golden {folder} holds {', '.join(others[:5])}, which no golden has: a golden takes "
            "the whole folder; name another, or move that away"
        )


def _is_ours(path: Path) -> bool:
    return NAME.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()


def load(folder: Path, root: Path, pair: str) -> Golden:
    """Read a golden and refuse it unless it is of this pair, and of the reference as it is now.

    Args:
        root: the project's folder, whose sources and weights are compared.
        pair: SPEC of the pair to be checked.

    Raises:
        GoldenRefused: as :func:`read`, or of another pair, or stale: names what changed.
    """
    golden = read(folder)
    if golden.pair != pair:
        raise GoldenRefused(f"{folder} was recorded for the pair {golden.pair!r}, not {pair!r}")
    _refuse_stale(folder, root, golden.sources)
    return golden


def read(folder: Path) -> Golden:
    """Read a golden and refuse it unless it is whole.

    Raises:
        GoldenRefused: missing, altered, cut short, of a newer schema, incomplete, or with files
            that do not belong to it; names the file and the reason.
    """
    content = _read_manifest(folder)
    answers: dict[str, Any] = {}
    files: dict[str, list[str]] = {}
    for name, expected in content["files"].items():
        data = _read(folder / name, LARGEST_FILE, expected["size"])
        if hashlib.sha256(data).hexdigest() != expected["digest"]:
            raise GoldenRefused(f"{folder / name} was altered: its digest is not the manifest's")
        found = _unpacked(data, str(folder / name))
        files[name] = list(found)
        answers |= found
    strangers = {path.name for path in folder.iterdir()} - {*files, MANIFEST, BASELINE}
    if strangers:
        raise GoldenRefused(
            f"{folder / min(strangers)} is not part of this golden and would never be used: remove "
            "it, or record the golden again"
        )
    try:
        return Golden(
            folder=folder,
            pair=content["pair"],
            seed=content["seed"],
            plan=Plan.from_dict(content["plan"]),
            environment=_strings(content, "environment"),
            sources=_strings(content, "sources"),
            files=files,
            answers=answers,
        )
    except (BadCall, KeyError, TypeError, ValueError, AttributeError) as error:
        raise GoldenRefused(f"{folder / MANIFEST} lists no cases of ours: {error}") from error


def _strings(content: Mapping[str, Any], key: str) -> dict[str, str]:
    found = content[key]
    if not all(isinstance(part, str) for item in found.items() for part in item):
        raise ValueError(f"{key} is no table of texts")
    return dict(found)


def changes(before: Golden, after: Golden) -> list[str]:
    """What another recording changed, one line for each file that is not the same."""
    lines = [f"{name}: gone" for name in before.files if name not in after.files]
    for name, keys in after.files.items():
        if name not in before.files:
            lines.append(f"{name}: new")
        elif set(keys) != set(before.files[name]):
            lines.append(f"{name}: other weights, images or questions than before")
        elif worst := max(_change(before.answers[k], after.answers[k]) for k in keys):
            lines.append(f"{name}: {worst[1]} by up to {worst[0]:.2g} of its largest element")
    return [line for line in lines if not line.endswith("by up to 0 of its largest element")]


def _change(before: Any, after: Any) -> tuple[float, str]:
    """The largest relative change of an array, and its name."""
    if before == after:
        return 0.0, ""
    if not (isinstance(before, bytes) and isinstance(after, bytes)):
        return float("inf"), "what the reference says of itself"
    old, _ = archive.from_bytes(before, "before")
    new, _ = archive.from_bytes(after, "after")
    if {n: a.shape for n, a in old.items()} != {n: a.shape for n, a in new.items()}:
        return float("inf"), "names or shapes of arrays"
    found = []
    for name, array in new.items():
        difference = float(np.abs(array.astype(np.float64) - old[name]).max(initial=0.0))
        size = float(np.abs(old[name]).max(initial=0.0)) or 1.0
        found.append((difference / size, name))
    return max(found, default=(0.0, ""))


def digest_of_file(path: Path) -> str | None:
    """SHA-256 of an ordinary file's bytes; None if there is no such file."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _is_plain_name(name: str) -> bool:
    """Whether it names something below a folder, whatever that folder is."""
    path = PurePosixPath(name)
    return not ("\0" in name or path.is_absolute() or ".." in path.parts or not path.parts)


def _refuse_stale(folder: Path, root: Path, sources: Mapping[str, str]) -> None:
    for name in sources:
        if not _is_plain_name(name):
            raise GoldenRefused(
                f"{folder / MANIFEST} lists the source {name!r}, which is no name "
                "of a file in the project"
            )
    if not sources:
        raise GoldenRefused(
            f"{folder / MANIFEST} lists no sources, so it could not tell if it is stale"
        )
    changed = [name for name, digest in sources.items() if digest_of_file(root / name) != digest]
    if changed:
        gone = [name for name in changed if not (root / name).exists()]
        what = f"{gone[0]} is gone" if gone else f"{', '.join(changed)} changed"
        raise GoldenRefused(
            f"{folder} is stale: {what} since it was recorded. If that was meant, record it again "
            "('parity record', 'make record')"
        )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise GoldenRefused(f"there is no golden at {folder}; 'parity record' makes one")
    content = unsealed(path, "golden", SCHEMA)
    try:
        for name, file in content["files"].items():
            if not NAME.fullmatch(name) or not isinstance(file["size"], int):
                raise GoldenRefused(f"{path} lists {name!r}, which is no name of a golden's file")
    except (KeyError, TypeError, AttributeError) as error:
        raise GoldenRefused(f"{path} lists no files: {error}") from error
    return content


def sealed(content: Mapping[str, Any]) -> bytes:
    """A JSON document with its digest: the one way to write this content, so that any other byte
    is an alteration."""
    plain = json.dumps(content, sort_keys=True, allow_nan=False)
    digest = hashlib.sha256(plain.encode()).hexdigest()
    document = {"content": content, "digest": digest}
    return (json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def unsealed(path: Path, kind: str, schema: int) -> dict[str, Any]:
    """The content of a sealed document.

    Raises:
        GoldenRefused: missing, altered, cut short, of another kind or of a newer schema.
    """
    data = _read(path, LARGEST_MANIFEST)
    try:
        content = json.loads(data)["content"]
        if content["kind"] != kind:
            raise GoldenRefused(f"{path} is of kind {content['kind']!r}, not a {kind}")
        if type(content["schema"]) is not int or content["schema"] != schema:
            raise GoldenRefused(
                f"{path} has schema {content['schema']!r}; this version of parity reads {schema}"
            )
        if data != sealed(content):
            raise GoldenRefused(f"{path} was altered: its content is not what its digest says")
    except GoldenRefused:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise GoldenRefused(
            f"{path} cannot be read ({type(error).__name__}: {error}); it was cut short or altered"
        ) from error
    return dict(content)


def _read(path: Path, largest: int, expected: int | None = None) -> bytes:
    """The bytes of an ordinary file of bounded size."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError as error:
        raise GoldenRefused(f"{path} is missing ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        raise GoldenRefused(f"{path} is not an ordinary file")
    if found.st_size > largest:
        raise GoldenRefused(f"{path} has {found.st_size} bytes; at most {largest} are read")
    if expected is not None and found.st_size != expected:
        how = "cut short" if found.st_size < expected else "altered"
        raise GoldenRefused(f"{path} was {how}: {found.st_size} bytes, {expected} were recorded")
    try:
        with path.open("rb") as file:
            return file.read(largest)
    except OSError as error:
        raise GoldenRefused(f"{path} cannot be read: {error.strerror}") from error


def _packed(answers: Answers) -> bytes:
    """Answers as one archive; an array that stands in several is kept once."""
    arrays: dict[str, np.ndarray] = {}
    places: dict[str, str] = {}
    about = []
    for key, answer in answers.items():
        if not isinstance(answer, bytes):
            about.append({"key": key, "value": answer})
            continue
        own, inner = archive.from_bytes(answer, key)
        for _, array in sorted(own.items()):
            place = places.setdefault(array_digest(array), str(len(places)))
            arrays[place] = array
        names = {name: places[array_digest(array)] for name, array in sorted(own.items())}
        about.append({"key": key, "names": names, "about": inner})
    return archive.to_bytes(arrays, {"kind": "answers", "schema": SCHEMA, "answers": about})


def _unpacked(data: bytes, name: str) -> dict[str, Any]:
    try:
        arrays, about = archive.from_bytes(data, name)
        if about["kind"] != "answers" or about["schema"] != SCHEMA:
            raise GoldenRefused(f"{name} holds no answers of schema {SCHEMA}")
        return dict(_each(arrays, about["answers"]))
    except GoldenRefused:
        raise
    except (BadFile, ValueError, KeyError, TypeError) as error:
        raise GoldenRefused(str(error)) from error


def _each(
    arrays: archive.Arrays, answers: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Any]]:
    for answer in answers:
        if "value" in answer:
            yield answer["key"], answer["value"]
        else:
            own = {name: arrays[place] for name, place in answer["names"].items()}
            yield answer["key"], archive.to_bytes(own, answer["about"])
