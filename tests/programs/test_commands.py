"""``parity check`` and ``parity align`` of two programs, as a person calls them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest

from parity.ask import warm
from parity.errors import BadCall, PortFailed
from tests.harness.ports import ROOT
from tests.harness.test_cli import SCHEMA
from tests.programs.conftest import Open

PROGRAMS = """
def build():
    import keras

    inputs = keras.Input((7, 5, 2))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def ported(flatten="NHWC"):
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 3)
            self.norm = nn.BatchNorm2d(4, eps=1e-3)
            self.conv = nn.Conv2d(2, 4, 3, 2)

        def forward(self, x):
            x = self.conv(nn.functional.pad(x, (1, 1, 1, 1))).relu()
            x = nn.functional.max_pool2d(self.norm(x), 2)
            return self.head((x.permute(0, 2, 3, 1) if flatten == "NHWC" else x).flatten(1))

    return Net()


def wrong():
    return ported(flatten="NCHW")


def needs(width):
    return ported()


def raises():
    raise RuntimeError("no weights here")
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "programs.py").write_text(PROGRAMS)
    return subprocess.run(
        [*warm.interpreter("command"), "-m", "parity", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        capture_output=True,
        text=True,
    )


def both(port: str) -> list[str]:
    return ["--reference", "programs.py:build", "--port", f"programs.py:{port}"]


def test_a_right_port_is_green_in_one_command(tmp_path: Path) -> None:
    done = run(tmp_path, "check", *both("ported"), "--json", "report.json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, SCHEMA)
    assert report["verdict"] == "rounding"
    assert [check["name"] for check in report["checks"]] == [
        "outputs",
        "input_gradients",
        "parameter_gradients",
        "batch_independence",
    ]
    found = {row["parameters"][0]: row["weight"] for row in report["correspondence"]}
    assert found["norm.running_var"].endswith("moving_variance")
    assert found["conv.weight"].endswith("kernel")
    assert len(found) == 8


def test_the_commonest_mistake_is_red_and_told_at_its_layer(tmp_path: Path) -> None:
    done = run(tmp_path, "check", *both("wrong"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "outputs: divergent first at outputs/0" in done.stdout
    assert "the port departs at Dense" in done.stdout


@pytest.mark.few(0)
def test_align_prints_the_table(tmp_path: Path) -> None:
    done = run(tmp_path, "align", *both("ported"))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    (row,) = [line for line in lines if "head.weight" in line]
    assert row[1:] == ["head.weight", "in", "out", "->", "out", "in", "shape"]
    assert "channels first" in done.stdout


@pytest.mark.few(0)
@pytest.mark.parametrize(
    ("port", "error", "said"),
    [
        ("needs", BadCall, "needs needs width: name a function that builds the module without"),
        ("raises", PortFailed, "no weights here"),
        ("absent", BadCall, "no attribute 'absent'"),
    ],
)
def test_what_is_no_port_is_told(
    tmp_path: Path, opened: Open, port: str, error: type[Exception], said: str
) -> None:
    path = tmp_path / "programs.py"
    path.write_text(PROGRAMS)
    with pytest.raises(error, match=said):
        opened(f"{path}:build", f"{path}:{port}")


def test_what_needs_a_pair_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "check", *both("ported"), "--golden", "goldens")
    assert done.returncode == 2
    assert "--golden needs a pair" in done.stderr
    done = run(tmp_path, "check", *both("ported"), "--only", "energies")
    assert done.returncode == 2
    assert "unknown checks energies of two programs; known: outputs" in done.stderr


def test_a_configured_pair_has_its_options_and_two_programs_have_theirs(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.parity]\npair = "absent.pair:pair"\n')
    for options in (["--only", "energies"], ["--golden", "goldens"], ["--in-process"]):
        done = run(tmp_path, "check", *both("ported"), *options)
        assert done.returncode == 2, done.stderr
        assert "two programs" not in done.stderr
        assert "needs a pair" not in done.stderr
    done = run(tmp_path, "check", "absent.pair:pair", "--input", "x=3")
    assert done.returncode == 2
    assert "--input x=3: a pair declares its inputs" in done.stderr


@pytest.mark.few(0)
def test_explain_names_the_cause_and_a_failure_how_to_see_it_again(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("explain", *both("wrong"), "--input", "7,5,2:float:-2..2", "--only", "outputs"),
        *("--json", "report.json"),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "mend flatten-order at programs.py:" in said
    (cause,) = json.loads((tmp_path / "report.json").read_text())["causes"]
    assert (cause["id"], cause["where"]) == ("flatten-order", "Dense dense")
    assert cause["residual_before"] > 0.1
    assert cause["residual_after"] < 1e-12
    number = int(cause["place"].removeprefix("programs.py:"))
    assert (
        "x.permute(0, 2, 3, 1)" in (tmp_path / "programs.py").read_text().splitlines()[number - 1]
    )
    assert "--input 7,5,2:float:-2..2" in said
    assert "accept it knowingly" not in said
    done = run(tmp_path, "explain", *both("wrong"), "--strict")
    assert done.returncode == 2
    assert "--strict needs a pair" in done.stderr
