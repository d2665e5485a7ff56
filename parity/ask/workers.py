"""Each side in a process of its own, seen from the parent.

TensorFlow and CUDA builds of PyTorch crash each other when they share a process (tensorflow issue
124205, pytorch issue 93884), and a side that hangs or dies must not take the verdict with it.
Workers are execnet gateways, the engine under pytest-xdist.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import execnet

from parity.ask import streams, warm
from parity.ask.worker import describe_error
from parity.errors import BadCall, MissingPackage, ParityError, PortFailed, ReferenceFailed
from parity.side.settings import ENVIRONMENT
from parity.values.frames import place_in
from parity.values.traces import PRECISIONS, Trace

DEFAULT_TIMEOUT = 120.0

OPENING = 120.0
"""Seconds a side has at least to be imported, its framework first: no port's fault."""


class Worker:
    """A side that can be asked things.

    Args:
        role: "reference" or "port"; decides whose fault a failure is.
        pair: SPEC of the pair; None for a program that no pair declares.
        spec: SPEC of a declaration that replaces the pair's own, or of the program.
        inputs: what was said of such a program's inputs.
        timeout: seconds after which an unanswered request counts as hung.
        python: interpreter of another environment; this one by default.
        mark: the project's folder, if it is to be found out which of its lines never run.
    """

    def __init__(
        self,
        role: str,
        pair: str | None,
        spec: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        python: str | None = None,
        inputs: Sequence[Mapping[str, Any]] | None = None,
        mark: Path | None = None,
    ) -> None:
        self.role, self.pair, self.spec = role, pair, spec
        self.timeout = timeout
        self._python = shlex.join([python] if python else warm.interpreter(role))
        self._pending: str | None = None
        self._dead: ParityError | None = None
        self._start()
        more: dict[str, Any] = {} if mark is None else {"mark": str(mark)}
        more |= {} if inputs is None else {"inputs": list(inputs)}
        self.send("open", pair=pair, role=role, spec=spec, **more)

    def _start(self) -> None:
        streams.hold()  # nor may the files below get the descriptor of a stream that is closed
        handle, self._last_words = tempfile.mkstemp(prefix="parity-worker-", suffix=".log")
        os.close(handle)
        settings = "//".join(f"env:{name}={value}" for name, value in ENVIRONMENT.items())
        self._group = execnet.Group()
        self._gateway = self._group.makegateway(f"popen//python={self._python}//{settings}")
        import parity.ask.worker

        self._channel = self._gateway.remote_exec(parity.ask.worker)
        path = [str(Path.cwd()), *(folder for folder in sys.path if folder)]
        start = {"last_words": self._last_words, "path": path, "timeout": self.timeout}
        self._channel.send(start)
        self._pending = "start"
        self.receive()

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._dead is None

    def ask(self, method: str, **arguments: Any) -> Any:
        """Send a request and wait for its answer."""
        self.send(method, **arguments)
        return self.receive()

    def send(self, method: str, **arguments: Any) -> None:
        """Send a request; the answer is taken with :meth:`receive`, so that both sides can work."""
        if self._dead is not None:
            raise self._dead
        if self._pending is not None:
            raise RuntimeError(f"the {self.role} has not answered {self._pending!r} yet")
        try:
            self._channel.send((method, arguments))
        except OSError as error:
            raise self._died() from error
        self._pending = method

    def receive(self) -> Any:
        """The answer to the last request.

        Raises:
            PortFailed, ReferenceFailed: it raised, hung or died, by role, with its last words.
            BadCall: what it was given is wrong.
            MissingPackage: its framework is not installed.
        """
        method, self._pending = self._pending, None
        patience = max(self.timeout, OPENING) if method == "open" else self.timeout
        try:
            status, value = self._channel.receive(timeout=patience)
        except self._channel.TimeoutError:
            self._dead = self._hung(method, patience)
            self.close()
            raise self._dead from None
        except (EOFError, self._channel.RemoteError, OSError) as error:
            raise self._died() from error
        if status == "ok":
            return value
        raise told(self.role, value)

    def close(self) -> None:
        """End the process, however it is."""
        self._dead = self._dead or self._failed(f"the {self.role}'s worker is closed")
        self._group.terminate(timeout=1.0)
        with contextlib.suppress(OSError):
            os.unlink(self._last_words)

    def _hung(self, method: str | None, patience: float) -> ParityError:
        message = f"the {self.role} did not answer {method!r} within {patience:g} s: stopped"
        place, frames = last_frame(self._words())
        if place is not None:
            message += f"; it was at {place}"
        error = self._failed(message, frames)
        error.hung = True
        return error

    def _words(self) -> str:
        with contextlib.suppress(OSError):
            return Path(self._last_words).read_text(errors="replace").strip()
        return ""

    def _died(self) -> ParityError:
        last = "\n".join(self._words().splitlines()[-12:])
        self._dead = self._failed(
            f"the {self.role}'s process died" + (f"; its last words:\n{last}" if last else "")
        )
        self.close()
        return self._dead

    def _failed(self, message: str, traceback: str = "") -> ParityError:
        return failed(self.role, message, traceback)


