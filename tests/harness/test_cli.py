"""The command line: exit statuses, JSON, and what a person is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest

from parity.ask import warm
from tests.harness.conftest import Inside
from tests.harness.ports import ROOT, write_port

SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text())
ONE_CHECK = ("--only", "preprocessing")
GOLDEN = ("--golden", "goldens")
"""In place of a reference that runs, where only the port is tested."""


def parity(
    *arguments: str,
    cwd: Path = ROOT,
    timeout: float = 300,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [*warm.interpreter("command"), "-m", "parity", *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(environment or {})},
    )


def write_side(folder: Path, text: str, name: str = "port.py") -> str:
    """A port declaration: the project's own port with what ``text`` defines replaced."""
    path = folder / name
    path.write_text(
        f"import dataclasses, time, os\nimport parity, ebm.pair\n{text}\n"
        "side = dataclasses.replace(ebm.pair.port, **entries)\n"
    )
    return str(path)


def test_help_teaches() -> None:
    shown = parity("check", "--help")
    assert shown.returncode == 0
    for text in ("--port SPEC", "--profile quick|ci|nightly", "exit status: 0 parity; 1 not"):
        assert text in shown.stdout


@pytest.mark.few(0)
def test_green_run_writes_a_valid_report_the_same_for_the_same_seed(tmp_path: Path) -> None:
    reports = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        run = parity(
            "check", "--seed", "7", "--only", "energies,state_restored", "--json", str(path)
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "PARITY: rounding (only energies, state_restored)" in run.stdout
        report = json.loads(path.read_text())
        jsonschema.validate(report, SCHEMA)
        del report["seconds"], report["environment"]
        reports.append(report)
    assert reports[0] == reports[1]
    assert [check["name"] for check in reports[0]["checks"]] == ["energies", "state_restored"]


def test_the_schema_test_can_fail() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 1, "pair": "m:p", "verdict": "fine"}, SCHEMA)


def test_a_wrong_port_exits_1_and_says_where_how_much_and_how_to_reproduce(tmp_path: Path) -> None:
    spec = write_port(["energies averaged before the gradient"], tmp_path)
    path = tmp_path / "report.json"
    only = ("--only", "samples_teacher_forced")
    run = parity("check", *GOLDEN, "--port", spec, *only, "--json", str(path))
    assert run.returncode == 1
    report = json.loads(path.read_text())
    jsonschema.validate(report, SCHEMA)
    assert report["verdict"] == "divergent"
    (check,) = report["checks"]
    assert check["first_divergence"]["array"] == "samples[0]"
    out = run.stdout
    headline = out.index("samples_teacher_forced: divergent first at samples[0]")
    count = out.index("elements differ by more than the bound")
    worst = out.index("worst at [")
    allowed = out.index("64 x the noise floor")
    reproduce = out.index(f"--port {spec} --golden goldens --profile quick --seed 0")
    accept = out.index('accept = [{check = "samples_teacher_forced", where = "", max_residual')
    assert headline < count < worst < allowed < reproduce < accept
    assert "NO PARITY: divergent" in out


def test_a_port_that_raises_is_invalid(tmp_path: Path) -> None:
    spec = write_side(
        tmp_path,
        "def preprocess(images):\n    raise RuntimeError('no such luck')\n"
        "entries = {'preprocess': preprocess}",
    )
    run = parity("check", *GOLDEN, "--port", spec, *ONE_CHECK)
    assert run.returncode == 1
    assert "preprocessing: invalid" in run.stdout
    assert "the port raised RuntimeError: no such luck" in run.stdout
    assert "in preprocess" in run.stdout  # the user's traceback


@pytest.mark.few(0)
def test_a_port_that_dies_is_invalid_and_what_was_finished_is_reported(tmp_path: Path) -> None:
    spec = write_side(
        tmp_path,
        "def preprocess(images):\n    os.write(2, b'famous last words\\n'); os._exit(9)\n"
        "entries = {'preprocess': preprocess}",
    )
    run = parity("check", "--port", spec, *GOLDEN, "--only", "preprocessing,initialisation")
    assert run.returncode == 1
    assert "the port's process died; its last words:" in run.stdout
    assert "famous last words" in run.stdout
    assert "identical" in run.stdout  # initialisation, in a fresh process


def test_a_port_that_hangs_is_invalid(tmp_path: Path) -> None:
    spec = write_side(
        tmp_path,
        "def preprocess(images):\n    time.sleep(1000)\nentries = {'preprocess': preprocess}",
    )
    run = parity("check", "--port", spec, *GOLDEN, *ONE_CHECK, "--timeout", "8")
    assert run.returncode == 1
    assert "the port did not answer 'preprocess' within 8 s" in run.stdout


