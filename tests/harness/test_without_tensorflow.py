"""In an environment that has no TensorFlow, a golden takes the reference's place."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.harness.ports import ROOT, write_golden_without, write_port


def needed(requirement: str, found: dict[str, importlib.metadata.Distribution]) -> None:
    """Every distribution that ``requirement`` needs, with what those need."""
    wanted = Requirement(requirement)
    environments = [{"extra": extra} for extra in wanted.extras or {""}]
    distribution = importlib.metadata.distribution(wanted.name)
    if wanted.name in found:
        return
    found[wanted.name] = distribution
    for line in distribution.requires or ():
        other = Requirement(line)
        if other.marker is None or any(other.marker.evaluate(e) for e in environments):
            needed(line.partition(";")[0], found)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with what ``parity[torch]`` needs, and nothing else."""
    folder = tmp_path_factory.mktemp("without_tensorflow") / "environment"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    found: dict[str, importlib.metadata.Distribution] = {}
    needed("parity[torch]", found)
    for distribution in found.values():
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            link = packages / top
            if not link.exists() and not top.endswith(".pth"):
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())
    (packages / "parity").symlink_to(ROOT / "parity")
    return folder / "bin" / "python"


def parity(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(python), "-m", "parity", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_there_is_no_tensorflow_here(python: Path) -> None:
    for module in ("tensorflow", "keras"):
        ran = subprocess.run(
            [str(python), "-c", f"import {module}"], capture_output=True, text=True
        )
        assert "ModuleNotFoundError" in ran.stderr, module
    ran = parity(python, "check")
    assert ran.returncode == 3
    assert "the reference needs tensorflow, which is not installed here" in ran.stderr


def test_the_committed_golden_is_green(python: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    ran = parity(python, "check", "--golden", "goldens", "--json", str(path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads(path.read_text())
    assert report["golden"] == "goldens"
    assert report["verdict"] == "rounding"
    assert all(check["verdict"] in ("identical", "rounding") for check in report["checks"])
    assert len(report["checks"]) == 16


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("trap", "cause", "mend"),
    [
        ("requires_grad never set", "gradient-not-tracked", "requires_grad_(True)"),
        ("requires_grad set on a non-leaf", "gradient-non-leaf", "images.detach()"),
        ("energies averaged before the gradient", "gradient-mean", "scores.sum()"),
        ("padding 1 everywhere", "padding-same", "F.pad(x, (1, 2, 1, 2)) before conv1"),
    ],
)
def test_the_notes_traps_are_named(
    python: Path, tmp_path: Path, trap: str, cause: str, mend: str
) -> None:
    port = write_port([trap], tmp_path)
    ran = parity(python, "explain", "--golden", "goldens", "--port", port)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert f"cause 1: {cause}" in ran.stdout
    assert mend in ran.stdout
    assert "--golden goldens" in ran.stdout


@pytest.mark.few(0)
def test_what_is_not_recorded_is_not_green(python: Path, tmp_path: Path) -> None:
    """A golden of which a case was taken out, with a manifest that hides it."""
    write_golden_without("networks-04.safetensors", tmp_path / "goldens")
    ran = parity(python, "check", "--golden", str(tmp_path / "goldens"))
    assert ran.returncode == 3
    assert "holds no answer to this 'network'" in ran.stderr or "'weights'" in ran.stderr


def test_the_golden_is_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "goldens").iterdir()) <= 5_400_000
