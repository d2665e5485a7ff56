"""Edits by machine: what is drawn, that the judge can fail, and that the committed list holds.

``make edits`` judges all of them; here some are, and the list is held against the port as it is.
"""

from __future__ import annotations

import ast
import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edits import __main__ as command
from tests.edits import results
from tests.edits.draw import COUNT, SHARES, drawn
from tests.edits.judge import ROOT, TESTED, Judge, Judged
from tests.edits.sites import Edit, sites

PROGRAM = '''
"""A docstring is no program."""

from typing import overload

@overload
def scaled(x: int, by: int = 3) -> int: ...

def scaled(x: float, by: float = 2.5) -> "float":
    """Neither is 1 + 1 here."""
    if not 0 <= x or by == 0:
        raise ValueError(f"x must be at least {0 + 0}, got " + "less")
    y: "float" = max(x, -by, key=abs)
    return y ** 2 if by else (x
        * 3)  # 4 + 4
'''


def edits_of(source: str, kind: str) -> set[tuple[str, str]]:
    found = [edit for place in sites("program.py", source, 0) for edit in place]
    return {(source[e.start : e.end], e.new) for e in found if e.kind == kind}


def test_what_is_edited_and_what_stands_there_instead() -> None:
    assert edits_of(PROGRAM, "comparison") == {
        ("<=", "<"), ("<=", ">"), ("<=", ">="), ("==", "!="), ("==", ">="), ("==", "<=")
    }  # fmt: skip
    assert edits_of(PROGRAM, "boolean") == {("not ", ""), ("or", "and")}
    assert edits_of(PROGRAM, "operator") == {
        ("-", ""), ("**", "*"), ("**", "/"), ("*", "/"), ("*", "+"), ("*", "-")
    }  # fmt: skip
    assert {
        ("x, ", ""), (", key=abs", ""), ("-by, ", ""), ("x, -by", "-by, x")
    } == edits_of(PROGRAM, "argument")  # fmt: skip
    assert {old for old, _ in edits_of(PROGRAM, "name")} == {"x", "by", "y"}
    assert edits_of(PROGRAM, "string") == set(), "those of annotations and messages are not edited"


def test_constants_change_by_a_millionth_to_twice_or_by_one() -> None:
    of = {float(new) / 2.5 for old, new in edits_of(PROGRAM, "constant") if old == "2.5"}
    small, large = sorted(abs(factor - 1) for factor in of if factor != 2)
    assert 1e-6 <= small <= 1e-3 <= large <= 1
    assert 2.0 in of
    whole = {new for old, new in edits_of("x = y[3]\n", "constant") if old == "3"}
    assert whole == {"2", "4", "6"}, "an index stays a whole number"


def test_every_edit_of_the_port_is_another_program_in_one_place() -> None:
    found = drawn(ROOT)
    assert len(found) == COUNT == len({edit.name for edit in found}) == 300
    assert Counter(edit.kind for edit in found) == SHARES
    for edit in found:
        source = (ROOT / edit.file).read_text()
        text = edit.applied(source)
        assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(source)), edit.name
        assert text[: edit.start] == source[: edit.start]
        assert text.endswith(source[edit.end :])


def test_the_draw_is_the_seeds_and_moves_little_when_a_line_is_added(tmp_path: Path) -> None:
    assert drawn(ROOT) == drawn(ROOT)
    assert drawn(ROOT, seed=1) != drawn(ROOT)
    shutil.copytree(ROOT / "port_torch", tmp_path / "port_torch")
    file = tmp_path / "port_torch/langevin.py"
    file.write_text(file.read_text() + "\n\nMORE = 1.5\n")
    names = {edit.name for edit in drawn(ROOT)}
    assert len(names - {edit.name for edit in drawn(tmp_path)}) <= 3


# The list that is committed.


def test_the_committed_list_is_of_the_port_as_it_is() -> None:
    found = results.committed(drawn(ROOT))
    assert results.PAGE.read_text() == results.to_markdown(found, results.reasons())


def test_every_survivor_has_a_reason_and_every_reason_a_survivor() -> None:
    survivors = {each.edit.name for each in results.committed(drawn(ROOT)) if each.survived}
    assert survivors == set(results.reasons())


