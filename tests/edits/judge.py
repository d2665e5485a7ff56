"""Is a port with an edit in it still green? Asked of a port that stays warm, edit after edit."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import multiprocessing.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from parity.ask.recorded import Recorded
from parity.ask.session import Session
from parity.draw.plan import Plan, beside_golden
from parity.draw.profiles import profile_named
from parity.entries.registry import properties
from parity.entries.runner import run_checks
from parity.errors import BadCall, PortFailed
from parity.golden import goldens
from parity.side.settings import ENVIRONMENT
from parity.verdict.comparison import Verdict
from tests.edits.sites import Edit

ROOT = Path(__file__).resolve().parents[2]
PAIR, GOLDEN = "ebm.pair:pair", "goldens"

TESTED = {
    "port_torch/checkpoint.py": "tests/torch_side/test_checkpoint.py",
    "port_torch/keras_adam.py::KerasAdam.__init__": "tests/torch_side/test_keras_adam.py",
    "port_torch/keras_adam.py::KerasAdam.step": "tests/torch_side/test_keras_adam.py",
    "port_torch/langevin.py::evaluating": "tests/torch_side/test_port.py",
}
"""What no entry of a pair reaches, and the test that claims it: a file, which the golden says
nothing of, or a function, of whose edits the test judges those that the golden lets pass."""

TIMEOUT, TEST_TIMEOUT = 30.0, 120.0
"""Seconds for one answer, of which the slowest takes one, and for a test, which takes two: longer,
and a port hangs. So much, that a busy machine does not make an edit red."""

HUNG = "hung"

MEMORY = 16 << 30
"""Bytes that a port may ask for: an edit may turn a size into a power of it."""

BATCH = 20
"""Edits judged by one warm port before it is asked whether it is still what it was."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """What became of an edit.

    Attributes:
        edit: it.
        red: the check or the test that was red first, or "import"; empty if none was.
    """

    edit: Edit
    red: str

    @property
    def survived(self) -> bool:
        return not self.red


class PollutedPort(Exception):
    """The port as it is was red after edits of it: what was said of those is worth nothing."""


class Judge:
    """A port beside the golden, warm; use as a context manager."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        golden = goldens.load(ROOT / GOLDEN, ROOT, PAIR)
        recorded = Recorded(golden.answers, f"the golden {GOLDEN}")
        self._golden = golden
        self._session = Session(PAIR, recorded=recorded, timeout=timeout, root=ROOT)
        self._plan = Plan()

    def __enter__(self) -> Judge:
        self._session.open()
        # As `parity check --golden` has it; the same for every edit, as none can change it.
        quick = profile_named("quick")
        self._plan = beside_golden(self._session, self._golden.plan, quick, self._golden.seed)
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def judge(self, edit: Edit) -> Judged:
        """Judge the port with the edit in it, and leave the port as it is."""
        with tempfile.TemporaryDirectory(prefix="parity-edit-") as folder:
            write(edit, Path(folder))
            red = "" if edit.file in TESTED else self._first_red_of(Path(folder))
            if not red and (test := test_of(edit)) is not None:
                red = red_in_test(test, Path(folder))
            return Judged(edit, red)

    def _first_red_of(self, folder: Path) -> str:
        try:
            with self._session.with_overlay(folder):
                return self.first_red()
        except (PortFailed, BadCall):
            return "import"

    def first_red(self) -> str:
        """The first check that is not green and why, of the port as it is now; empty if all are.

        What is red on one case is red over all, so only a port that nothing is red on is put to
        every case together, as ``parity check`` does: that alone decides that it is green.
        """
        for claim in properties(self._session, self._plan):
            for outcomes in claim.run():
                for outcome in outcomes:
                    if not outcome.verdict.green and outcome.verdict is not Verdict.UNCHECKED:
                        return self._told(outcome.check, outcome.verdict)
        for check in run_checks(self._session, self._plan):
            if not check.verdict.green:
                return self._told(check.name, check.verdict)
        return ""

    def _told(self, check: str, verdict: Verdict) -> str:
        return f"{check}: {HUNG if self._session.port_hung else verdict}"


def test_of(edit: Edit) -> str | None:
    """The test that judges it, besides the golden or in its place."""
    return TESTED.get(edit.file) or TESTED.get(f"{edit.file}::{edit.scope}")


def write(edit: Edit, folder: Path) -> None:
    """The package that the edit changes, with the edit in it."""
    package = Path(edit.file).parts[0]
    shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / edit.file).write_text(edit.applied((ROOT / edit.file).read_text()))


def red_in_test(test: str, folder: Path) -> str:
    """Which test of a file is red with the packages in ``folder`` in place of the project's.

    Each time in a process forked from one that has imported the framework, and not the port.

    Raises:
        RuntimeError: no test was red, and yet they did not pass: nothing was judged.
    """
    words = folder / "words"
    forked = _FORKS.Process(target=_test, args=(test, str(folder), str(words)))
    forked.start()
    forked.join(TEST_TIMEOUT)
    if forked.exitcode is None:
        forked.kill()
        forked.join()
        return HUNG
    if forked.exitcode == 0:
        return ""
    lines = words.read_text().splitlines() if words.exists() else []
    named = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if not named:
        raise RuntimeError(f"{test} ended with {forked.exitcode}: {' '.join(lines[-3:])}")
    return named[0].split()[1].rpartition("::")[2] or "import"


_FORKS = multiprocessing.get_context("forkserver")


def _test(test: str, folder: str, words: str) -> None:
    import pytest

    sys.path[:0] = [folder]
    os.chdir(ROOT)
    with open(words, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        options = ["-q", "-x", "-p", "no:cacheprovider"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # imported before the fork
        status = pytest.main([*options, test])
        sys.stdout.flush()
    os._exit(status)


def judged(edits: Sequence[Edit], jobs: int) -> Iterator[Judged]:
    """Each edit judged, as they come, by ``jobs`` processes with a warm port each.

    Raises:
        PollutedPort: an edit has changed more of a process than its program.
    """
    batches = [edits[start : start + BATCH] for start in range(0, len(edits), BATCH)]
    with _judges(jobs) as executor:
        submitted = [executor.submit(_judge, batch) for batch in batches]
        for future in concurrent.futures.as_completed(submitted):
            yield from future.result()


@contextlib.contextmanager
def _judges(jobs: int) -> Iterator[concurrent.futures.Executor]:
    executor = concurrent.futures.ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_open
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


_warm: Judge


def _open() -> None:
    """Open a judging process's port, which ends with it."""
    global _warm
    os.environ.update(ENVIRONMENT)
    _limit_memory()
    _FORKS.set_forkserver_preload(["pytest", "torch", "parity.golden.goldens", "tests.edits.judge"])
    _warm = Judge()
    _warm.__enter__()
    multiprocessing.util.Finalize(None, _warm.__exit__, exitpriority=10)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # where there is no such limit
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, most))


def _judge(batch: Sequence[Edit]) -> list[Judged]:
    found = [_warm.judge(edit) for edit in batch]
    red = _warm.first_red()
    for test in sorted({test for edit in batch if (test := test_of(edit)) is not None}):
        with tempfile.TemporaryDirectory(prefix="parity-edit-") as folder:
            red = red or red_in_test(test, Path(folder))
    if red:
        raise PollutedPort(f"{red}, after {', '.join(edit.name for edit in batch)}")
    return found
