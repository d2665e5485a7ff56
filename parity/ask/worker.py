"""The loop that runs in a side's own process: one request at a time, until the channel closes."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from parity.declare import specs
from parity.errors import BadCall, MissingPackage, ParityError
from parity.side import opened
from parity.side.settings import INSTALL, missing


def serve(channel: Any) -> None:
    """Answer requests ``(method, arguments)`` with ``("ok", value)`` or ``("error", ...)``."""
    start = channel.receive()
    opened.watch()
    _redirect_last_words(start["last_words"])
    patience = 0.9 * start["timeout"]  # then it says where it is, before it is stopped
    for folder in reversed(start["path"]):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    handler: Any = None
    side: dict[str, Any] = {}
    overlaid: list[str] = []
    channel.send(("ok", None))
    for method, arguments in channel:
        if method != "open":
            faulthandler.dump_traceback_later(patience)
        try:
            if method == "open":
                from parity.ask.opening import open_side

                side = arguments
                with _much_is_made():
                    handler = open_side(**side)
                value = handler.describe()
            elif method == "overlay":
                from parity.ask.opening import open_side

                _overlay(arguments["folder"], overlaid)
                handler = open_side(**side)
                value = handler.describe()
            else:
                value = getattr(handler, method)(**arguments)
        except BaseException as error:
            faulthandler.cancel_dump_traceback_later()
            channel.send(("error", describe_error(error)))
        else:
            faulthandler.cancel_dump_traceback_later()
            channel.send(("ok", value))
    os._exit(0)  # there is nothing to save, and frameworks take most of a second to unload


@contextlib.contextmanager
def _much_is_made() -> Iterator[None]:
    """No garbage is looked for meanwhile, and the first time never among what is there at the end.

    A framework is half a million objects, none of them garbage: looking takes a fifth of an import.
    """
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # later ones would keep what earlier cases left
            gc.freeze()
        gc.enable()


def _overlay(folder: str | None, overlaid: list[str]) -> None:
    """Let the packages in ``folder`` be imported in place of others of their names.

    Args:
        folder: None for none.
        overlaid: the folder before, and after.
    """
    folders = [folder] if folder is not None else []
    packages = {
        entry.name for path in (*overlaid, *folders) for entry in _entries(path) if entry.is_dir()
    }
    for path in overlaid:
        sys.path.remove(path)
    overlaid[:] = folders
    sys.path[:0] = folders
    sys.path_importer_cache.clear()
    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            del sys.modules[name]


def _entries(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return list(entries)


def describe_error(error: BaseException) -> dict[str, str]:
    """What the parent needs to say of an exception: kind, message, and the user's traceback.

    What raises while it is imported has its ``file``, too.
    """
    if isinstance(error, specs.Raised):
        if error.lacking not in INSTALL:
            return _described("raised at import", error, error.line, error.frames, error.file)
        error = missing(error.lacking, error.file)
    kind = "raised"
    if isinstance(error, MissingPackage):
        kind = "missing"
    elif isinstance(error, BadCall):
        kind = "bad call"
    elif isinstance(error, ParityError):
        kind = "own words"
    return _described(kind, error, str(error), "".join(traceback.format_exception(error)))


def _described(
    kind: str, error: BaseException, message: str, frames: str, file: str = ""
) -> dict[str, str]:
    return {
        "kind": kind,
        "type": type(error).__name__,
        "message": message,
        "traceback": frames,
        "file": file,
    }


def _redirect_last_words(path: str) -> None:
    """Send stderr to a file, so that the parent can quote what a dying process said."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 2)
    if handle != 2:
        os.close(handle)


if __name__ == "__channelexec__":
    serve(channel)  # type: ignore[name-defined]  # noqa: F821  # execnet puts it there
