"""Whose fault it is: the port's 1, the call's 2, the reference's 3, parity's own 4."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import importlib
import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from parity import cli
from parity.ask.worker import describe_error
from parity.ask.workers import InProcess, Worker, told
from parity.commands import outputs
from parity.declare import specs
from parity.doctor import examine
from parity.errors import BadCall, PortFailed, ReferenceFailed
from parity.explain import explain as explaining
from parity.golden import baseline
from parity.mutants import campaign
from parity.mutants.judge import Judged
from tests.harness.ports import ROOT
from tests.harness.small_reports import red
from tests.harness.test_cli import parity, write_side

COMMANDS = {
    "check": [],
    "explain": [],
    "record": ["--golden", "nowhere"],
    "doctor": [],
    "mutants": [],
    "convert": ["a.pt", "b.safetensors"],
    "report": ["report.json"],
}
GOLDEN = ("--golden", str(ROOT / "goldens"))
ONE = (*GOLDEN, "--only", "preprocessing")


def boom(*_: Any, **__: Any) -> NoReturn:
    raise IndexError("list index out of range")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_an_error_of_paritys_own_is_4_in_every_command(
    command: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = "check" if command == "explain" else command
    monkeypatch.setattr(importlib.import_module(f"parity.commands.{module}"), "run", boom)
    assert cli.main([command, *COMMANDS[command]]) == 4
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "parity: parity itself failed, with IndexError: list index out of range; this is no "
        "verdict, and a fault to report: its traceback is in .parity/traceback.txt"
    ]
    assert "in boom" in (here / ".parity" / "traceback.txt").read_text()


def test_a_traceback_that_cannot_be_kept_is_printed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / ".parity").write_text("a file where the folder would be")
    monkeypatch.setattr("parity.commands.check.run", boom)
    assert cli.main(["check"]) == 4
    said = capsys.readouterr().err
    assert "in boom" in said
    assert said.splitlines()[-1].endswith("its traceback is above")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PortFailed("p"), 1),
        (BadCall("b"), 2),
        (ReferenceFailed("r"), 3),
        (KeyboardInterrupt(), 130),
        (SystemExit(0), 4),
        (MemoryError(), 4),
        (RecursionError("deep"), 4),
        (OSError(28, "No space left on device"), 4),
    ],
)
def test_each_error_has_its_status(
    error: BaseException, status: int, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: object) -> int:
        raise error

    monkeypatch.setattr("parity.commands.check.run", run)
    assert cli.main(["check"]) == status


@pytest.mark.few(1)
@pytest.mark.parametrize(("error", "status"), [(IndexError("i"), 4), (KeyboardInterrupt(), 130)])
def test_what_was_finished_is_reported_whatever_ends_the_run(
    error: BaseException,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def since(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(baseline, "since", since)
    monkeypatch.chdir(ROOT)
    path = tmp_path / "report.json"
    assert cli.main(["check", *ONE, "--json", str(path)]) == status
    out = capsys.readouterr().out.splitlines()
    assert out[1].split()[:3] == ["preprocessing", "identical", "5"]
    assert out[-1].startswith("NO PARITY: identical (only preprocessing)")
    report = json.loads(path.read_text())
    assert report["checks"][0]["verdict"] == "identical"
    assert report["problems"][0].startswith("stopped: ")


def test_an_error_while_causes_are_looked_for_is_4_and_the_verdict_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_side(
        tmp_path, "def preprocess(images):\n    return images\nentries = {'preprocess': preprocess}"
    )
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(explaining, "explain", _with_an_error_of_its_own)
    path = tmp_path / "report.json"
    assert cli.main(["explain", *ONE, "--port", spec, "--json", str(path)]) == 4
    said = capsys.readouterr()
    assert said.out.index("invalid: looking for causes") < said.out.index("NO PARITY: invalid")
    assert said.err.startswith("parity: parity itself failed, with IndexError: ")
    assert json.loads(path.read_text())["verdict"] == "invalid"


def _with_an_error_of_its_own(*_: object) -> explaining.Explanation:
    errors: list[Exception] = []
    session: Any = None
    found, left = explaining._guarded("model", boom, session, errors)
    assert "which is a fault of parity's" in left[0].evidence
    return explaining.Explanation(tuple(found), tuple(left), errors=tuple(errors))


RAISES = "raise RuntimeError('no such luck')\n"
LEAVES = "import sys\nsys.exit(0)\n"
SYNTAX = "def f(:\n"
LACKS = "import a_package_that_is_not_there\n"
NO_NAME = "import parity\nother = 1\n"


def side_file(folder: Path, text: str, name: str = "broken.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.few(5)
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (RAISES, "raised at import"),
        (LEAVES, "raised at import"),
        (SYNTAX, "raised at import"),
        (LACKS, "raised at import"),
        (NO_NAME, "bad call"),
        ("import parity\nside = parity.TorchSide(layout='WHCN')\n", "raised at import"),
        ("side = 3\n", "bad call"),
    ],
)
@pytest.mark.parametrize("role", ["port", "reference"])
def test_whose_fault_it_is_that_a_side_does_not_open(
    text: str, kind: str, role: str, tmp_path: Path
) -> None:
    """In a process of its own and in this one, which is how every command opens a side."""
    spec = side_file(tmp_path, text)
    failure = PortFailed if role == "port" else ReferenceFailed
    expected = BadCall if kind == "bad call" else failure
    with pytest.raises(expected):
        InProcess(role, "ebm.pair:pair", spec).receive()
    worker = Worker(role, "ebm.pair:pair", spec)
    try:
        with pytest.raises(expected):
            worker.receive()
    finally:
        worker.close()


def test_what_is_not_there_is_the_calls_fault() -> None:
    for spec in ("nowhere/side.py", "no.such.module:side", "ebm.pair:nothing", "ebm.nowhere:x"):
        with pytest.raises(BadCall):
            InProcess("port", "ebm.pair:pair", spec).receive()


def test_an_entry_that_raises_at_import_is_its_sides(tmp_path: Path) -> None:
    """The declaration imports no framework; the module that its strings name may raise."""
    side_file(tmp_path, RAISES, "module_that_raises.py")
    text = "entries = {'model': 'module_that_raises:model'}"
    spec = write_side(tmp_path, f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{text}")
    for role, failure in (("port", PortFailed), ("reference", ReferenceFailed)):
        with pytest.raises(failure, match="'module_that_raises:model' does not import"):
            InProcess(role, "ebm.pair:pair", spec).receive()


def test_a_framework_that_a_file_asks_for_and_that_is_missing_is_told(tmp_path: Path) -> None:
    error = specs.Raised("text")
    error.lacking, error.file = "tensorflow", "reference.py"
    shown = describe_error(error)
    assert shown["kind"] == "missing"
    assert "reference.py needs tensorflow, which is not installed here" in str(told("port", shown))


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("arguments", "status", "last"),
    [
        (["check", *GOLDEN, "--port", "{}"], 1, "the port failed: "),
        (["check", *GOLDEN, "--port", "{}", "--in-process"], 1, "the port failed: "),
        (["check", "--reference", "{}"], 3, "the reference failed: "),
        (["check", "--reference", "{}", "--port", "{}"], 2, "both sides are in "),
        (["check", "{}:pair"], 2, "does not import: RuntimeError: no such luck"),
        (["record", "--golden", "{}.golden", "--reference", "{}"], 3, "the reference failed: "),
        (["doctor", "--reference", "{}"], 3, "the reference failed: "),
        (["convert", "weights/energy_model.safetensors", "{}.pt", "--reference", "{}"], 3, "the r"),
        (["mutants", "{}:pair"], 2, "does not import: RuntimeError: no such luck"),
    ],
)
def test_what_raises_at_import_in_every_command(
    arguments: list[str], status: int, last: str, tmp_path: Path
) -> None:
    spec = side_file(tmp_path, RAISES)
    run = parity(*[argument.format(spec) for argument in arguments])
    assert run.returncode == status, run.stdout + run.stderr
    assert last in run.stderr.splitlines()[-1]
    assert "line 1, in <module>" in run.stderr


def test_a_port_that_does_not_import_has_a_report(tmp_path: Path) -> None:
    spec, path = side_file(tmp_path, RAISES), tmp_path / "report.json"
    run = parity("check", *GOLDEN, "--port", spec, "--json", str(path))
    assert run.returncode == 1
    report = json.loads(path.read_text())
    assert report["verdict"] == "invalid"
    assert {check["verdict"] for check in report["checks"]} == {"invalid"}
    assert report["checks"][0]["place"] == f"{spec}:1"


@pytest.mark.parametrize("part", ["images", "architectures", "fixed_trainings"])
def test_what_the_pair_declares_and_raises_is_the_calls_fault(part: str) -> None:
    """It runs in the parent, and is neither side's nor parity's."""
    for error in (ValueError("no"), SystemExit(0)):
        with pytest.raises(BadCall, match=f"the pair's {part} raised"), specs.declaration(part):
            raise error
    with pytest.raises(ReferenceFailed), specs.declaration(part):
        raise ReferenceFailed("its own")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--only", "vibes"],
        ["explain", "--only", "energies,vibes", *GOLDEN],
        ["check", "--golden", "goldens", "--reference", "ebm.pair:reference"],
        ["check", "--strict"],
        ["check", "--json", "a", "--html", "a"],
        ["check", "--profile", "leisurely"],
        ["doctor", "--faults", "-1"],
        ["doctor", "--seed", "-1"],
        ["convert", "nowhere.pt", "b.safetensors"],
    ],
)
def test_a_wrong_call_is_refused_before_a_process_starts(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Worker, "_start", boom)
    assert cli.main(arguments) == 2


def outputs_to(folder: Path) -> outputs.Outputs:
    names = ("json", "junit", "html", "summary")
    return outputs.Outputs(argparse.Namespace(**{n: folder / f"report.{n}" for n in names}))


def test_files_are_written_anew_and_the_summary_appended_once(tmp_path: Path) -> None:
    summary = tmp_path / "report.summary"
    summary.write_text("an earlier step\n")
    written = outputs_to(tmp_path)
    written.write(red(), last=False)
    first = summary.read_text()
    written.write(red(remarks=["and more"]))
    assert json.loads((tmp_path / "report.json").read_text())["remarks"] == ["and more"]
    assert summary.read_text().count("NO PARITY") == first.count("NO PARITY") == 1
    assert summary.read_text().startswith("an earlier step\n")
    with summary.open("a") as file:
        file.write("another program's\n")  # which is not cut off
    written.write(red())
    assert "another program's\n" in summary.read_text()
    assert summary.read_text().count("NO PARITY") == 2


def test_a_file_that_cannot_be_written_does_not_take_the_others_along(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(BadCall, match=r"--json .* cannot be written"):
        outputs_to(tmp_path).write(red())
    for name in ("junit", "html", "summary"):
        assert "energies" in (tmp_path / f"report.{name}").read_text()


@pytest.mark.parametrize("error", [IndexError("i"), KeyboardInterrupt()])
def test_mutants_that_were_judged_are_told_whatever_ends_the_campaign(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Executor:
        judged = 0

        def submit(self, _: object, mutants: campaign.Combination, __: object) -> Any:
            future: concurrent.futures.Future[Judged] = concurrent.futures.Future()
            if self.judged < 3:
                names = campaign.names_of(mutants)
                future.set_result(Judged(names, ("f",), names, ("energies",), ("f at x",)))
            else:
                future.set_exception(error)
            self.judged += 1
            return future

    def judges(*_: object) -> Any:
        return contextlib.nullcontext(Executor())

    def in_order(futures: list[Any]) -> list[Any]:
        return futures

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(campaign, "record", lambda *_: ({}, [], {}))
    monkeypatch.setattr(campaign, "_judges", judges)
    monkeypatch.setattr(concurrent.futures, "as_completed", in_order)
    status = 130 if isinstance(error, KeyboardInterrupt) else 4
    assert cli.main(["mutants", "--depth", "1"]) == status
    assert "NOT ALL: 3 ports" in capsys.readouterr().out


@pytest.mark.parametrize("error", [IndexError("i"), ReferenceFailed("r"), KeyboardInterrupt()])
def test_what_the_doctor_measured_is_told_whatever_ends_it(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Opened:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *_: object) -> None: ...

        def environment(self) -> dict[str, str]:
            return {}

    def measure(*arguments: Any) -> NoReturn:
        arguments[4].alarms.append("seen before")
        raise error

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(examine, "Session", Opened)
    monkeypatch.setattr(examine, "_oracle", lambda _: iter(()))
    monkeypatch.setattr(examine, "measure", measure)
    statuses = {IndexError: 4, ReferenceFailed: 3, KeyboardInterrupt: 130}
    assert cli.main(["doctor"]) == statuses[type(error)]
    out = capsys.readouterr().out
    assert "seen before" in out
    assert f"stopped before all of it was measured: {error!r}" in out
