"""The Makefile: `make help` tells every target, and nothing is installed twice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
PYTHONS = ("3.11", "3.12", "3.13")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run make there, as from a shell: without what a surrounding make hands down."""
    handed_down = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PROFILE", "PYTHON", "DEPTH"}
    environment = {name: value for name, value in os.environ.items() if name not in handed_down}
    ran = subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran


def python(path: Path, version: str) -> Path:
    """A stand-in that is asked for nothing but its version."""
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the installation depends on, and the stamp of one with Python 3.12, just made."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").write_text("3.12\n")
    return tmp_path


def installs(project: Path, *arguments: str) -> bool:
    return "pip" in make(project, "-n", "parity", *arguments).stdout


def test_help_lists_every_target_and_is_what_a_bare_make_says() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)
    assert phony is not None
    listed = re.findall(r"^  ([a-z-]+) +\S", make(ROOT, "help").stdout, re.M)
    assert sorted(listed) == sorted(phony[1].split())
    assert make(ROOT).stdout == make(ROOT, "help").stdout


def test_what_is_installed_is_not_installed_again(project: Path) -> None:
    commands = make(project, "-n", "parity").stdout.split("\n")
    assert [line.strip() for line in commands if line] == [".venv/bin/parity check"]
    assert "Nothing to be done" in make(project, "install").stdout


def test_a_profile_is_handed_on(project: Path) -> None:
    said = make(project, "-n", "parity", "PROFILE=nightly").stdout
    assert said.split() == [".venv/bin/parity", "check", "--profile", "nightly"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_dependencies_are_installed(project: Path, name: str) -> None:
    os.utime(project / name, (4_000_000_000, 4_000_000_000))
    assert installs(project)


def test_an_installation_without_a_stamp_is_taken_up_again(project: Path) -> None:
    (project / ".venv" / ".installed").unlink()
    assert installs(project)


def test_another_python_makes_the_environment_anew(project: Path) -> None:
    assert not installs(project, f"PYTHON={python(project / 'same', '3.12')}")
    assert installs(project, f"PYTHON={python(project / 'other', '3.13')}")


@pytest.mark.parametrize("version", ["3.10", "3.14", "2.7"])
def test_an_unsuitable_python_is_one_clear_line(project: Path, version: str) -> None:
    other = python(project / "other", version)
    said = make(project, "install", f"PYTHON={other}", status=2).stderr.splitlines()
    assert said[0].startswith(
        f"parity needs Python 3.11, 3.12 or 3.13, but '{other}' is {version}:"
    )
    assert len(said) == 2  # the second is make's own
    assert not (project / ".venv" / ".installed").exists()


def test_a_missing_python_is_one_clear_line(project: Path) -> None:
    said = make(project, "install", "PYTHON=/not/there", status=2).stderr
    assert said.startswith("parity needs Python 3.11, 3.12 or 3.13, but '/not/there' is no Python:")


def test_a_failed_installation_leaves_its_last_words_and_no_stamp(project: Path) -> None:
    """The stand-in makes no environment, so that pip cannot even start."""
    other = python(project / "other", "3.13")
    said = make(project, "install", f"PYTHON={other}", status=2).stderr
    assert "The installation failed; all of its output is in .venv/install.log" in said
    assert ".venv/bin/python" in said
    assert not (project / ".venv" / ".installed").exists()


PARTS = (
    "tests/properties tests/ebm tests/programs tests/harness tests/torch_side",
    "tests/tensorflow_side",
)


@pytest.mark.parametrize("failing", [(), (0,), (1,), (0, 1)], ids=str)
def test_both_parts_of_the_suite_run_and_either_can_fail_it(
    project: Path, failing: tuple[int, ...]
) -> None:
    """A stand-in for pytest notes what it was asked to run, and fails where it is told to."""
    said = project / "said"
    lines = [f'case "$*" in *"{PARTS[number]}") exit 1 ;; esac' for number in failing]
    script = "\n".join(["#!/bin/sh", f'echo "$*" >>{said}', *lines, ""])
    (project / ".venv" / "bin").mkdir()
    pytest_of = project / ".venv" / "bin" / "python"
    pytest_of.write_text(script)
    pytest_of.chmod(0o755)
    make(project, "test", status=2 if failing else 0)
    ran = said.read_text().splitlines()
    assert [line.endswith(part) for line, part in zip(ran, PARTS, strict=True)] == [True, True]


def test_every_supported_python_is_named_wherever_they_are_listed() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "python: [" + ", ".join(f'"{version}"' for version in PYTHONS) + "]" in workflow
    assert f'case "$$want" in {" | ".join(PYTHONS)})' in MAKEFILE


def test_no_pin_carries_a_local_version_or_appears_twice() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+( ; .+)?", pin) for pin in pins)
    names = [pin.partition("==")[0] for pin in pins]
    assert names == sorted(set(names))
