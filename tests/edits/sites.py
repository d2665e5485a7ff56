"""Where a program can be edited by one token or so, and what could stand there instead.

Written on the standard library's ``ast`` and ``tokenize``, whose positions are exact, so that an
edit is a span of the source and a text, and nothing else of the file moves.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import tokenize
from collections.abc import Iterator, Sequence

COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">", ">=")),
    ast.LtE: ("<=", ("<", ">", ">=")),
    ast.Gt: (">", (">=", "<", "<=")),
    ast.GtE: (">=", (">", "<", "<=")),
    ast.Eq: ("==", ("!=", ">=", "<=")),
    ast.NotEq: ("!=", ("==", ">", "<")),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}

OPERATORS: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-", "*")),
    ast.Sub: ("-", ("+", "*")),
    ast.Mult: ("*", ("/", "+", "-")),
    ast.Div: ("/", ("*", "//")),
    ast.FloorDiv: ("//", ("/", "*")),
    ast.Mod: ("%", ("//", "*")),
    ast.Pow: ("**", ("*", "/")),
}
"""An operator, and those that may stand in its place."""

INTEGERS = (ast.FloorDiv, ast.Mod)
"""Whose operands are counts: a whole number there is changed by whole numbers."""

ATTRIBUTES = {
    "enable_grad": "no_grad",
    "erfc": "erf",
    "mean": "sum",
    "no_grad": "enable_grad",
    "randn_like": "rand_like",
    "rand": "randn",
    "sqrt": "square",
    "square": "abs",
    "sum": "mean",
    "zeros_": "ones_",
    "zeros_like": "ones_like",
}
"""Functions of a framework that another one is easily taken for."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """A change of one place of a file.

    Attributes:
        file: relative to the project.
        kind: constant, operator, comparison, boolean, argument, string or name.
        start, end: the characters that are replaced, counted from the start of the file.
        new: what is put there.
        line: the first line that changes, from 1.
        before, after: the changed lines, without what surrounds and indents them. With ``file``
            and ``nth`` they say which edit it is, wherever in the file the line has moved to.
        scope: the function it is in, by its qualified name; empty outside any.
        nth: of the edits of this file that read alike.
    """

    file: str
    kind: str
    start: int
    end: int
    new: str
    line: int
    before: str
    after: str
    scope: str = ""
    nth: int = 0

    @property
    def name(self) -> str:
        """What it is known by in lists."""
        again = f" ({self.nth + 1})" if self.nth else ""
        return f"{self.file}: {self.before} -> {self.after}{again}"

    def applied(self, source: str) -> str:
        """The file's text with the edit in it."""
        return source[: self.start] + self.new + source[self.end :]


def digest(*parts: object) -> float:
    """A number in [0, 1) that only these parts decide, the same on every machine."""
    data = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(data[:6], "big") / 2.0**48


def sites(file: str, source: str, seed: int) -> list[list[Edit]]:
    """For each place of a program what could stand there instead, in an order that the seed drew.

    Some of it is no Python, or the same program: :func:`is_another_program` tells.

    Left out is what is no program: docstrings, annotations, stubs of overloads, imports,
    decorators, and what ``raise`` says.

    Args:
        file: the name that edits give it.
        source: ASCII.

    Raises:
        ValueError: the source holds other characters, whose columns ``ast`` counts in bytes.
    """
    if not source.isascii():
        raise ValueError(f"{file} is not ASCII: positions would be wrong")
    finder = _Finder(source, file, seed)
    finder.visit(ast.parse(source))
    finder.finish()
    seen: dict[tuple[str, str], int] = {}
    found = []
    for kind, start, end, texts, scope in sorted(finder.found, key=lambda site: site[1:3]):
        edits = []
        for text in texts:
            edit = _edit(file, source, kind, start, end, text, scope)
            nth = seen.setdefault((edit.before, edit.after), 0)
            seen[edit.before, edit.after] += 1
            edits.append(dataclasses.replace(edit, nth=nth))
        found.append(sorted(edits, key=lambda edit: digest(seed, edit.name)))
    return [place for place in found if place]


