"""From a SPEC on the command line to the object it names.

A SPEC is ``module:attribute`` or ``path/to/file.py[:attribute]``. Sides are only ever resolved in
the worker that runs them; the parent process resolves the pair, which imports no framework.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.errors import BadCall


class DoesNotImport(BadCall):
    """A SPEC that names nothing that can be imported; carries the user's traceback."""


def resolve(spec: str, default_attribute: str) -> Any:
    """The object that ``spec`` names.

    Raises:
        DoesNotImport: with the user's own traceback first, then one line that names the SPEC.
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
    except Exception as error:
        raise _does_not_import(spec, error) from error


def _from_file(spec: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise DoesNotImport(f"{path} does not exist (from SPEC {spec!r})")
    name = f"parity_spec_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _does_not_import(spec, error) from error
    return module


def _does_not_import(spec: str, error: Exception) -> DoesNotImport:
    frames = traceback.extract_tb(error.__traceback__)
    own = {__file__, importlib.__file__}
    users = [f for f in frames if f.filename not in own and "importlib" not in f.filename]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(users)]
    lines += traceback.format_exception_only(error)
    return DoesNotImport(
        f"{''.join(lines)}{spec!r} does not import: {type(error).__name__}: {error}"
    )
