"""Processes that begin with something imported: forks, or fresh ones where a fork were another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from parity.ask import warm

IMPORTED = "wave"  # stands for a framework: of the standard library, and imported by nobody here
SETTINGS = {"TF_LEVEL": "3"}
SAY = f"import sys; print({IMPORTED!r} in sys.modules)"


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Path]:
    """The socket of a nursery that is made as :func:`parity.ask.warm.nurseries` makes them."""
    path = tmp_path / "socket"
    words = [sys.executable, "-P", warm.__file__, "--serve", str(path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        [*words, json.dumps([IMPORTED]), json.dumps(SETTINGS)],
        stdin=subprocess.PIPE,
        env=environment,
    ) as process:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield path
        process.communicate()


def words(path: Path, code: str) -> list[str]:
    return [sys.executable, "-I", "-S", warm.__file__, str(path), "-u", "-c", code]


def run(
    path: Path, code: str, cwd: Path | None = None, given: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = {**os.environ, **variables}
    return subprocess.run(
        words(path, code), cwd=cwd, env=environment, input=given, capture_output=True, text=True
    )


def test_a_fork_has_what_was_imported_and_its_own_streams_folder_and_environment(
    nursery: Path, tmp_path: Path
) -> None:
    code = (
        f"{SAY}; import os; print(os.getcwd(), os.environ['MINE'], sys.stdin.read(), sys.argv);"
        "print('said', file=sys.stderr); sys.exit(7)"
    )
    for given in ("one", "two"):
        ran = run(nursery, code, cwd=tmp_path, given=given, MINE="yes", TF_LEVEL="1")
        assert ran.stdout.split("\n")[:2] == ["True", f"{tmp_path} yes {given} ['-c']"]
        assert (ran.stderr, ran.returncode) == ("said\n", 7)


@pytest.mark.parametrize("name", ["TF_OTHER", "LD_DEBUG_OUTPUT", "PYTHONOPTIMIZE", "KERAS_HOME"])
def test_another_value_of_what_an_import_reads_makes_a_fresh_process(
    nursery: Path, name: str
) -> None:
    assert run(nursery, SAY).stdout == "True\n"
    assert run(nursery, SAY, **{name: "1"}).stdout == "False\n"


def test_a_module_that_would_be_imported_in_its_place_makes_a_fresh_process(
    nursery: Path, tmp_path: Path
) -> None:
    code = f"import {IMPORTED}; print({IMPORTED}.__file__)"
    (tmp_path / "innocent.py").touch()
    assert str(tmp_path) not in run(nursery, code, PYTHONPATH=str(tmp_path)).stdout
    (tmp_path / f"{IMPORTED}.py").touch()
    for ran in (run(nursery, code, PYTHONPATH=str(tmp_path)), run(nursery, code, cwd=tmp_path)):
        assert str(tmp_path) in ran.stdout or ran.stdout == f"{tmp_path / IMPORTED}.py\n"


def test_without_a_nursery_it_is_a_fresh_process(tmp_path: Path) -> None:
    assert run(tmp_path / "none", SAY).stdout == "False\n"


def test_who_stands_in_takes_the_fork_along_and_says_how_it_ended(nursery: Path) -> None:
    code = "import os, time; print(os.getpid()); time.sleep(600)"
    with subprocess.Popen(words(nursery, code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        assert fork != process.pid
        process.kill()
        assert process.stdout.read() == ""  # the fork held it, and is gone
    with subprocess.Popen(words(nursery, code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        os.kill(int(process.stdout.readline()), signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def test_a_nursery_ends_with_its_owner_and_ends_its_forks(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys; from parity.ask import warm; import parity.ask.workers\n"
        "with warm.nurseries():\n"
        "    print(os.environ[warm.WARM], flush=True)\n"
        "    sys.stdin.read()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != warm.WARM}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        owner.kill()
        assert owner.stdout.read() == ""  # the nurseries held it too
    assert folder.name.startswith("parity-warm-")


def test_a_module_is_run_with_its_arguments(nursery: Path, tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text(
        "import sys; print(__name__, sys.argv); sys.exit('no such thing')"
    )
    start = [sys.executable, "-I", "-S", warm.__file__, str(nursery), "-m", "said", "one"]
    ran = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == f"__main__ [{str(tmp_path / 'said.py')!r}, 'one']\n"
    assert (ran.stderr, ran.returncode) == ("no such thing\n", 1)


def test_a_signal_reaches_the_fork(nursery: Path) -> None:
    code = "import time\ntry:\n    print(1); time.sleep(60)\nexcept KeyboardInterrupt:\n    exit(3)"
    with subprocess.Popen(words(nursery, code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 3


def test_the_worker_of_a_role_is_asked_of_its_nursery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(warm.WARM, "/a folder")
    assert warm.interpreter("port")[-1] == "/a folder/port"
    monkeypatch.delenv(warm.WARM)
    assert warm.interpreter("port") == [sys.executable]