def _edit(file: str, source: str, kind: str, start: int, end: int, text: str, scope: str) -> Edit:
    first, last = source.rfind("\n", 0, start) + 1, source.find("\n", end)
    before, after = source[first:last], source[first:start] + text + source[end:last]
    line = source.count("\n", 0, start) + 1
    return Edit(file, kind, start, end, text, line, _flat(before), _flat(after), scope)


def is_another_program(edit: Edit, source: str) -> bool:
    """Whether the file is still Python with the edit in it, and not the same but for its layout."""
    with contextlib.suppress(SyntaxError):
        return ast.dump(ast.parse(edit.applied(source))) != _dump(source)
    return False


@functools.lru_cache(maxsize=16)
def _dump(source: str) -> str:
    return ast.dump(ast.parse(source))


def _flat(text: str) -> str:
    return " ".join(text.split())


class _Finder(ast.NodeVisitor):
    """Collects (kind, start, end, texts that may stand there)."""

    def __init__(self, source: str, file: str, seed: int) -> None:
        self.source, self.file, self.seed = source, file, seed
        self.found: list[tuple[str, int, int, list[str], str]] = []
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._tokens = [
            (self._starts[token.start[0] - 1] + token.start[1], token.string)
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type in (tokenize.OP, tokenize.NAME)
        ]
        self._locals: list[str] = []
        self._scope: list[str] = []
        self._strings: list[tuple[int, int, str, str]] = []
        self._counts = False

    def _span(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.expr | ast.keyword) -> str:
        start, end = self._span(node)
        return self.source[start:end]

    def _add(self, kind: str, start: int, end: int, texts: Sequence[str]) -> None:
        self.found.append((kind, start, end, list(texts), ".".join(self._scope)))

    # What is no program.

    def _nothing(self, node: ast.AST) -> None:
        """Neither this nor anything in it is edited."""

    visit_Raise = visit_Import = visit_ImportFrom = _nothing

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring, or the ... of a stub
            self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if any(isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list):
            return
        self._scope.append(node.name)
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self.visit(default)
        before, self._locals = self._locals, _names_of(node)
        for statement in node.body:
            self.visit(statement)
        self._locals = before
        self._scope.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._scope.append(node.name)
        for statement in node.body:
            self.visit(statement)
        self._scope.pop()

    # Constants.

    def visit_Constant(self, node: ast.Constant) -> None:
        start, end = self._span(node)
        if isinstance(node.value, bool):
            self._add("boolean", start, end, [str(not node.value)])
        elif isinstance(node.value, int | float):
            self._add("constant", start, end, self._other_numbers(node.value, start))
        elif isinstance(node.value, str):
            self._strings.append((start, end, node.value, ".".join(self._scope)))

    def finish(self) -> None:
        """Add the strings, each of which may become another one of the file."""
        for start, end, value, scope in self._strings:
            others = sorted({other for _, _, other, _ in self._strings} - {value})
            some = int(digest(self.seed, self.file, self._line(start), value) * len(others))
            texts = [value + "_", *others[some : some + 1]]
            self.found.append(("string", start, end, [json.dumps(t) for t in texts], scope))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        # What stands in its braces has no exact position before Python 3.12.
        start, _ = self._span(node)
        if self.source[start : start + 2] == 'f"':
            self._add("string", start, start + 2, ['f"x'])

    def _other_numbers(self, value: float, start: int) -> list[str]:
        """Numbers that are off by a millionth to the whole of it; of a whole one, also by one."""
        where = (self.seed, self.file, self._line(start), value)
        texts = [str(2 * value)]
        if isinstance(value, int):
            texts += [str(value + 1), str(value - 1)]
        if isinstance(value, float) or not self._counts:
            for low, high in ((-6, -3), (-3, 0)):
                size = 10 ** (low + digest(*where, low) * (high - low))
                sign = 1 if digest(*where, low, "sign") < 0.5 else -1
                changed = value * (1 + sign * size) if value else sign * size
                texts.append(repr(float(f"{changed:.9g}")))
        return [text for text in dict.fromkeys(texts) if float(text) != value]

    # Operators and comparisons.

    def visit_BinOp(self, node: ast.BinOp) -> None:
        text, others = OPERATORS[type(node.op)]
        self._operator(
            "operator", text, others, self._span(node.left)[1], self._span(node.right)[0]
        )
        before, self._counts = self._counts, isinstance(node.op, INTEGERS)
        self.visit(node.left)
        self.visit(node.right)
        self._counts = before

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        text, others = OPERATORS[type(node.op)]
        left, right = self._span(node.target)[1], self._span(node.value)[0]
        self._operator("operator", f"{text}=", [f"{o}=" for o in others], left, right)
        self.visit(node.value)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        start, end = self._span(node)[0], self._span(node.operand)[0]
        kind = "boolean" if isinstance(node.op, ast.Not) else "operator"
        text = self.source[start:end]
        self._add(kind, start, start + len(text.rstrip("(")), [""])
        self.visit(node.operand)

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
            text, others = COMPARISONS[type(op)]
            self._operator("comparison", text, others, self._span(left)[1], self._span(right)[0])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        text, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._operator("boolean", text, [other], self._span(left)[1], self._span(right)[0])
        self.generic_visit(node)

    def _operator(
        self, kind: str, text: str, others: Sequence[str], after: int, before: int
    ) -> None:
        """The operator that stands between two characters; brackets and comments may too."""
        words = text.split()
        between = [(at, word) for at, word in self._tokens if after <= at < before]
        (first,) = [at for at, word in between if word == words[0]]
        last = max(at + len(word) for at, word in between if word in words)
        self._add(kind, first, last, others)

    # Arguments and what stands in brackets.

    def visit_Call(self, node: ast.Call) -> None:
        given = sorted([*node.args, *node.keywords], key=self._span)
        for number, argument in enumerate(given):
            if len(given) == 1 and isinstance(argument, ast.GeneratorExp):
                continue  # its brackets are those of the call
            start, end = self._span(argument)
            if number + 1 < len(given):
                end = self._span(given[number + 1])[0]
            elif number > 0:
                start = self._span(given[number - 1])[1]
            self._add("argument", start, end, [""])
        self._swap(node.args)
        if not isinstance(node.func, ast.Name):
            self.visit(node.func)
        for argument in given:
            self.visit(argument)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        if isinstance(node.ctx, ast.Load):
            self._swap(node.elts)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        before, self._counts = self._counts, True
        self.visit(node.slice)
        self._counts = before

    def _swap(self, nodes: Sequence[ast.expr]) -> None:
        for left, right in itertools.pairwise(nodes):
            (start, middle), (other, end) = self._span(left), self._span(right)
            swapped = self._text(right) + self.source[middle:other] + self._text(left)
            self._add("argument", start, end, [swapped])

    # Names.

    def visit_Name(self, node: ast.Name) -> None:
        others = [name for name in self._locals if name != node.id]
        if isinstance(node.ctx, ast.Load) and node.id in self._locals and others:
            start, end = self._span(node)
            some = int(digest(self.seed, self.file, self._line(start), node.id) * len(others))
            self._add("name", start, end, [others[some]])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        if node.attr in ATTRIBUTES:
            _, end = self._span(node)
            self._add("name", end - len(node.attr), end, [ATTRIBUTES[node.attr]])

    def _line(self, at: int) -> str:
        first = self.source.rfind("\n", 0, at) + 1
        return self.source[first : self.source.find("\n", at)].strip()


def _names_of(function: ast.FunctionDef) -> list[str]:
    """Its arguments and what it assigns, but for ``self``."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    names = {argument.arg for argument in arguments}
    names |= {node.id for node in _own(function) if isinstance(node.ctx, ast.Store)}
    return sorted(names - {"self", "_"})


def _own(node: ast.AST) -> Iterator[ast.Name]:
    """The names in it that are its own, not those of functions and comprehensions in it."""
    others = (
        ast.FunctionDef,
        ast.Lambda,
        ast.GeneratorExp,
        ast.ListComp,
        ast.DictComp,
        ast.SetComp,
    )
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Name):
            yield child
        if not isinstance(child, others):
            yield from _own(child)
