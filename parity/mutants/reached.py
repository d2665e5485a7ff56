"""Which of a port's files an answer can depend on, so that no question is asked of them twice.

A question calls a few entries of the port, and an entry runs what its module imports and no other
file. Two ports whose files are the same as far as a question reaches answer it alike: what is asked
is complete, and no answer depends on what was asked before, or a case could not be run again. So a
pair of faults, one in the network and one in training, need not have its network asked again.

What is reached is read off the import statements. A module that imports in any other way may reach
everything.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.ask.recorded import key_of
from parity.declare.declarations import ENTRIES, Side

MODEL, SAMPLER, PREPROCESS = ("model",), ("generate_samples",), ("preprocess",)
ON_A_PROBE = tuple(name for name in ENTRIES if name not in (*MODEL, *PREPROCESS))

ENTRIES_OF: Mapping[str, tuple[str, ...]] = {
    "network": MODEL,
    "initial_weights": MODEL,
    "segments": MODEL,
    "segment_gradients": MODEL,
    "samples": MODEL + SAMPLER,
    "unintercepted_samples": MODEL + SAMPLER,
    "state": MODEL + SAMPLER,
    "probing": SAMPLER,
    "probing_state": SAMPLER,
    "probing_noise": SAMPLER,
    "training": ENTRIES,
    "probing_training": ON_A_PROBE,
    "preprocess": PREPROCESS,
    "refusals model": MODEL,
    "refusals generate_samples": SAMPLER,
    "refusals preprocess": PREPROCESS,
    "refusals train_step": ON_A_PROBE,
    "refusals validate": ON_A_PROBE,
}
"""Which entries a question calls, of one that is about an entry for each; one that is not listed is
always asked."""

OTHER_WAYS = {"__import__", "eval", "exec", "globals", "importlib", "sys.modules"}
"""Names by which a module may reach what its import statements do not say."""

EVERYTHING = None
MOST_BYTES = 384 << 20
"""Of answers that are kept; those longest unused go first."""

LARGEST = 4 << 20
"""Bytes of an answer that is kept. Larger are those to training, which reaches almost every file:
they would take the room of all others and hardly ever be asked for again."""


@dataclasses.dataclass(frozen=True)
class Module:
    """A module of the project.

    Attributes:
        path: its file.
        digest: of its text.
        imports: names that may be modules; EVERYTHING if it has other ways to import.
    """

    path: Path
    digest: bytes
    imports: tuple[str, ...] | None


class Reached:
    """Answers of ports, under what was asked and the files that the question reaches.

    Args:
        side: the port's declaration.
        root: the project's folder; overlays take the place of packages in it.
    """

    def __init__(self, side: Side, root: Path) -> None:
        self.side, self.root = side, root
        self.overlay: Path | None = None
        self.asked = self.given = 0
        self._answers: collections.OrderedDict[str, Any] = collections.OrderedDict()
        self._bytes = 0
        self._digests: dict[str, str | None] = {}
        self._modules: dict[str, Module | None] = {}

    def lay_over(self, folder: Path | None) -> None:
        """From now on the port has the packages in ``folder``."""
        self.overlay = folder
        self._digests.clear()
        self._modules.clear()

    def key(self, method: str, arguments: Mapping[str, Any]) -> str | None:
        """What the answer is kept under; None if it is not known what it depends on."""
        question = " ".join([method, *([arguments["entry"]] if "entry" in arguments else [])])
        if question not in self._digests:
            self._digests[question] = self._digest(question)
        files = self._digests[question]
        return None if files is None else f"{files}/{key_of(method, arguments)}"

    def get(self, key: str | None) -> Any:
        """The answer, or None."""
        self.asked += 1
        if key is None or key not in self._answers:
            return None
        self.given += 1
        self._answers.move_to_end(key)
        return self._answers[key]

    def keep(self, key: str | None, answer: Any) -> None:
        if key is None or answer is None or _size(answer) > LARGEST:
            return
        self._answers[key] = answer
        self._bytes += _size(answer)
        while self._bytes > MOST_BYTES:
            self._bytes -= _size(self._answers.popitem(last=False)[1])

    def _digest(self, question: str) -> str | None:
        specs = [getattr(self.side, name) for name in ENTRIES_OF.get(question, ())]
        specs = [spec for spec in specs if spec is not None]
        if not specs or not all(isinstance(spec, str) and _is_name(spec) for spec in specs):
            return None
        found = self.files([spec.partition(":")[0] for spec in specs])
        if found is EVERYTHING:
            return None
        sha = hashlib.sha256()
        for name, module in sorted(found.items()):
            sha.update(f"{name}\0".encode() + module.digest)
        return sha.hexdigest()

    def files(self, modules: list[str]) -> dict[str, Module] | None:
        """Name -> each module of the project that these reach, themselves included; EVERYTHING if
        that cannot be told."""
        found: dict[str, Module] = {}
        waiting = list(modules)
        while waiting:
            name = waiting.pop()
            if name in found or (module := self._module(name)) is None:
                continue
            found[name] = module
            if module.imports is EVERYTHING:
                return EVERYTHING
            parents = name.split(".")[:-1]
            waiting += module.imports
            waiting += (".".join(parents[:n]) for n in range(1, len(parents) + 1))
        return found

    def _module(self, name: str) -> Module | None:
        """A module of the project; None if it is none, or a name in one."""
        if name not in self._modules:
            path = self._file(name)
            self._modules[name] = None if path is None else _read(path, name)
        return self._modules[name]

    def _file(self, module: str) -> Path | None:
        for folder in (self.overlay, self.root):
            package = None if folder is None else folder / module.partition(".")[0]
            if package is None or not (package.is_dir() or package.with_suffix(".py").is_file()):
                continue
            path = (folder or self.root).joinpath(*module.split("."))
            choices = (path / "__init__.py", path.with_suffix(".py"))
            return next((each for each in choices if each.is_file()), None)
        return None


def _read(path: Path, name: str) -> Module:
    text = path.read_text()
    imports = _imports(text, name, path.name == "__init__.py")
    return Module(path, hashlib.sha256(text.encode()).digest(), imports)


@functools.lru_cache(maxsize=4096)
def _imports(text: str, module: str, is_package: bool) -> tuple[str, ...] | None:
    """Names that may be modules, of all import statements; EVERYTHING if there are other ways."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return EVERYTHING
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, is_package)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in OTHER_WAYS:
            return EVERYTHING
    names = {name.partition(".")[0] for name in found} | set(found)
    return EVERYTHING if names & OTHER_WAYS else tuple(found)


def _base(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _is_name(spec: str) -> bool:
    return ":" in spec and "/" not in spec and not spec.partition(":")[0].endswith(".py")


def _size(answer: Any) -> int:
    return len(answer) if isinstance(answer, bytes) else 1000
