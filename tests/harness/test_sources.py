"""What a side is made of: every file of the project that its process imports or opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.ask.workers import Worker

PAIR = """
import pathlib
import parity

settings = pathlib.Path("settings.json").read_text()
pathlib.Path("log.txt").write_text("written, and gone again")
pathlib.Path("log.txt").unlink()
port = parity.TorchSide(model="net:Net", sources=("weights.h5",))
pair = parity.Pair(reference=parity.TensorFlowSide(model="net:Net"), port=port)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mypair.py").write_text(PAIR)
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "unrelated.txt").write_text("not of the program")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_modules_files_and_what_is_declared(project: Path) -> None:
    worker = Worker("port", "mypair:pair")
    try:
        worker.receive()
        assert worker.ask("sources", root=str(project)) == [
            "mypair.py",
            "settings.json",
            "weights.h5",
        ]
    finally:
        worker.close()
