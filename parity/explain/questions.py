"""What both sides are asked for an explanation: each part on a case of its own.

Whatever may be asked here is asked when a golden is recorded, too (:func:`ask_everything`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from parity.ask.session import Session, Settings
from parity.declare import specs
from parity.draw.plan import Plan
from parity.draw.recipes import make_case
from parity.errors import PortFailed
from parity.explain.training import Run, run_of
from parity.side import sampler_probe, training_probe
from parity.side.training_probe import PROBE_STEPS
from parity.values import archive
from parity.values.cases import Case
from parity.values.traces import Trace
from parity.verdict.floor import NETWORK_COPIES


def ask_everything(session: Session, plan: Plan) -> None:
    """Ask both sides all that an explanation may need, whatever is red: for recording."""
    for case in (make_case(session, recipe) for recipe in plan.localising):
        for part in (case, alone(case)):
            ask_network(session, part)
    if session.has("generate_samples"):
        for clip in {False, session.both_support("gradient_clip")}:
            case = sampler_probe.probe_case(*session.pair.image_range, gradient_clip=clip)
            session.ask_both("probing", case)
            session.ask_reference("probing_noise", case, seed=case.key)
    if session.has("train_step") and session.has("make_optimizer"):
        training_runs(session, everything=True)


@dataclasses.dataclass(frozen=True)
class NetworkAnswers:
    """Both sides' answers on one case of the network, as a whole and segment by segment.

    Attributes:
        reference, port: to ``network``.
        backward: the reference's cotangents, with floors.
        segments, gradients: the port's, each segment from the reference's values before it; None
            if ``segments`` failed already.
        given: those values, as an archive.
    """

    reference: Trace
    port: Trace | PortFailed
    backward: Trace
    segments: Trace | PortFailed
    gradients: Trace | None
    given: bytes


def ask_network(
    session: Session, case: Case, network: tuple[Trace, Trace | PortFailed] | None = None
) -> NetworkAnswers:
    """Ask both sides about one case of the network.

    Args:
        network: both sides' answers to ``network``, if they are known.
    """
    reference, port = network or session.ask_both(
        "network", case, reference={"copies": NETWORK_COPIES}
    )
    answer = session.ask_reference("backward", case, copies=NETWORK_COPIES)
    backward = Trace.from_bytes(answer, "the reference")
    values = {
        name: array
        for arrays in (reference.arrays["float64"], backward.arrays["float64"])
        for name, array in arrays.items()
        if name.startswith(("activations/", "cotangents/"))
    }
    given = archive.to_bytes(values, {})
    segments = session.ask_port("segments", case=case, substituted=given)
    if isinstance(segments, PortFailed):
        return NetworkAnswers(reference, port, backward, segments, None, given)
    gradients = session.ask_port("segment_gradients", case=case, given=given)
    return NetworkAnswers(
        reference,
        port,
        backward,
        Trace.from_bytes(segments, "the port"),
        None if isinstance(gradients, PortFailed) else Trace.from_bytes(gradients, "the port"),
        given,
    )


def alone(case: Case) -> Case:
    """The case with its first image only, where no other can leak into it."""
    return dataclasses.replace(case, images=case.images[:1])


def sampler_case(session: Session) -> Case:
    """The probe's, with the arguments that both samplers take."""
    clip = session.both_support("gradient_clip")
    return sampler_probe.probe_case(*session.pair.image_range, gradient_clip=clip)


def training_runs(
    session: Session, *, everything: bool = False
) -> tuple[list[tuple[Run, Run]], str | None]:
    """Both sides' training of the probe, on the settings that the pair declares.

    A port that raises in its second step is asked for the first alone.

    Args:
        everything: ask for the first alone in any case.

    Returns:
        (reference's, port's) of each case, and in words what kept the port from training, if so.
    """
    found: list[tuple[Run, Run]] = []
    problem: str | None = None
    for declared in _declared_trainings(session):
        two, one = (_training_case(session, *declared, steps=n) for n in (PROBE_STEPS, 1))
        restored = _training_case(
            session,
            *declared,
            steps=1,
            iterations=10,
            buffer=4 if session.has("replay_buffer") else None,
            moments=session.moments(),
        )
        for case, instead in ((two, one), (restored, None)):
            run = _training_run(session, case)
            if instead is not None and (everything or run.problem is not None):
                again = _training_run(session, instead)
                problem, run = (problem or run.problem, again) if run.problem else (problem, run)
            problem = problem or run.problem
            if run.sides is not None:
                found.append(run.sides)
    return found, problem


def first_training(session: Session) -> Case:
    """The probe's first step on the first of the settings: where every part of a step occurs."""
    return _training_case(session, *_declared_trainings(session)[0], steps=1)


def _training_case(session: Session, settings: Settings, batch: int, **numbers: Any) -> Case:
    shape, limits = session.facts(settings).image_shape, session.pair.image_range
    return training_probe.probe_case(shape, settings, batch, limits=limits, **numbers)


def _declared_trainings(session: Session) -> list[tuple[Settings, int]]:
    """Settings, and how many real images a step takes."""
    if session.pair.fixed_trainings is None or not session.trains_by_settings:
        return [(None, 4)]
    with specs.declaration("fixed_trainings"):
        return [(s, n) for s, n, _ in specs.entry(session.pair.fixed_trainings)()]


@dataclasses.dataclass(frozen=True)
class _Trained:
    """Both sides' training of a probe, as far as it came, and what kept it from its end."""

    sides: tuple[Run, Run] | None = None
    problem: str | None = None


def _training_run(session: Session, case: Case) -> _Trained:
    reference, port = session.ask_both("probing_training", case)
    if reference.notes["raised"] is not None:
        words = reference.notes["raised"]
        return _Trained(problem=f"the reference cannot train a probe: {words}")
    if isinstance(port, PortFailed):
        return _Trained(problem=str(port).splitlines()[0])
    sides = run_of(case, reference), run_of(case, port)
    if port.notes["raised"] is not None:
        return _Trained(sides, f"on a probe for a network it raises {port.notes['raised']}")
    return _Trained(sides)
