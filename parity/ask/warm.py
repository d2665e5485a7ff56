"""Processes that begin with their framework imported: forked from one that has imported it once.

Importing TensorFlow is six seconds of a processor and PyTorch three, more than most runs of a
side; one session pays it once, but a hundred in a row (a suite of tests, a campaign) pay it a
hundred times. A *nursery* is a process that imports a framework when it is first asked, never
computes anything with it, and forks for everyone who asks after that. Neither framework has
started a thread by then, and what a fork could not have safely (threads, a device) does not exist.

Nurseries are found through the environment (:data:`WARM`), so that commands started in processes
of their own share them. Who cannot have what a fresh process would have had, because its
environment differs in a variable that a framework reads as it is imported, or because there is no
nursery any more, gets a fresh process: an answer never depends on it.

This file is also two programs: the nursery, and the one that stands where an interpreter would: it
hands its streams, folder and environment over, lives as long as the fork, and takes it along when
it is killed.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

WARM = "PARITY_WARM"
"""Environment: the folder with the nurseries' sockets, one for each role."""

READ_AT_IMPORT = (
    *("CUDA", "CUBLAS", "GLIBC", "GOTO", "HOME", "KERAS", "KMP", "LANG", "LC_", "LD_", "MALLOC"),
    *("MKL", "NVIDIA", "OMP", "OPENBLAS", "PYTHON", "PYTORCH", "TCMALLOC", "TF_", "TORCH", "XLA"),
)
"""Beginnings of the names of variables that an interpreter or a framework reads once."""

USED = ("execnet", "hypothesis.strategies", "numpy", "safetensors.numpy", "scipy.special")
IMPORTED = {
    "reference": ("tensorflow", "keras", *USED),
    "port": ("torch", "torch._dynamo", *USED),
    "command": (*USED, "rich.console", "rich.markup", "rich.progress", "rich.table"),
}
"""What is imported for each role: nothing of this package, or of whoever uses it."""


def interpreter(role: str) -> list[str]:
    """The words that start a Python process, a fork where there is a nursery for the role.

    It takes the options ``-u -c CODE`` or ``-m MODULE ARGUMENT ...``; with others it is fresh.
    """
    folder = os.environ.get(WARM, "")
    if not folder or not hasattr(os, "fork"):
        return [sys.executable]
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), os.path.join(folder, role)]


