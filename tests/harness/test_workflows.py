"""The workflow files are what GitHub reads, and the pre-commit hook holds a commit back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.ports import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def run(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **environment},
    )


def is_workflow(path: Path) -> bool:
    schema = ("--builtin-schema", "vendor.github-workflows")
    return run("check-jsonschema", *schema, str(path)).returncode == 0


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_what_github_reads(path: Path) -> None:
    assert is_workflow(path)


def test_that_test_can_fail(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "runs_on:"))
    assert not is_workflow(broken)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the project in it, as a person's own would be."""
    folder = tmp_path / "clone"
    ignore = shutil.ignore_patterns(".*", "build", "docs")
    shutil.copytree(ROOT, folder, ignore=ignore)
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", folder)
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it is"]):
        assert run(*git, *arguments, cwd=folder).returncode == 0
    return folder


@pytest.mark.few(0)
def test_the_hook_lets_a_right_port_pass_and_names_what_is_wrong_with_another(clone: Path) -> None:
    def hook() -> subprocess.CompletedProcess[str]:
        return run(
            *("pre-commit", "try-repo", str(clone), "parity", "--all-files"),
            cwd=clone,
            PRE_COMMIT_HOME=str(clone.parent / "pre-commit"),
            PYTHONPATH=str(clone),
        )

    right = hook()
    assert right.returncode == 0, right.stdout + right.stderr
    assert "Passed" in right.stdout
    sampler = clone / "port_torch" / "langevin.py"
    sampler.write_text(sampler.read_text().replace("scores.sum()", "scores.mean()"))
    wrong = hook()
    assert wrong.returncode == 1
    assert "cause 1: gradient-mean" in wrong.stdout