def test_a_reference_that_raises_is_never_the_ports_fault(tmp_path: Path) -> None:
    path = tmp_path / "reference.py"
    path.write_text(
        "import dataclasses, ebm.pair\n"
        "def preprocess(images):\n    raise RuntimeError('the reference is broken')\n"
        "side = dataclasses.replace(ebm.pair.reference, preprocess=preprocess)\n"
    )
    run = parity("check", "--reference", str(path), *ONE_CHECK)
    assert run.returncode == 3
    assert "the reference raised RuntimeError: the reference is broken" in run.stderr


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "leisurely"], "unknown profile 'leisurely'; known: quick, ci, nightly"),
        (["--only", "vibes"], "unknown checks vibes; known: energies"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--timeout", "0"], "--timeout must be above 0 seconds, got 0"),
        (["--json", "no/such/folder/report.json"], "the folder no/such/folder does not exist"),
        (["--case", "missing.safetensors"], "missing.safetensors cannot be read"),
        (["no.such.module:pair"], "'no.such.module:pair' does not import: ModuleNotFoundError"),
        (["ebm.settings:PUBLISHED"], "is a Settings, not a parity.Pair"),
        (["--port", "nowhere/port.py"], "nowhere/port.py does not exist"),
        (["--port", "ebm.pair:pair"], "is a Pair, not a parity.TorchSide or parity.TensorFlowSide"),
    ],
)
def test_a_wrong_call_exits_2_and_says_what_was_expected(
    arguments: list[str], message: str, parity_inside: Inside
) -> None:
    run = parity_inside("check", *arguments)
    assert run.returncode == 2, run.stdout + run.stderr
    assert message in run.stderr


def test_a_port_that_does_not_import_shows_the_users_traceback_then_one_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "port.py"
    path.write_text("import parity\nside = parity.TorchSide(model=undefined_name)\n")
    run = parity("check", *GOLDEN, "--port", str(path))
    assert run.returncode == 1
    lines = run.stderr.strip().splitlines()
    assert any("port.py" in line and "line 2" in line for line in lines)
    assert "does not import: NameError: name 'undefined_name' is not defined" in lines[-1]


def test_no_pair_anywhere(tmp_path: Path) -> None:
    run = parity("check", cwd=tmp_path)
    assert run.returncode == 2
    assert "no pair given" in run.stderr


def test_a_missing_framework_exits_3_and_says_what_to_install(tmp_path: Path) -> None:
    """TensorFlow is hidden from the workers by a finder that does not find it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'tensorflow' else found(name, *a)\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "parity", "check", *ONE_CHECK],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
    )
    assert run.returncode == 3, run.stdout + run.stderr
    assert "the reference needs tensorflow, which is not installed here: pip install" in run.stderr


def check_with_weights(weights: Path) -> subprocess.CompletedProcess[str]:
    """Check the project's pair with other trained weights."""
    pair = weights.parent / "other_pair.py"
    pair.write_text(
        "import dataclasses, ebm.pair\n"
        f"weights = {{'other': {str(weights)!r}}}\n"
        "pair = dataclasses.replace(ebm.pair.pair, weights=weights)\n"
    )
    return parity("check", f"{pair}:pair", "--only", "energies")


@pytest.mark.few(0)
def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    from parity.values import archive

    arrays, about = archive.load(ROOT / "weights" / "energy_model.safetensors")
    del arrays["score/bias"]
    arrays["conv1/kernel"] = arrays["conv1/kernel"][:3]
    arrays["conv9/kernel"] = arrays["conv2/bias"]
    archive.save(tmp_path / "other.safetensors", arrays, about)
    run = check_with_weights(tmp_path / "other.safetensors")
    assert run.returncode == 2
    for text in (
        "score/bias is missing",
        "conv9/kernel is not a weight of this model",
        "conv1/kernel has shape (3, 5, 1, 16), expected (5, 5, 1, 16)",
    ):
        assert text in run.stderr


@pytest.mark.few(0)
def test_altered_weights_are_refused_by_name(tmp_path: Path) -> None:
    data = bytearray((ROOT / "weights" / "energy_model.safetensors").read_bytes())
    data[-100] ^= 1
    (tmp_path / "altered.safetensors").write_bytes(data)
    run = check_with_weights(tmp_path / "altered.safetensors")
    assert run.returncode == 2
    assert "altered.safetensors was altered" in run.stderr


def test_in_process_runs_the_port_in_the_parent() -> None:
    run = parity("check", *GOLDEN, "--in-process", *ONE_CHECK)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.few(0)
def test_doctor_proves_the_oracle() -> None:
    run = parity("doctor", "--cases", "6", "--faults", "12")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "float64 oracle: holds" in run.stdout
    assert "6 random cases: 0 alarms; 12 faults of 100 bounds planted: 0 missed" in run.stdout
    assert "0 causes named in the port by explain" in run.stdout
