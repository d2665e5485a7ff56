"""The gate against the committed golden: what it writes, and that getting worse can fail it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from parity.ask.recorded import Recorded
from parity.ask.session import Session
from parity.draw.plan import beside_golden
from parity.draw.profiles import profile_named
from parity.entries.runner import run_checks
from parity.golden import baseline, goldens
from tests.harness.conftest import Inside
from tests.harness.ports import ROOT, write_golden_without, write_port
from tests.harness.small_reports import check, red, report
from tests.harness.test_cli import SCHEMA, parity, write_side

GOLDEN = ("--golden", "goldens")
OUTSIDE_GITHUB = {name: "" for name in os.environ if name.startswith("GITHUB_")}


def outputs(folder: Path) -> list[str]:
    """Options for every file that a report can be written to."""
    return [
        part
        for name in ("json", "junit", "html", "summary")
        for part in (f"--{name}", str(folder / f"report.{name}"))
    ]


def read(folder: Path) -> dict[str, str]:
    return {name: (folder / f"report.{name}").read_text() for name in ("junit", "html", "summary")}


def test_a_wrong_port_is_told_everywhere_and_the_same_later_from_the_json(tmp_path: Path) -> None:
    spec = write_port(["energies averaged before the gradient"], tmp_path)
    (tmp_path / "report.summary").write_text("an earlier step\n")
    run = parity(
        "explain",
        *GOLDEN,
        "--port",
        spec,
        *outputs(tmp_path),
        environment={"GITHUB_ACTIONS": "true"},
    )
    assert run.returncode == 1, run.stdout + run.stderr
    (annotation,) = [line for line in run.stdout.splitlines() if line.startswith("::error")]
    assert "gradient-mean" in annotation
    assert "line=" in annotation
    in_order = (
        "samples_teacher_forced: divergent first at samples[0]",
        "cause 1: gradient-mean, generate_samples, the gradient (",
        "energies are averaged over the batch before the gradient, not summed",
        "mend: torch.autograd.grad(scores.sum(), images)",
        "undone, the residual falls from",
        "evidence: ",
        "elements differ by more than the bound",
        "worst at [",
        "allowed: ",
        "= 64 x the noise floor",
        "reproduce: parity check ebm.pair:pair",
        "accept it knowingly, in pyproject.toml: [tool.parity] accept = [{check = ",
        "since the golden was recorded: a regression of the port",
        "NO PARITY: divergent",
        "; mend gradient-mean at ",
    )
    places = [run.stdout.index(text) for text in in_order]
    assert places == sorted(places)
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, SCHEMA)
    assert report["attribution"].startswith("a regression of the port")
    written = read(tmp_path)
    assert written["summary"].startswith("an earlier step\n## ❌ NO PARITY: divergent")
    for text in written.values():
        assert "gradient-mean" in text
        assert "scores.sum()" in text
    suite = ElementTree.fromstring(written["junit"])[0]
    assert int(suite.attrib["failures"]) == sum(
        check["verdict"] not in ("identical", "rounding") for check in report["checks"]
    )
    later = tmp_path / "later"
    later.mkdir()
    again = parity("report", str(tmp_path / "report.json"), *outputs(later)[2:])
    assert again.returncode == 0, again.stderr
    assert read(later) == {**written, "summary": written["summary"].partition("\n")[2]}


@pytest.mark.few(0)
def test_a_green_port_says_nothing_to_github(tmp_path: Path) -> None:
    run = parity("check", *GOLDEN, "--strict", environment={"GITHUB_ACTIONS": "true"})
    assert run.returncode == 0, run.stdout + run.stderr
    assert "::" not in run.stdout
    assert "PARITY: rounding, golden goldens, profile quick, seed 0" in run.stdout


WORSE = """
from port_torch.energy_model import EnergyModel
class Port(EnergyModel):
    def forward(self, x):
        energies = super().forward(x)
        return energies + (energies * 60 * 2**-52).detach()
