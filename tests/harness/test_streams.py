"""Closed, full or unread standard streams: the exit status is that of the verdict, whatever."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from parity.ask import streams
from tests.harness.ports import ROOT
from tests.harness.test_cli import write_side

CHECK = ("check", "--golden", "goldens", "--only", "preprocessing")
FULL = Path("/dev/full")

UNPRINTED = {
    ">&-": "it is closed",
    ">/dev/full": "No space left on device",
    "| true": "Broken pipe",
}

needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")


def shell(redirections: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m parity`` in a shell that closes or redirects its streams."""
    command = f'"$@" {redirections}'
    words = [sys.executable, "-m", "parity", *arguments]
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}", "bash", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "redirections",
    [
        *("<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"),
        *(pytest.param(text, marks=needs_full) for text in (">/dev/full", ">/dev/full 2>&1")),
        "| true",
    ],
)
def test_a_green_port_is_green_and_the_report_written(redirections: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    ran = shell(redirections, *CHECK, "--json", str(path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(path.read_text())["verdict"] == "identical"
    if why := UNPRINTED.get(redirections):
        assert ran.stderr == f"parity: not all of it was printed on stdout: {why}\n"


@pytest.mark.parametrize("redirections", ["2>&-", "<&- >&- 2>&-"])
def test_a_wrong_port_is_wrong_and_its_process_did_not_die(
    redirections: str, tmp_path: Path
) -> None:
    spec = write_side(
        tmp_path,
        "def preprocess(images):\n    print('said'); os.write(2, b'said')\n    return images\n"
        "entries = {'preprocess': preprocess}",
    )
    path = tmp_path / "report.json"
    ran = shell(redirections, *CHECK, "--port", spec, "--json", str(path))
    assert ran.returncode == 1, ran.stdout + ran.stderr
    (check,) = json.loads(path.read_text())["checks"]
    assert "died" not in json.dumps(check)
    assert "shape" in json.dumps(check["message"])


@pytest.mark.few(1)
@needs_full
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["explain", *CHECK[1:]], 0),
        (["check", "--golden", "nowhere"], 3),
        (["report", "nowhere.json", "--html", "build.html"], 2),
        (["convert", "a.safetensors", "b.nothing"], 2),
        (["check", "--only", "nothing"], 2),
        (["nothing"], 2),
    ],
)
def test_every_command_keeps_its_exit_status(arguments: list[str], status: int) -> None:
    for redirections in (">&- 2>&-", ">/dev/full 2>/dev/full"):
        assert shell(redirections, *arguments).returncode == status


def test_the_console_script_as_well() -> None:
    script = Path(sys.executable).with_name("parity")
    if not script.exists():
        pytest.skip("parity is not installed here")
    words = ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", str(script), *CHECK]
    ran = subprocess.run(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300)
    assert ran.returncode == 0


INSIDE = """
import os, sys
from parity.ask import streams
import parity.cli  # imports all that a command does before it looks at its streams
with streams.printing():
    inherited = [os.get_inheritable(n) for n in range(3)]
    names = [os.path.realpath(f"/proc/self/fd/{n}") for n in range(3)]
    sys.stdin.read(), print("x"), print("x", file=sys.stderr)
with open(sys.argv[1], "w") as file:
    file.write(repr((inherited, names)))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc here")
def test_no_other_file_gets_the_descriptor_of_a_closed_stream(tmp_path: Path) -> None:
    for closed in itertools.product((False, True), repeat=3):
        texts = ("</dev/null", ">/dev/null", "2>/dev/null"), ("<&-", ">&-", "2>&-")
        chosen = " ".join(texts[shut][n] for n, shut in enumerate(closed))
        file = tmp_path / "found"
        words = ["bash", "-c", f'"$@" {chosen}', "bash", sys.executable, "-c", INSIDE, str(file)]
        assert subprocess.run(words, cwd=ROOT, timeout=60).returncode == 0
        assert file.read_text() == repr(([True] * 3, ["/dev/null"] * 3))


def test_a_stream_that_someone_reads_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    captured = sys.stdout
    with streams.printing():
        assert sys.stdout is captured
        print("seen")
    assert capsys.readouterr().out == "seen\n"


def test_a_stream_that_has_no_room_now_is_waited_for() -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with streams.Tolerant(writes, "w") as raw, open(reads, "rb", buffering=0) as file:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writes, b"x" * 4096)
        reading = threading.Timer(0.1, file.read, (1 << 16,))
        reading.start()
        assert raw.write(b"y" * 100) == 100
        assert not raw.dropped
        reading.join()


def test_an_encoding_that_lacks_a_letter_decides_nothing() -> None:
    code = "import sys; from parity.ask import streams\nwith streams.printing(): print('\\u274c')"
    words = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, b"\\u274c\n")


def test_a_descriptor_that_can_be_written_says_nothing() -> None:
    reads, writes = os.pipe()
    with streams.Tolerant(writes, "w") as raw, io.FileIO(reads) as file:
        assert raw.write(b"abc") == 3
        assert file.read(3) == b"abc"
        assert not raw.trouble
