"""Standard streams that are closed, full or no longer read: they never decide anything.

A process may be started with any of them closed (``2>&-``), and the next files that it opens then
get their numbers: a worker would take a pipe for its stderr. And what cannot be printed, because
the disk is full or the reader has gone (``| head -1``), is a pity and no verdict.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any

CLOSED = "it is closed"


def hold() -> None:
    """Open /dev/null where a descriptor of 0, 1 and 2 is closed, so that no other file gets it.

    Processes that are started from here on inherit three that can be used.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
            assert opened == descriptor
            os.set_inheritable(descriptor, True)


class Tolerant(io.FileIO):
    """A descriptor to write to, which never raises: what cannot be written is dropped.

    Attributes:
        trouble: why nothing can be written, in words; "" as far as is known.
        dropped: something was.
    """

    trouble = ""
    dropped = False

    def write(self, data: Any, /) -> int:
        """How many bytes were written, or dropped."""
        written: int | None = None
        while not self.trouble:
            try:
                written = super().write(data)
                if written is not None:
                    return written
                select.select([], [self.fileno()], [])  # it does not block, and has no room now
            except OSError as error:
                self.trouble = error.strerror or str(error)
        self.dropped = True
        return memoryview(data).nbytes


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """While a command runs: print where that is possible, and do as well where it is not.

    At the end one line on stderr says so if what was printed on stdout did not arrive. A stream
    that someone else has put in place, such as a test that reads it, is left alone.
    """
    before = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
    hold()
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  # for as long as the process
    out = _tolerant("stdout", 1)
    _tolerant("stderr", 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        if out is not None and out.dropped:
            print(f"parity: not all of it was printed on stdout: {out.trouble}", file=sys.stderr)
        sys.stderr.flush()
        for name, stream in before.items():
            setattr(sys, name, stream)


def _tolerant(name: str, descriptor: int) -> Tolerant | None:
    """Put a stream that tolerates everything in place of the process's own."""
    stream = getattr(sys, name)
    if stream is not getattr(sys, f"__{name}__"):
        return None
    raw = Tolerant(descriptor, "w", closefd=False)
    encoding, errors, lines = "utf-8", "strict", True
    if stream is None:
        raw.trouble = CLOSED
    else:
        stream.flush()
        encoding, errors, lines = stream.encoding, stream.errors, stream.line_buffering
    errors = "backslashreplace" if errors == "strict" else errors  # an encoding decides nothing
    buffer = io.BufferedWriter(raw)
    setattr(sys, name, io.TextIOWrapper(buffer, encoding, errors, line_buffering=lines))
    return raw
