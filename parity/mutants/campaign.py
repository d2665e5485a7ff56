"""Every mutant of a pair, alone and combined, against the harness.

The reference answers once, in a recording; then ports are judged in several processes, each with
one that stays warm and imports only the mutated program anew.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import itertools
import multiprocessing
import multiprocessing.util
import os
import random
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from parity.ask.kept import Kept
from parity.ask.progress import Tell
from parity.ask.recorded import Recorded
from parity.ask.session import Session
from parity.ask.workers import DEFAULT_TIMEOUT
from parity.declare import specs
from parity.declare.declarations import Pair
from parity.draw.plan import Plan, draw
from parity.entries.runner import run_checks
from parity.errors import BadCall, PortFailed
from parity.explain.questions import ask_everything
from parity.mutants.judge import LEAN, Judged, Mask, judge, names_of
from parity.mutants.mutant import Conflict, Mutant, edited
from parity.mutants.reached import Reached
from parity.side.settings import ENVIRONMENT
from parity.verdict.outcome import CheckResult

Combination = tuple[Mutant, ...]
LEAST_NAMED = 0.98
"""Of the faults in triples; single faults and pairs are all to be named."""

CLAIMS = {1: "single faults", 2: "pairs of faults", 3: "triples of faults"}


@dataclasses.dataclass(frozen=True)
class Campaign:
    """What was judged.

    Attributes:
        judged: every combination that was run, the smallest first.
        conflicts: names of combinations that no port can have, for they edit the same text.
        checks: what became of the port without any fault.
        environment: of both sides.
        stopped: what ended it before everything was judged, if something did.
    """

    judged: tuple[Judged, ...]
    conflicts: tuple[tuple[str, ...], ...]
    checks: tuple[CheckResult, ...]
    environment: Mapping[str, str]
    stopped: BaseException | None = None

    def of_size(self, size: int) -> list[Judged]:
        """Those of ``size`` mutants all of whose faults can show."""
        return [j for j in self.judged if len(j.mutants) == size and j.visible == j.mutants]

    @property
    def masked(self) -> list[Judged]:
        """Those of whose faults some show to the probes alone, and are to be named all the same."""
        return [j for j in self.judged if j.masked]

    @property
    def invisible(self) -> list[Judged]:
        """Those of whose faults some show neither to a check nor to a probe."""
        return [j for j in self.judged if j.visible and j.visible != j.mutants]

    @property
    def equivalent(self) -> list[Judged]:
        """Those that are the reference's program."""
        return [j for j in self.judged if not j.visible]

    @property
    def bad(self) -> list[Judged]:
        """Survivors, and those that are misnamed."""
        return [j for j in self.judged if not j.good]

    @property
    def good(self) -> bool:
        """Nothing survives; none is misnamed of up to two faults, and 2 in 100 of more."""
        if self.stopped is not None:
            return False
        if any(len(j.mutants) <= 2 or j.wrong or not j.caught for j in self.bad if j.visible):
            return False
        return all(j.good for j in self.equivalent) and self.named_share(3) >= LEAST_NAMED

    def named_share(self, size: int) -> float:
        """Which part of the faults that can show in combinations of ``size`` is named."""
        return _share([(j.unnamed, j.visible) for j in self.of_size(size)])

    @property
    def masked_share(self) -> float:
        """Which part of the faults that show to the probes alone is named."""
        return _share([(set(j.unnamed) & set(j.masked), j.masked) for j in self.masked])


def _share(parts: Iterable[tuple[Collection[str], Collection[str]]]) -> float:
    """Of (what is wrong, of how many): the part that is right, 1 of nothing."""
    counted = [(len(wrong), len(whole)) for wrong, whole in parts]
    total = sum(whole for _, whole in counted)
    return 1.0 - sum(wrong for wrong, _ in counted) / total if total else 1.0


def mutants_of(pair: str) -> tuple[tuple[Mutant, ...], tuple[frozenset[str], ...]]:
    """A pair's mutants, and the sets of their names that together are the reference's program.

    Raises:
        BadCall: it declares none, or an equivalent set names one that is not there.
    """
    declared = specs.resolve(pair, "pair")
    if not isinstance(declared, Pair) or declared.mutants is None:
        raise BadCall(f"{pair} declares no mutants; expected parity.Pair(mutants='module:NAME')")
    mutants = tuple(specs.entry(declared.mutants))
    names = {mutant.name for mutant in mutants}
    declared_equivalent = () if declared.equivalent is None else specs.entry(declared.equivalent)
    equivalent = tuple(frozenset(together) for together in declared_equivalent)
    if unknown := sorted(set().union(*equivalent) - names):
        raise BadCall(f"{declared.equivalent} names {unknown}, which are no mutants of {pair}")
    return mutants, equivalent