entries = {'model': Port}
"""


@pytest.mark.few(0)
def test_a_green_port_whose_margin_got_worse_is_told_and_fails_when_strict(tmp_path: Path) -> None:
    """Every energy is 60 units in the last place off: within 64 noise floors, and green."""
    golden = with_margins_of_this_machine(tmp_path / "goldens")
    spec = write_side(tmp_path, WORSE)
    only = ("--only", "energies,energy_gradients", "--port", spec)
    told = parity("check", "--golden", str(golden), *only)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "energies is green, but its margin got worse" in told.stdout
    strict = parity("check", "--golden", str(golden), *only, "--strict")
    assert strict.returncode == 1
    assert "energies is green, but its margin got worse" in strict.stdout
    assert "NO PARITY: rounding" in strict.stdout


def with_margins_of_this_machine(golden: Path) -> Path:
    """The committed golden, with margins as ``parity record`` would write them here: elsewhere,
    last bits may differ, and then margins are not judged."""
    shutil.copytree(ROOT / "goldens", golden)
    recorded = goldens.read(golden)
    answers = Recorded(recorded.answers, "the golden")
    with Session("ebm.pair:pair", recorded=answers, root=ROOT) as session:
        margins = json.loads((golden / goldens.BASELINE).read_text())["content"]
        if margins["environment"] != session.port_environment():
            plan = beside_golden(session, recorded.plan, profile_named("quick"), 0)
            content, _ = baseline.record(session, run_checks(session, plan), golden)
            (golden / goldens.BASELINE).write_bytes(content)
    return golden


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strict"], "--strict holds margins against recorded ones: give --golden DIR"),
        (["--junit", "no/such/folder/report.xml"], "the folder no/such/folder does not exist"),
        (["--html", "docs"], "--html docs is a folder; expected a file to write"),
        (["--summary", "/proc/summary"], "--summary /proc/summary cannot be written"),
        (["--json", "a.file", "--html", "./a.file"], "--html and --json name the same file"),
        ([*GOLDEN, "--json", "goldens/a.json"], "--json goldens/a.json lies in the golden"),
        (["--json", "/dev/null"], "--json /dev/null is not an ordinary file"),
        ([*GOLDEN, "--reference", "a:b"], "--golden and --reference exclude each other"),
        ([*GOLDEN, "--seed", "-1"], "--seed must be at least 0, got -1"),
    ],
)
def test_what_cannot_be_done_fails_before_the_run(
    arguments: list[str], message: str, parity_inside: Inside
) -> None:
    run = parity_inside("check", *arguments, environment=OUTSIDE_GITHUB)
    assert run.returncode == 2, run.stdout + run.stderr
    assert message in run.stderr


@pytest.mark.few(0)
def test_what_was_finished_is_reported_though_the_reference_fails(tmp_path: Path) -> None:
    """A golden of which an answer was taken out, with a manifest that hides it."""
    write_golden_without("trajectories-02.safetensors", tmp_path / "goldens")
    run = parity("check", "--golden", str(tmp_path / "goldens"), *outputs(tmp_path))
    assert run.returncode == 3, run.stdout + run.stderr
    assert "holds no answer to this 'samples'" in run.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert verdicts["activations"] == "rounding"
    assert verdicts["energies"] == "unchecked", "its bad calls were still to come"
    assert verdicts["samples_free_running"] == "unchecked"
    assert verdicts["losses"] == "unchecked"
    assert report["problems"][0].startswith("stopped: ")
    assert "NO PARITY: unchecked" in run.stdout


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "no report of schema 1: the report is [], not an object"),
        ('{"schema": 2}', "no report of schema 1: schema is 2, not 1"),
        ('{"schema": 1}', "no report of schema 1: checks is missing"),
        (json.dumps(report(check(verdict="great"))), "checks[0].verdict is 'great'"),
        (json.dumps(report(check(message=[3]))), "checks[0].message[0] is 3"),
        (json.dumps(red(seconds={"total": "x"})), "seconds.total is 'x'"),
        (json.dumps(red(problems=3)), "problems is 3, not a list"),
        ("[" * 100_000, "is not JSON"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    run = parity("report", str(path), *outputs(tmp_path)[2:])
    assert run.returncode == 2, run.stdout + run.stderr
    assert message in run.stderr
    assert [each for each in tmp_path.iterdir() if each != path] == []


def test_nothing_to_write_is_a_wrong_call(tmp_path: Path) -> None:
    run = parity("report", str(tmp_path / "report.json"))
    assert run.returncode == 2
    assert "nothing to write: give --html FILE, --junit FILE or --summary FILE" in run.stderr


def test_relations_without_a_reference_see_a_port_whose_images_leak(tmp_path: Path) -> None:
    spec = write_side(
        tmp_path,
        "from port_torch.energy_model import EnergyModel\n"
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n"
        "        y = super().forward(x)\n"
        "        return y + 1e-9 * (y - y[:1].detach())\n"
        "entries = {'model': Port}",
    )
    report = tmp_path / "report.json"
    run = parity(
        "check", *GOLDEN, "--port", spec, "--only", "batch_independence", "--json", str(report)
    )
    assert run.returncode == 1, run.stdout + run.stderr
    arrays = json.loads(report.read_text())["evidence"]["arrays"]
    verdicts = {entry["array"]: entry["verdict"] for entry in arrays}
    assert verdicts["energies (in another order), port alone"] == "divergent"


@pytest.mark.few(0)
def test_what_is_drawn_beside_a_golden_depends_on_the_seed(tmp_path: Path) -> None:
    found = []
    for seed in ("0", "1", "1"):
        path = tmp_path / f"{len(found)}.json"
        only = ("--only", "batch_independence,state_restored")
        run = parity("check", *GOLDEN, "--seed", seed, *only, "--json", str(path))
        assert run.returncode == 0, run.stdout + run.stderr
        report = json.loads(path.read_text())
        found.append([(check["residual"], check["cases"]) for check in report["checks"]])
        arrays = report["evidence"]["arrays"]
        found[-1].append([entry["residual"] for entry in arrays if "alone" in entry["array"]])
    assert found[0] != found[1] == found[2]