def failed(role: str, message: str, traceback: str = "") -> ParityError:
    """A side's failure, by whose it is."""
    error = PortFailed(message) if role == "port" else ReferenceFailed(message)
    error.add_note(traceback)
    return error


def told(role: str, value: Mapping[str, str]) -> ParityError:
    """The error that :func:`parity.ask.worker.describe_error` described, by whose fault it is."""
    kind, message = value["kind"], value["message"]
    if kind == "bad call":
        return BadCall(message)
    if kind == "missing":
        return MissingPackage(message)
    if kind == "own words":
        return failed(role, message)
    if kind == "raised at import":
        error = failed(role, f"the {role} failed: {message}", value["traceback"])
        error.raised_in = value["file"]
        return error
    return failed(role, f"the {role} raised {value['type']}: {message}", value["traceback"])


def last_frame(dump: str) -> tuple[str | None, str]:
    """Of what faulthandler has dumped: the user's innermost line, and all frames, innermost last.

    https://docs.python.org/3/library/faulthandler.html
    """
    for thread in dump.rpartition("Timeout (")[2].split("\n\n"):
        frames, worker, _ = thread.partition("parity/ask/worker.py")
        if worker:
            lines = [line for line in reversed(frames.splitlines()) if line.startswith("  File ")]
            own = "\n".join(lines[1:])  # without that of the worker, cut short
            return place_in(own), own
    return None, ""


class Twins:
    """A reference in two processes, one for each precision; otherwise as a :class:`Worker`.

    What floors cost is the reference run over and over, and the two precisions have nothing to
    say to each other: on two cores the wait is half as long.
    """

    def __init__(self, first: Worker, second: Worker) -> None:
        self.first, self.second = first, second
        self._opening, self._split = True, False

    def ask(self, method: str, **arguments: Any) -> Any:
        """Send a request and wait for its answer."""
        self.send(method, **arguments)
        return self.receive()

    def send(self, method: str, **arguments: Any) -> None:
        """Send a request: to both if it asks for floors in both precisions."""
        self._split = method in ("network", "samples", "training") and "copies" in arguments
        if not self._split:
            self.first.send(method, **arguments)
            return
        for worker, precision in zip((self.first, self.second), PRECISIONS, strict=True):
            worker.send(method, precisions=[precision], **arguments)

    def receive(self) -> Any:
        """The answer to the last request; traces of the two precisions are put together."""
        if self._opening:
            self._opening = False
            self.second.receive()
            return self.first.receive()
        if not self._split:
            return self.first.receive()
        try:
            first = Trace.from_bytes(self.first.receive(), "the reference")
        finally:
            answer = self.second.receive()
        return first.joined(Trace.from_bytes(answer, "the reference")).to_bytes()

    def close(self) -> None:
        """End both processes."""
        self.first.close()
        self.second.close()


class InProcess:
    """The port in this very process, for a debugger; otherwise as :class:`Worker`."""

    def __init__(self, role: str, pair: str, spec: str | None = None) -> None:
        from parity.ask.opening import open_side

        self.role = role
        self._requests: Any = None
        self._answer: Any = None

        def opened() -> Any:
            self._requests = open_side(pair, role, spec)
            return self._requests.describe()

        self._try(opened)

    def ask(self, method: str, **arguments: Any) -> Any:
        self.send(method, **arguments)
        return self.receive()

    def send(self, method: str, **arguments: Any) -> None:
        self._try(lambda: getattr(self._requests, method)(**arguments))

    def _try(self, asked: Callable[[], Any]) -> None:
        """Keep the answer, or the error that a process of its own would have told."""
        try:
            self._answer = asked()
        except (Exception, SystemExit) as error:
            self._answer = told(self.role, describe_error(error))
            self._answer.__cause__ = error

    def receive(self) -> Any:
        answer, self._answer = self._answer, None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Nothing to end."""
