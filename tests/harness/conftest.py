"""The command in this very process, where a process of its own is not what is tested."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping

import pytest

from parity.cli import main
from tests.harness.ports import ROOT

Inside = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def parity_inside(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Inside:
    """As ``tests.harness.test_cli.parity``, without a second to import the parent again."""

    def run(
        *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(ROOT)
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        try:
            status = main(list(arguments))
        except SystemExit as exits:  # of argparse
            status = exits.code if isinstance(exits.code, int) else 1
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, said.out, said.err)

    return run