def stand_in(path: str, options: list[str]) -> int:
    """Be the process that a nursery forks; or, where that cannot be, a fresh interpreter."""
    asked = {"options": options, "cwd": os.getcwd(), "environment": dict(os.environ)}
    asked["executable"] = sys.executable
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
        message = json.dumps(asked).encode()
        socket.send_fds(connection, [len(message).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(message)
        fork = int.from_bytes(connection.recv(4), "big")
    except OSError:
        fork = 0
    if not fork:
        os.execv(sys.executable, [sys.executable, *options])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(fork, number))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # they are the fork's; held here as well, they would never end
        os.dup2(nothing, stream)
    status = b""
    with contextlib.suppress(OSError):
        status = connection.recv(4)
    code = int.from_bytes(status, "big", signed=True) if len(status) == 4 else 1
    if code < 0:
        with contextlib.suppress(OSError):  # of SIGKILL, which is never anything else
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


class Nursery:
    """Serves forks at a socket until its standard input ends.

    Args:
        path: of the socket.
        modules: what to import at the first request.
        settings: variables that every worker has set before it imports anything.
    """

    def __init__(self, path: str, modules: list[str], settings: dict[str, str]) -> None:
        self.modules, self.settings = modules, settings
        self.read_once = self._read_once(dict(os.environ))
        os.environ.update(settings)
        self.forks: dict[socket.socket, int] = {}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)

    def _read_once(self, environment: dict[str, str]) -> dict[str, str]:
        """The variables that decide what an import does, without those that are set for it."""
        return {
            name: value
            for name, value in environment.items()
            if name.startswith(READ_AT_IMPORT) and name not in self.settings
        }

    def serve(self) -> None:
        """Fork for who asks, end the forks of who has gone, and tell how they ended."""
        import select

        self.wakened = ended, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        while True:
            waiting: list[Any] = [0, ended, self.listener, *self.forks]
            ready, _, _ = select.select(waiting, [], [])
            if 0 in ready:
                break
            if ended in ready:
                os.read(ended, 4096)
                self.bury()
            for gone in [connection for connection in ready if connection in self.forks]:
                os.kill(self.forks[gone], signal.SIGKILL)  # it is not buried: the number is its own
            if self.listener in ready:
                self.take()
        for pid in self.forks.values():
            os.kill(pid, signal.SIGKILL)

    def bury(self) -> None:
        """Tell everyone whose fork has ended how it did."""
        for connection, pid in list(self.forks.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self.forks[connection]
                code = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(OSError):
                    connection.sendall(code.to_bytes(4, "big", signed=True))
                connection.close()

    def take(self) -> None:
        """Fork for one who asks, or refuse."""
        connection, _ = self.listener.accept()
        self.asking = connection
        streams: list[int] = []
        try:
            size, streams, _, _ = socket.recv_fds(connection, 8, 3)
            missing, message = int.from_bytes(size, "big"), b""
            while len(message) < missing:
                piece = connection.recv(missing - len(message))
                if not piece:
                    raise EOFError
                message += piece
            asked = json.loads(message)
            if not self.serves(asked):
                raise EOFError
            pid = os.fork()
            if not pid:
                self.be(asked, streams)
            self.forks[connection] = pid
            connection.sendall(pid.to_bytes(4, "big"))
        except (OSError, EOFError):
            connection.close()
        finally:
            for descriptor in streams:
                os.close(descriptor)

    def serves(self, asked: dict[str, Any]) -> bool:
        """Whether a fork has what a fresh process would have."""
        environment, cwd, options = asked["environment"], asked["cwd"], asked["options"]
        path = environment.pop("PYTHONPATH", "")
        if asked["executable"] != sys.executable or not self._knows(options):
            return False
        if self._read_once(environment) != self.read_once:
            return False
        asked["path"] = [folder for folder in path.split(os.pathsep) if folder]
        for module in self.modules:
            __import__(module)
        gc.freeze()  # what is here is nobody's garbage, and a fork need not look through it
        taken = {name.partition(".")[0] for name in sys.modules}
        taken |= {"sitecustomize", "usercustomize"}  # which an interpreter imports if there are any
        return not taken & set(_importable([cwd, *asked["path"]]))

    @staticmethod
    def _knows(options: list[str]) -> bool:
        return options[:2] == ["-u", "-c"] or options[:1] == ["-m"]

    def be(self, asked: dict[str, Any], streams: list[int]) -> NoReturn:
        """In the fork: what ``python OPTION ...`` is, but for the imports."""
        status = 1
        try:
            self._leave(streams)
            os.environ.clear()
            os.environ.update(asked["environment"])
            os.chdir(asked["cwd"])
            sys.path[:0] = ["", *asked["path"]]
            if "numpy" in sys.modules:
                sys.modules["numpy"].random.seed()  # as a process of its own would be
            status = _run(asked["options"])
        finally:
            os._exit(status)

    def _leave(self, streams: list[int]) -> None:
        """Have nothing of the nursery's any more, and the streams of who asked."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream, descriptor in enumerate(streams):
            os.dup2(descriptor, stream)
        for descriptor in (*streams, *self.wakened):
            os.close(descriptor)
        for connection in (self.listener, self.asking, *self.forks):
            connection.close()


def _run(options: list[str]) -> int:
    """Run ``-u -c CODE`` or ``-m MODULE ARGUMENT ...`` to its end; the exit status."""
    import atexit
    import runpy
    import threading
    import traceback
    import types

    code = options[:2] == ["-u", "-c"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = os.fdopen(number, "w" if number else "r", 1 if code else -1, closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    status: Any = 0
    try:
        if code:
            sys.argv = ["-c"]
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(options[2], sys.modules["__main__"].__dict__)
        else:
            sys.argv = options[1:]
            sys.path[0] = os.getcwd()
            runpy.run_module(options[1], run_name="__main__", alter_sys=True)
    except SystemExit as exits:
        status = exits.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # as an interpreter does at its end
    atexit._run_exitfuncs()
    for output in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            output.flush()
    return int(status) & 0xFF


def _importable(folders: list[str]) -> Iterator[str]:
    """Names of modules and packages that lie in folders."""
    from importlib.machinery import all_suffixes

    suffixes = tuple(all_suffixes())
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir() or entry.name.endswith(suffixes):
                    yield entry.name.partition(".")[0]


@contextlib.contextmanager
def nurseries() -> Iterator[None]:
    """Nurseries for both roles, for this process and all that it starts, until it ends."""
    import subprocess
    import tempfile

    from parity.side.settings import ENVIRONMENT

    if not hasattr(os, "fork") or WARM in os.environ:
        yield
        return
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="parity-warm-") as folder:
        settings = {"reference": ENVIRONMENT, "port": ENVIRONMENT, "command": {}}
        words = [sys.executable, "-P", os.path.abspath(__file__), "--serve"]
        running = [
            subprocess.Popen(
                [*words, os.path.join(folder, role), *map(json.dumps, (modules, settings[role]))],
                stdin=subprocess.PIPE,
                cwd=folder,
                env=environment,
            )
            for role, modules in IMPORTED.items()
        ]
        os.environ[WARM] = folder
        try:
            yield
        finally:
            del os.environ[WARM]
            for nursery in running:
                nursery.communicate()


def main(arguments: list[str]) -> int:
    """``--serve SOCKET MODULES SETTINGS``, or ``SOCKET OPTION ...`` in place of an interpreter."""
    if arguments[0] != "--serve":
        return stand_in(arguments[0], arguments[1:])
    Nursery(arguments[1], *map(json.loads, arguments[2:])).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
