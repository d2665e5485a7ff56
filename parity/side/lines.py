"""Which statements of a port never ran, found by marks that are compiled in with them.

A tracer of lines sees every call that Python makes, those of torch and of the harness too: that of
coverage 7.17 adds 40 % to the time of a port's process on Python 3.11. Here only the project's own
files are marked, when they are imported, as pytest rewrites asserts: before each statement, and in
each lambda and each branch of a conditional expression, a number is added to a set. What is
computed, and its lines in a traceback, stay as they are.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import dataclasses
import inspect
import itertools
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from parity.declare import specs
from parity.declare.declarations import ENTRIES, Call, Pair, Side
from parity.errors import BadCall
from parity.values.frames import PACKAGE

MARK = "__parity_ran__"
"""The name by which marked programs find the set's ``add``, among Python's builtins."""

INSTALLED = {"site-packages", "dist-packages"}


@dataclasses.dataclass(frozen=True, order=True)
class Lines:
    """Lines of a file, the first and the last."""

    file: str
    first: int
    last: int

    def __str__(self) -> str:
        last = "" if self.last == self.first else f"-{self.last}"
        return f"{self.file}:{self.first}{last}"


class Marking:
    """Marks the files of a project that are imported from now on.

    Args:
        root: the project's folder; files elsewhere, installed ones and parity's own are left alone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.marked: dict[Path, list[int]] = {}
        """Each file and its marks, in order of where they stand."""
        self._places: list[tuple[int, int]] = []
        self._ran: set[int] = set()
        setattr(builtins, MARK, self._ran.add)
        loaders: Any = SourceFileLoader
        compiled = loaders.get_code

        def get_code(loader: SourceFileLoader, fullname: str) -> Any:
            path = Path(loader.path).resolve()
            code = self._compiled(loader, path) if self._is_projects(path) else None
            return compiled(loader, fullname) if code is None else code

        loaders.get_code = get_code

    def never_ran(
        self, files: Iterable[Path], without: Sequence[tuple[Path, int, int]] = ()
    ) -> list[Lines]:
        """The lines of the marked ones among ``files`` that never ran, put together where nothing
        that ran lies between.

        Args:
            without: stretches of files that nobody expects to run.
        """
        found = []
        for path in files:
            name = path.relative_to(self.root).as_posix()
            left_out = [range(first, last + 1) for file, first, last in without if file == path]
            marks = sorted(
                (
                    mark
                    for mark in self.marked.get(path, ())
                    if not any(self._places[mark][0] in lines for lines in left_out)
                ),
                key=self._places.__getitem__,
            )
            for ran, together in itertools.groupby(marks, self._ran.__contains__):
                if not ran:
                    places = [self._places[mark] for mark in together]
                    found.append(Lines(name, places[0][0], max(last for _, last in places)))
        return sorted(found)

    def _is_projects(self, path: Path) -> bool:
        inside = path.is_relative_to(self.root) and not path.is_relative_to(PACKAGE.resolve())
        return inside and not INSTALLED.intersection(path.parts)

    def _compiled(self, loader: SourceFileLoader, path: Path) -> CodeType | None:
        """The file's code with marks; None if it has none, which Python itself will say better."""
        try:
            tree = ast.parse(loader.get_data(loader.path), loader.path)
        except (OSError, SyntaxError, ValueError):
            return None
        self.marked[path] = []
        tree = _Marker(self, path).visit(tree)
        code: CodeType = compile(tree, loader.path, "exec", dont_inherit=True)
        return code

    def place(self, path: Path, node: ast.stmt | ast.expr) -> int:
        """A new mark for a statement or an expression."""
        self._places.append((node.lineno, node.end_lineno or node.lineno))
        self.marked[path].append(len(self._places) - 1)
        return len(self._places) - 1