def run(
    pair: str,
    root: Path,
    *,
    depth: int = 2,
    sample: int = 300,
    jobs: int = 2,
    seed: int = 0,
    timeout: float = DEFAULT_TIMEOUT,
    tell: Tell = lambda *_: None,
) -> Campaign:
    """Judge the mutants of ``pair``.

    Args:
        depth: the most faults in one port.
        sample: how many triples are drawn, from ``seed``, if ``depth`` is 3.
        jobs: processes that judge; each has a port in a process of its own, and they take turns.

    Raises:
        BadCall: the pair declares no mutants, or one that does not fit its port.
        ReferenceFailed: the reference cannot be run.
        PortFailed: the port without a fault is not green, so that nothing is known of its mutants.
    """
    mutants, equivalent = mutants_of(pair)
    by_name = {mutant.name: mutant for mutant in mutants}
    wanted = [*combinations(mutants, depth, sample, seed)]
    same = [tuple(m for m in mutants if m.name in names) for names in equivalent]
    wanted += [combination for combination in same if combination not in wanted]
    possible, conflicts = possible_of(wanted, root)
    tell("recording the reference", 0, 1)
    answers, checks, environment = record(pair, root, timeout)
    tell("recording the reference", 1, 1)
    found: dict[tuple[str, ...], Judged] = {}
    stopped: BaseException | None = None
    try:
        with _judges(pair, root, answers, jobs, timeout) as executor:
            for size, batch in itertools.groupby(sorted(possible, key=len), len):
                submitted = [
                    executor.submit(_judge, c, list(masks_of(c, found, by_name, equivalent)))
                    for c in batch
                ]
                claim = CLAIMS.get(size, f"{size} faults")
                for done, future in enumerate(concurrent.futures.as_completed(submitted), start=1):
                    found[future.result().mutants] = future.result()
                    tell(claim, done, len(submitted))
    except (Exception, KeyboardInterrupt) as error:
        if not found:
            raise
        stopped = error
    return Campaign(
        tuple(found[name] for c in sorted(possible, key=len) if (name := names_of(c)) in found),
        conflicts,
        tuple(checks),
        environment,
        stopped,
    )


def combinations(
    mutants: Sequence[Mutant], depth: int, sample: int, seed: int
) -> Iterator[Combination]:
    """Every mutant, every pair of them from depth 2, and ``sample`` random triples from depth 3."""
    yield from ((mutant,) for mutant in mutants)
    if depth >= 2:
        yield from itertools.combinations(mutants, 2)
    if depth >= 3:
        triples = list(itertools.combinations(mutants, 3))
        yield from random.Random(seed).sample(triples, min(sample, len(triples)))


def possible_of(
    wanted: Iterable[Combination], root: Path
) -> tuple[list[Combination], tuple[tuple[str, ...], ...]]:
    """Those that a port can have, and the names of those that edit the same text."""
    possible, conflicts = [], []
    for combination in wanted:
        try:
            edited(combination, root)
        except Conflict:
            conflicts.append(names_of(combination))
        else:
            possible.append(combination)
    return possible, tuple(conflicts)


def masks_of(
    combination: Combination,
    found: Mapping[tuple[str, ...], Judged],
    by_name: Mapping[str, Mutant],
    equivalent: Sequence[Set[str]],
) -> Iterator[Mask]:
    """What may be all that shows of a combination: see :data:`parity.mutants.judge.Mask`."""
    names = names_of(combination)
    for undone in equivalent:
        if undone <= set(names):
            yield Mask(tuple(m for m in combination if m.name not in undone))
    for size in range(1, len(combination)):
        for smaller in itertools.combinations(names, size):
            if smaller in found:
                judged = found[smaller]
                visible = tuple(by_name[name] for name in judged.visible)
                yield Mask(visible, judged.answers, judged.all_answers)


def record(
    pair: str, root: Path, timeout: float
) -> tuple[dict[str, Any], list[CheckResult], dict[str, str]]:
    """All that the reference is asked while ports are judged, by judging the port as it is."""
    with Session(pair, twins=True, kept=True, timeout=timeout, root=root) as session:
        assert isinstance(session.reference, Kept)
        plan = draw(session, LEAN, 0)
        checks = run_checks(session, plan)
        ask_everything(session, plan)
        answers = dict(session.reference.answers)
        environment = session.environment()
    red = [check.name for check in checks if not check.verdict.green]
    if red:
        raise PortFailed(
            f"the port as it is is red in {', '.join(red)}, so nothing can be learnt from mutants "
            f"of it: see 'parity explain {pair}'"
        )
    return answers, checks, environment


@contextlib.contextmanager
def _judges(
    pair: str, root: Path, answers: dict[str, Any], jobs: int, timeout: float
) -> Iterator[concurrent.futures.Executor]:
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if "THREADS" in name})
    executor = concurrent.futures.ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_open,
        initargs=(pair, root, answers, timeout),
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


_session: Session
_plan: Plan
_known: Reached


def _open(pair: str, root: Path, answers: dict[str, Any], timeout: float) -> None:
    """Open a judging process's session, which ends with it."""
    global _session, _plan, _known
    recorded = Recorded(answers, "the recording made for this campaign")
    _session = Session(pair, recorded=recorded, timeout=timeout, root=root)
    _session.open()
    _plan = draw(_session, LEAN, 0)  # the same for every port, as a gate's is
    _known = Reached(_session.pair.port, root)
    multiprocessing.util.Finalize(None, _session.close, exitpriority=10)


def _judge(combination: Combination, masks: Sequence[Mask]) -> Judged:
    with tempfile.TemporaryDirectory(prefix="parity-mutant-") as folder:
        return judge(_session, combination, Path(folder), masks, _plan, _known)
