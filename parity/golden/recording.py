"""Recording a golden: the reference is asked all that a check and an explanation may ask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.ask.progress import Tell
from parity.ask.recorded import Recorder, key_of
from parity.ask.session import QUESTIONS, Session
from parity.draw.plan import Plan, draw
from parity.draw.profiles import Profile
from parity.draw.recipes import Recipe
from parity.entries.registry import properties
from parity.errors import BadCall, PortFailed
from parity.explain.questions import ask_everything
from parity.golden import goldens
from parity.side.repeated import refuse_different
from parity.side.training import stepwise
from parity.values import archive
from parity.values.cases import Case
from parity.values.traces import Trace, chosen

GOLDEN = Profile("golden", 6, 8, 3, 4, 6, 3, 2, 5, 1)
"""Fewer cases than ``quick``: they are kept in the project's repository."""

LARGEST_ARRAY = 4096
"""Elements of a training step's weight, gradient or moment that a golden keeps."""


class RecordingSession(Session):
    """A session that hears the reference alone: whatever the port does, the same is recorded.

    Where both are asked, the reference's answer stands for the port's.
    """

    def ask_both(
        self,
        method: str,
        case: Case,
        *,
        reference: Mapping[str, Any] | None = None,
        port: Mapping[str, Any] | None = None,
    ) -> tuple[Trace, Trace | PortFailed]:
        assert isinstance(self.reference, Recorder)
        arguments = {"case": case.to_bytes(), **(reference or {})}
        answer = self.reference.ask(method, **arguments)
        found = Trace.from_bytes(answer, "the reference")
        refuse_different(found.notes, QUESTIONS.get(method, method))
        trace = thinned(method, found.reduced())
        self.reference.answers[key_of(method, arguments)] = trace.to_bytes()
        return trace, dataclasses.replace(trace, arrays={**trace.arrays, "float32": {}})

    def ask_port(self, method: str, **arguments: Any) -> Any:
        return PortFailed("the port is not asked while a golden is recorded")


def thinned(method: str, trace: Trace) -> Trace:
    """The trace without what a golden can do without.

    Of a long trajectory, samples after 1, 2, 4, 8, ... steps and the last; a teacher-forced step
    follows each. Of training, no weights, gradients and moments above ``LARGEST_ARRAY`` elements:
    every kind of layer is there in a smaller network.
    """
    arrays = dict(trace.arrays["float64"])
    notes = dict(trace.notes)
    if method == "samples":
        notes["kept"] = chosen(len(arrays["samples"]))
        arrays["samples"] = arrays["samples"][notes["kept"]]
    elif method == "training":
        large = [n for n, a in arrays.items() if stepwise(n) and a[0].size > LARGEST_ARRAY]
        arrays = {name: array for name, array in arrays.items() if name not in large}
        notes["left_out"] = large
    return dataclasses.replace(trace, arrays={**trace.arrays, "float64": arrays}, notes=notes)


def sampled(key: str, answer: Any) -> Any:
    """Of fresh weights, as many of each as tell a distribution."""
    if not key.startswith("initial_weights/"):
        return answer
    weights, about = archive.from_bytes(answer, key)
    few = {
        name: array.reshape(len(array), -1)[:, :: max(1, array.size // LARGEST_ARRAY)]
        for name, array in weights.items()
    }
    return archive.to_bytes(few, about)


def record(session: RecordingSession, folder: Path, seed: int, tell: Tell) -> None:
    """Ask the reference everything, and write the golden into an empty folder.

    Raises:
        ReferenceFailed: the reference raised, hung or died.
        OSError: the golden cannot be written.
    """
    recorder = session.reference
    assert isinstance(recorder, Recorder)
    plan = small(draw(session, GOLDEN, seed))
    groups: dict[str, dict[str, Any]] = {}

    def keep(name: str) -> None:
        seen = {key for answers in groups.values() for key in answers}
        fresh = {key: answer for key, answer in recorder.answers.items() if key not in seen}
        if fresh:
            groups[name] = {key: sampled(key, answer) for key, answer in fresh.items()}

    session.environment()
    keep("session")
    for claim in properties(session, plan):
        if any(session.lacking(entry) for entry in claim.needs):
            continue
        for number, _ in enumerate(claim.run(), start=1):
            tell(claim.claim, number, claim.expected)
            keep(f"{claim.name}-{number:02}")
    tell("what an explanation asks", 0, 1)
    ask_everything(session, plan)
    tell("what an explanation asks", 1, 1)
    keep("explanation")
    goldens.fill(
        folder,
        pair=session.pair_spec,
        seed=seed,
        plan=plan,
        environment=recorder.ask("environment"),
        sources=sources(session),
        groups=groups,
    )


def small(plan: Plan) -> Plan:
    """The plan with small batches: what is wrong with one image shows in two."""

    def fewer(recipes: tuple[Recipe, ...], largest: int = 3) -> tuple[Recipe, ...]:
        return tuple(dataclasses.replace(r, batch=min(r.batch, largest)) for r in recipes)

    return dataclasses.replace(
        plan,
        networks=fewer(plan.networks, 2),
        batches=fewer(plan.batches),
        trajectories=fewer(plan.trajectories, 2),
        states=fewer(plan.states),
    )


def sources(session: Session) -> dict[str, str]:
    """The reference's own files and the pair's weights, with digests."""
    names = session.reference.ask("sources", root=str(session.root))
    names += [str(path) for path in session.pair.weights.values()]
    found = {}
    for name in sorted(set(names)):
        digest = goldens.digest_of_file(session.root / name)
        if digest is None:
            raise BadCall(f"{session.root / name}, which the reference is made of, cannot be read")
        found[name] = digest
    return found