class _Marker(ast.NodeTransformer):
    def __init__(self, marking: Marking, path: Path) -> None:
        self.marking, self.path = marking, path

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns"):
                continue  # may be kept as text, and would be another
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                setattr(node, field, self._body(value))
            elif isinstance(value, list):
                parts = [self.visit(v) if isinstance(v, ast.AST) else v for v in value]
                setattr(node, field, parts)
            elif isinstance(value, ast.AST):
                setattr(node, field, self.visit(value))
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.orelse = self._body(node.orelse)
            return node  # nobody expects its body to run
        return self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self.generic_visit(node)
        node.body = self._marked(node.body)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        node.body, node.orelse = self._marked(node.body), self._marked(node.orelse)
        return node

    def _body(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for statement in statements:
            if not _is_no_code(statement):
                mark = ast.Expr(self._mark(statement))
                found.append(ast.fix_missing_locations(ast.copy_location(mark, statement)))
            found.append(self.visit(statement))
        return found

    def _marked(self, node: ast.expr) -> ast.expr:
        """``node`` after its mark, which is None: ``mark(7) or node``."""
        both = ast.BoolOp(ast.Or(), [self._mark(node), node])
        return ast.fix_missing_locations(ast.copy_location(both, node))

    def _mark(self, node: ast.stmt | ast.expr) -> ast.expr:
        number = ast.Constant(self.marking.place(self.path, node))
        call = ast.Call(ast.Name(MARK, ast.Load()), [number], [])
        return ast.fix_missing_locations(ast.copy_location(call, node))


def _is_no_code(statement: ast.stmt) -> bool:
    """Docstrings, declarations of names, and imports from ``__future__``, which come first."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return True
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    return isinstance(statement, ast.Global | ast.Nonlocal)


def files_of(pair: Pair, side: Side, declared: Iterable[Path], marking: Marking) -> list[Path]:
    """The marked files that belong to a side: those of its entries, of what these use, and all that
    were imported for it.

    Not the declaration of the pair, unless it has an entry of the side's, nor what both sides
    share: settings, images, architectures.

    Args:
        declared: the files that were marked when the pair had been declared, and no side opened.
    """
    shared = (pair.settings, pair.images, pair.architectures, pair.trainings, pair.fixed_trainings)
    apart = {_file(module) for module in map(_module, shared) if module is not None}
    apart |= {_file(m) for m in list(sys.modules.values()) if any(v is pair for v in _values(m))}
    modules = [m for name in ENTRIES if (m := _module(getattr(side, name))) is not None]
    found = dict.fromkeys(_file(module) for module in modules)
    found |= dict.fromkeys(f for f in marking.marked if f not in {*declared, *apart})
    while modules:
        for value in _values(modules.pop()):
            name = getattr(value, "__module__", None)
            used = value if isinstance(value, ModuleType) else sys.modules.get(str(name))
            if used is not None and _file(used) in marking.marked.keys() - {*found, *apart}:
                found[_file(used)] = None
                modules.append(used)
    return [file for file in found if file in marking.marked]


def defined_by(side: Side) -> list[tuple[Path, int, int]]:
    """Where the side's entries are defined, as far as their modules are imported: in a file that
    holds both sides, no lines of the other's."""
    found = []
    for name in ENTRIES:
        entry = getattr(side, name)
        function: Any = entry.function if isinstance(entry, Call) else entry
        if isinstance(function, str):
            module, _, attribute = function.partition(":")
            function = getattr(sys.modules.get(module), attribute, None)
        with contextlib.suppress(OSError, TypeError):
            lines, first = inspect.getsourcelines(function)
            path = Path(inspect.getsourcefile(function) or "/").resolve()
            found.append((path, first, first + len(lines) - 1))
    return found


def _module(entry: Any) -> ModuleType | None:
    """The module that defines an entry."""
    function = entry.function if isinstance(entry, Call) else entry
    if function is None:
        return None
    try:
        return sys.modules.get(specs.entry(function).__module__)
    except (AttributeError, BadCall):
        return None


def _file(module: ModuleType) -> Path:
    return Path(getattr(module, "__file__", None) or "/").resolve()


def _values(module: ModuleType) -> list[Any]:
    return list(getattr(module, "__dict__", {}).values())
