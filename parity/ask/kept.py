"""A reference's answers, kept in a folder for the next process that asks the same.

What a reference answers depends on its program, on the harness that asks it and on the packages of
both, so all of these make the name of the folder: when any changes, nothing in it is found. A
reference that has imported source from outside the project and the installed packages, of which
nothing is known here, is not kept at all. An answer is kept under what was asked, whole or not at
all, and read back only if its digest holds.

Several processes may share a folder. Whoever wants an answer that is not there holds its lock
while the reference is asked; others that want the same wait for it. The reference's own process
is started when something has to be asked for the first time, and perhaps never.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import execnet
import numpy as np

from parity.ask.recorded import OPEN, key_of
from parity.ask.workers import Twins, Worker
from parity.side.settings import ENVIRONMENT
from parity.side.sources import files_of, installed
from parity.values import archive

try:
    import fcntl
except ImportError:  # Windows: two processes may then ask the same, and both keep it
    fcntl = None  # type: ignore[assignment]

CACHE = Path(".parity") / "answers"
"""Where answers are kept, in the project's folder."""

KEPT_FOLDERS = 4
"""Of as many programs answers are kept; those longest unused go first."""

_DIGEST = 32


def program_digest(pair: str, reference: str | None, root: Path) -> str:
    """SHA-256 (hex) of all that a reference's answers depend on, except what is asked."""
    sha = hashlib.sha256()
    found = np.show_config(mode="dicts")["SIMD Extensions"]
    about: list[object] = [pair, reference, sorted(ENVIRONMENT.items()), found]
    about += [sys.version, platform.system(), platform.machine()]
    about += [_packages(), [str(folder) for folder in _paths() if not installed(str(folder))]]
    sha.update(repr(about).encode())
    for path in files_of(root):
        sha.update(f"\0{path}\0".encode())
        with contextlib.suppress(FileNotFoundError):
            sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


def _paths() -> list[Path]:
    """From where modules are imported."""
    return [Path(folder).resolve() for folder in sys.path if folder]


def _packages() -> list[str]:
    """What is installed, with versions: names such as ``numpy-2.4.0.dist-info``."""
    listed = [os.listdir(path) for path in _paths() if path.is_dir()]
    return sorted(name for names in listed for name in names if name.endswith(".dist-info"))


class Kept:
    """A reference whose answers outlive its process; otherwise as a Worker.

    Args:
        start: starts the reference's process.
        pair, reference: SPECs, as a session has them.
        root: the project's folder.
        folder: where answers are kept; each program has a folder of its own in it.

    Attributes:
        answers: all that was asked so far.
        keeps: whether answers are looked for in the folder and put there; if not, only what this
            very process was answered is given again.
    """

    def __init__(
        self,
        start: Callable[[], Worker | Twins],
        pair: str,
        reference: str | None,
        root: Path,
        folder: Path | None = None,
    ) -> None:
        self.answers: dict[str, Any] = {}
        self.keeps = True
        self._root, self._seen = root, _signature(root)
        folder = root / CACHE if folder is None else folder
        self.folder = folder / program_digest(pair, reference, root)[:32]
        _make_room(self.folder)
        self._start = start
        self._worker: Worker | Twins | None = None
        self._pending, self._lock = OPEN, contextlib.ExitStack()
        self._waits = False
        self._read: set[str] = set()
        if not self._known(OPEN):
            self._running()  # it opens while the port does

    def ask(self, method: str, **arguments: Any) -> Any:
        self.send(method, **arguments)
        return self.receive()

    def send(self, method: str, **arguments: Any) -> None:
        self._pending = key_of(method, arguments)
        if self._known(self._pending):
            return
        if self.keeps:
            self._lock.enter_context(_locked(self._path(self._pending).with_suffix(".lock")))
        try:
            if not self._known(self._pending):  # another process may have asked meanwhile
                worker = self._running()
                self._open()
                worker.send(method, **arguments)
                self._waits = True
        finally:
            if not self._waits:
                self._lock.close()

    def receive(self) -> Any:
        if self._pending == OPEN:
            self._open()
        if self._waits:
            self._waits = False
            with self._lock:
                self._keep(self._pending, self._running().receive())
        return self.answers[self._pending]

    def close(self) -> None:
        self._lock.close()
        if self._worker is not None:
            self._worker.close()

    def _running(self) -> Worker | Twins:
        if self._worker is None:
            self._worker, self._opened = self._start(), False
        return self._worker

    def _open(self) -> None:
        if self._worker is not None and not self._opened:
            self._opened = True
            self._keep(OPEN, self._worker.receive())

    def _known(self, key: str) -> bool:
        """Whether the answer is here or in the folder, from where it is taken then."""
        if key in self.answers and (self.keeps or key not in self._read):
            return True
        if not self.keeps:
            return False
        try:
            data = self._path(key).read_bytes()
        except OSError:
            return False
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            return False  # cut short or altered: it is asked again
        self.answers[key] = execnet.loads(data[_DIGEST:])
        self._read.add(key)
        return True

    def _keep(self, key: str, answer: Any) -> None:
        self.answers[key] = answer
        self._read.discard(key)
        if self.keeps and _signature(self._root) == self._seen and not self._strangers():
            data = execnet.dumps(answer)
            archive.write_whole(self._path(key), hashlib.sha256(data).digest() + data)

    def _strangers(self) -> list[str]:
        return list(self._running().ask("strangers", root=str(self._root)))

    def _path(self, key: str) -> Path:
        return self.folder / key.replace("/", "-")


def _signature(root: Path) -> list[tuple[str, int, int]]:
    """What changes when somebody edits a file while its program runs, read without reading it."""
    found = []
    for path in files_of(root):
        with contextlib.suppress(FileNotFoundError):
            about = path.stat()
            found.append((str(path), about.st_mtime_ns, about.st_size))
    return found


def _make_room(folder: Path) -> None:
    """Make the folder, and forget the programs that were not asked for longest."""
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    programs = [path for path in folder.parent.iterdir() if path.is_dir()]
    for old in sorted(programs, key=lambda path: path.stat().st_mtime)[:-KEPT_FOLDERS]:
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes; it ends with its holder, however that ends."""
    file: IO[bytes]
    with path.open("ab") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
