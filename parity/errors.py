"""What can go wrong, by whose fault it is; the command line maps each to an exit status."""

from __future__ import annotations


class ParityError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
        hung: it is that of a side that did not answer in time.
        raised_in: of a side that raised while it was imported, the file that its SPEC names.
    """

    hung = False
    raised_in: str | None = None


class BadCall(ParityError):
    """The call, the configuration or an input is wrong (exit status 2)."""


class BadFile(BadCall):
    """A file is missing, cut short, altered or of another kind (exit status 2)."""


class ReferenceFailed(ParityError):
    """The reference raised, hung or died, which is never the port's fault (exit status 3)."""


class GoldenRefused(ReferenceFailed):
    """A golden is missing, altered, of a newer schema or stale (exit status 3)."""


class MissingPackage(ParityError):
    """A framework that a side needs is not installed (exit status 3)."""


class PortFailed(ParityError):
    """The port raised, hung or died: its checks are ``invalid`` (exit status 1)."""