def test_a_stale_list_is_refused_and_says_what_to_do() -> None:
    other = dataclasses.replace(drawn(ROOT)[0], before="x = 2")
    with pytest.raises(ValueError, match=r"2 edits are not what the port .* run make edits"):
        results.committed([other, *drawn(ROOT)[1:]])


# The judge.


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as opened:
        yield opened


def edit_of(file: str, old: str, new: str) -> Edit:
    source = (ROOT / file).read_text()
    assert source.count(old) == 1
    start = source.index(old)
    return Edit(file, "constant", start, start + len(old), new, 1, old, new)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("file", "old", "new", "red"),
    [
        ("energy_model.py", "max((out - 1)", "max(2 * (out - 1)", "energies: invalid"),
        ("langevin.py", "scores.sum()", "scores.mean()", "samples_teacher_forced: divergent"),
        ("images.py", "/ 127.5", "/ 127.50013", "preprocessing: divergent"),
        ("training.py", "import torch\n", "import torch, no_such_module\n", "import"),
        (
            "checkpoint.py",
            "(2, 3, 1, 0)",
            "(3, 2, 1, 0)",
            "test_every_element_is_where_the_reference_has_it",
        ),
    ],
)
def test_a_wrong_edit_is_red(judge: Judge, file: str, old: str, new: str, red: str) -> None:
    assert judge.judge(edit_of(f"port_torch/{file}", old, new)).red == red


@pytest.mark.few(0)
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("langevin.py", "step_size * gradients", "gradients * step_size"),
        ("checkpoint.py", "(0,))\n    return array", "(1 - 1,))\n    return array"),
    ],
)
def test_the_same_program_survives(judge: Judge, file: str, old: str, new: str) -> None:
    assert judge.judge(edit_of(f"port_torch/{file}", old, new)).survived


@pytest.mark.few(0)
def test_some_of_the_committed_list_are_what_it_says(judge: Judge) -> None:
    """Of the golden's, every fortieth; what is not the same here was never judged, or is stale."""
    listed = [each for each in results.committed(drawn(ROOT)) if each.edit.file not in TESTED]
    survivors = [each for each in listed if each.survived]
    for each in (*listed[::50], *survivors[:1]):
        assert judge.judge(each.edit) == each, each.edit.name


# The command.


def run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, alive: set[str], why: dict[str, str]
) -> tuple[int, list[str]]:
    """The command on six edits, of which those named survive; its status, and what was judged."""
    asked: list[str] = []

    def judged(edits: list[Edit], jobs: int) -> Iterator[Judged]:
        for edit in edits:
            asked.append(edit.name)
            yield Judged(edit, "" if edit.name in alive else "energies: divergent")

    monkeypatch.setattr(command, "drawn", lambda root: drawn(root)[::50])
    monkeypatch.setattr(command, "judged", judged)
    monkeypatch.setattr(results, "reasons", lambda: why)
    for name in ("RESULTS", "PAGE"):
        monkeypatch.setattr(results, name, folder / name)
    kept = results.Kept
    monkeypatch.setattr(results, "Kept", lambda: kept(folder / "unfinished"))
    monkeypatch.setattr("sys.argv", ["edits"])
    return command.main(), asked


def test_the_command_fails_on_a_survivor_without_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = drawn(ROOT)[50].name
    with monkeypatch.context() as patch:
        status, asked = run(patch, tmp_path, {name}, {})
    told = capsys.readouterr().out
    assert status == 1
    assert len(asked) == 6
    assert f"survived, and no reason given: line {drawn(ROOT)[50].line} of {name}" in told
    assert "6 edits: 5 red, 0 of them hung; 1 survived: 0 with a reason, 1 without" in told
    assert "**no reason is given**" in (tmp_path / "PAGE").read_text()
    with monkeypatch.context() as patch:
        status, asked = run(patch, tmp_path, {name}, {name: "it is the same"})
    assert (status, asked) == (0, []), "what is judged already is not judged again"


def test_the_command_fails_on_a_reason_that_nothing_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = run(monkeypatch, tmp_path, set(), {"gone.py: x -> y": "it was the same"})
    assert status == 1
    assert "a reason that no survivor needs: gone.py: x -> y" in capsys.readouterr().out
