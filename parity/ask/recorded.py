"""A reference's answers, kept: one reference for many ports, or for a run that has none.

Everything asked of a side is a method and arguments that cross a pipe, so an answer can be kept
under what was asked and given again, and whoever asks need not know which it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from parity.ask.workers import Twins, Worker
from parity.errors import ReferenceFailed

OPEN = "open"
"""What the answer to opening the side is kept under."""


def key_of(method: str, arguments: Mapping[str, Any]) -> str:
    """What an answer is kept under: the method, and a digest of its arguments."""
    plain = json.dumps(dict(arguments), sort_keys=True, default=_digest)
    return f"{method}/{hashlib.sha256(plain.encode()).hexdigest()}"


def _digest(value: Any) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    raise TypeError(f"a {type(value).__name__} does not cross the pipe")


class Recorder:
    """A reference that runs, whose every answer is kept in ``answers``; otherwise as a Worker."""

    def __init__(self, worker: Worker | Twins) -> None:
        self.worker = worker
        self.answers: dict[str, Any] = {}
        self._pending = OPEN

    def ask(self, method: str, **arguments: Any) -> Any:
        self.send(method, **arguments)
        return self.receive()

    def send(self, method: str, **arguments: Any) -> None:
        self._pending = key_of(method, arguments)
        if self._pending not in self.answers:
            self.worker.send(method, **arguments)

    def receive(self) -> Any:
        if self._pending not in self.answers:
            self.answers[self._pending] = self.worker.receive()
        return self.answers[self._pending]

    def close(self) -> None:
        self.worker.close()


class Recorded:
    """A reference that is not here: it gives recorded answers, and none to anything else.

    Args:
        answers: as :class:`Recorder` keeps them.
        source: what messages call them.
    """

    def __init__(self, answers: Mapping[str, Any], source: str) -> None:
        self.answers, self.source = answers, source
        self.asked: set[str] = set()
        self._pending = OPEN

    def ask(self, method: str, **arguments: Any) -> Any:
        self.send(method, **arguments)
        return self.receive()

    def send(self, method: str, **arguments: Any) -> None:
        self._pending = key_of(method, arguments)

    def receive(self) -> Any:
        """The recorded answer.

        Raises:
            ReferenceFailed: none was recorded.
        """
        self.asked.add(self._pending)
        try:
            return self.answers[self._pending]
        except KeyError:
            method = self._pending.partition("/")[0]
            raise ReferenceFailed(
                f"{self.source} holds no answer to this {method!r}: it was recorded for other "
                "cases, weights or images"
            ) from None

    def close(self) -> None:
        """Nothing to end."""
