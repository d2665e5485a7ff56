"""From a SPEC on the command line to the object it names.

A SPEC is ``module:attribute`` or ``path/to/file.py[:attribute]``. Sides are only ever resolved in
the worker that runs them; the parent process resolves the pair, which imports no framework.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.errors import BadCall, ParityError


class DoesNotImport(BadCall):
    """A SPEC that names nothing that can be imported; carries the user's traceback."""


class Raised(DoesNotImport):
    """What a SPEC names is there, and raises while it is imported.

    Of a declaration that is a wrong call, like any other SPEC that does not import; of a side it
    is that side's failure, which its worker knows (``parity.ask.worker``).

    Attributes:
        line: what it raised.
        frames: where, in the user's own files.
        file: the module's, or its name where it has none.
        lacking: the package that it asked for and that is not installed, if that is why.
    """

    line = frames = file = ""
    lacking: str | None = None


@contextlib.contextmanager
def declaration(part: str = "") -> Iterator[None]:
    """What runs here belongs to the pair, and to neither side: where it raises, the call is wrong.

    Args:
        part: what of the pair is called, such as "images"; "" where it is only imported.
    """
    try:
        yield
    except Raised as error:
        raise DoesNotImport(str(error)) from error
    except (Exception, SystemExit) as error:
        # Hypothesis rejects a draw with exceptions of its own.
        if not part or isinstance(error, ParityError) or "hypothesis" in type(error).__module__:
            raise
        wrong = BadCall(f"the pair's {part} raised {type(error).__name__}: {error}")
        wrong.add_note("".join(traceback.format_exception(error)))
        raise wrong from error


def resolve(spec: str, default_attribute: str) -> Any:
    """The object that ``spec`` names.

    Raises:
        DoesNotImport: one line that names the SPEC, and what is not there.
        Raised: with the user's own traceback first, then one line that names the SPEC.
    """
    if not isinstance(spec, str) or not spec.strip():
        raise BadCall(
            f"a SPEC is 'module:attribute' or 'path/to/file.py[:attribute]', got {spec!r}"
        )
    place, _, attribute = spec.rpartition(":") if ":" in spec else (spec, "", "")
    if place.endswith(".py") or (not attribute and spec.endswith(".py")):
        module = _from_file(spec, Path(place))
    elif attribute:
        module = _from_name(spec, place)
    else:
        raise BadCall(
            f"{spec!r} is not a SPEC: expected 'module:attribute' or 'path/to/file.py[:attribute]'"
        )
    found: Any = module
    for part in (attribute or default_attribute).split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = ", ".join(name for name in vars(module) if not name.startswith("_"))
            raise DoesNotImport(
                f"{place} has no attribute {attribute or default_attribute!r}; it has: {names}"
            ) from None
    return found


def entry(value: Any) -> Any:
    """A declaration's entry: callables as they are, ``"module:attribute"`` strings resolved."""
    return resolve(value, "") if isinstance(value, str) else value


def _from_name(spec: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # one that ends the process has not imported either
        raise _does_not_import(spec, _file_of(name), error) from error


def _file_of(name: str) -> str:
    """The file of a module that raised; the name where that cannot be said."""
    with contextlib.suppress(Exception):
        found = importlib.util.find_spec(name)
        return name if found is None or found.origin is None else found.origin
    return name


class _Fresh(importlib.machinery.SourceFileLoader):
    """Reads a file as it is now. Bytecode in ``__pycache__`` is told by second and size alone: an
    edit of the same length, made within the second, would be another program's answer."""

    def path_stats(self, path: Any) -> Any:
        raise OSError("its bytecode is not looked for")


def _from_file(spec: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise DoesNotImport(f"{path} does not exist (from SPEC {spec!r})")
    name = f"parity_spec_{path.stem}"
    loader = _Fresh(name, str(path))
    module_spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _does_not_import(spec, str(path.resolve()), error) from error
    return module


def _does_not_import(spec: str, file: str, error: BaseException) -> DoesNotImport:
    frames = traceback.extract_tb(error.__traceback__)
    own = {__file__, importlib.__file__}
    users = [f for f in frames if f.filename not in own and "importlib" not in f.filename]
    line = f"{spec!r} does not import: {type(error).__name__}: {error}"
    shown = ["Traceback (most recent call last):\n", *traceback.format_list(users)]
    shown += traceback.format_exception_only(error)
    text = "".join(shown)
    if isinstance(error, ModuleNotFoundError) and not users:
        return DoesNotImport(f"{text}{line}")  # nothing of the user's has run
    raised = Raised(f"{text}{line}")
    raised.line, raised.frames, raised.file = line, text, file
    raised.lacking = error.name if isinstance(error, ModuleNotFoundError) else None
    return raised
