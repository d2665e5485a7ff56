"""Kept answers: the next process has them, and none of another program is ever believed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity.ask import kept
from parity.ask.kept import Kept, program_digest
from parity.ask.recorded import key_of
from parity.ask.session import Session
from parity.side.sources import files_of, strangers
from parity.values.frames import PACKAGE


class FakeWorker:
    """Answers with what it was asked, and counts."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.strangers: list[str] = []
        self._pending: Any = "open"

    def ask(self, method: str, **arguments: Any) -> Any:
        if method == "strangers":
            return self.strangers
        self.send(method, **arguments)
        return self.receive()

    def send(self, method: str, **arguments: Any) -> None:
        self._pending = (method, arguments)

    def receive(self) -> Any:
        self.asked.append(self._pending)
        return {"about": str(self._pending), "bytes": b"\0\1", "none": None, "list": [1, 2.5]}

    def close(self) -> None:
        self.asked.append("closed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project: a reference, its data, and tests, of which it is not made."""
    for name in ("reference.py", "data/numbers.bin", "tests/test_it.py", "package/module.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def opened(root: Path, worker: FakeWorker) -> Kept:
    return Kept(lambda: worker, "m:pair", None, root)  # type: ignore[arg-type, return-value]


def asked(root: Path) -> FakeWorker:
    """The worker of a session that asks one thing, twice."""
    worker = FakeWorker()
    reference = opened(root, worker)
    assert reference.receive()["about"] == "open"
    answers = [reference.ask("weights", settings={"a": [1]}) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["about"] == "('weights', {'settings': {'a': [1]}})"
    reference.close()
    return worker


def test_what_was_asked_once_is_never_asked_again(root: Path) -> None:
    assert [each[0] for each in asked(root).asked if each != "closed"] == ["o", "weights"]
    assert asked(root).asked == [], "the reference was not even started"


@pytest.mark.parametrize(
    "edit",
    [
        lambda root: (root / "reference.py").write_text("x = 2\n"),
        lambda root: (root / "data/numbers.bin").write_text("x = 2\n"),
        lambda root: (root / "package/new.py").write_text(""),
        lambda root: (root / "package/module.py").unlink(),
        lambda root: (root / "reference.py").rename(root / "other.py"),
    ],
)
def test_a_changed_source_is_another_key_and_is_asked_anew(
    root: Path, edit: Callable[[Path], object]
) -> None:
    asked(root)
    before = program_digest("m:pair", None, root)
    edit(root)
    assert program_digest("m:pair", None, root) != before
    assert len(asked(root).asked) == 3


def test_the_harness_packages_and_specs_are_in_the_key(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = program_digest("m:pair", None, root)
    assert program_digest("m:pair", None, root) == before
    assert program_digest("m:other", None, root) != before
    assert program_digest("m:pair", "m:reference", root) != before
    own = PACKAGE.resolve()
    assert {own / "ask" / "kept.py", own / "frameworks" / "tensorflow" / "side.py"} <= set(
        files_of(root)
    )
    with monkeypatch.context() as patch:
        patch.setattr(kept, "ENVIRONMENT", {})
        assert program_digest("m:pair", None, root) != before
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(elsewhere))
        assert program_digest("m:pair", None, root) != before, "it may hide a module of the project"
    packages = elsewhere / "site-packages"
    (packages / "numpy-0.0.1.dist-info").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(packages))
        assert program_digest("m:pair", None, root) != before, "another version"


def test_what_the_reference_is_not_made_of_changes_nothing(root: Path) -> None:
    asked(root)
    (root / "tests" / "test_it.py").write_text("x = 2\n")
    (root / ".hidden").write_text("")
    assert asked(root).asked == []


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:-1] + b"?"])
def test_an_answer_that_was_altered_or_cut_short_is_asked_again(
    root: Path, change: Callable[[bytes], bytes]
) -> None:
    asked(root)
    folder = opened(root, FakeWorker()).folder
    path = folder / key_of("weights", {"settings": {"a": [1]}}).replace("/", "-")
    path.write_bytes(change(path.read_bytes()))
    assert [each[0] for each in asked(root).asked if each != "closed"] == ["o", "weights"]


def test_an_edit_while_the_reference_runs_keeps_nothing(root: Path) -> None:
    """It may have been imported before or after: nobody knows which program has answered."""
    worker = FakeWorker()
    reference = opened(root, worker)
    reference.receive()
    (root / "reference.py").write_text("x = 2  # edited\n")
    reference.ask("weights", settings=None)
    (root / "reference.py").write_text("x = 1\n")
    again = FakeWorker()
    opened(root, again).ask("weights", settings=None)
    assert len(again.asked) == 2


def test_source_from_elsewhere_keeps_nothing(root: Path) -> None:
    worker = FakeWorker()
    worker.strangers = ["/elsewhere/library.py"]
    opened(root, worker).ask("weights", settings=None)
    again = FakeWorker()
    opened(root, again).ask("weights", settings=None)
    assert len(again.asked) == 2


def test_a_stranger_is_a_source_of_neither_project_nor_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(file: str) -> bool:
        module = type(sys)("parity_test_module")
        module.__file__ = file
        monkeypatch.setitem(sys.modules, "parity_test_module", module)
        return file in strangers(tmp_path)

    assert said("/elsewhere/library.py")
    for name in ("reference.py", "tests/helper.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert not said(str(tmp_path / "reference.py"))
    assert said(str(tmp_path / "tests/helper.py")), "it is not in the key"
    assert not said("/elsewhere/site-packages/library.py")
    assert not said("/tmp/__autograph_generated_file1234.py")
    assert not said(pytest.__file__)
    assert not said(kept.__file__)


def test_a_process_waits_for_the_one_that_asks_the_same(root: Path) -> None:
    first, second = FakeWorker(), FakeWorker()
    asks = opened(root, first)
    asks.send("weights", settings=None)
    found: list[Any] = []
    waits = opened(root, second)
    thread = threading.Thread(target=lambda: found.append(waits.ask("weights", settings=None)))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "it did not wait"
    answer = asks.receive()
    thread.join(30)
    assert found == [answer]
    assert second.asked == []


def test_a_claim_about_the_program_that_runs_is_not_answered_from_a_folder(root: Path) -> None:
    asked(root)
    worker = FakeWorker()
    reference = opened(root, worker)
    reference.ask("weights", settings={"a": [1]})
    reference.keeps = False
    reference.ask("weights", settings={"a": [1]})
    assert [each[0] for each in worker.asked] == ["o", "weights"]
    reference.ask("weights", settings={"a": [1]})
    assert len(worker.asked) == 2, "what this very process was answered holds"


def test_answers_of_few_programs_are_kept(root: Path) -> None:
    for number in range(kept.KEPT_FOLDERS + 2):
        (root / "reference.py").write_text(f"x = {number}\n")
        asked(root)
    assert len(list((root / kept.CACHE).iterdir())) == kept.KEPT_FOLDERS


def test_the_session_of_these_tests_keeps(parity_session: Session) -> None:
    """And says the same as a session that does not."""
    assert isinstance(parity_session.reference, Kept)
    assert parity_session.reference.keeps
    parity_session.facts(None)
    assert any(parity_session.reference.folder.iterdir())
