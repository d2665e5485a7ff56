"""Bad calls: the port raises where the reference raises, and nowhere else.

What each side raises is reported and not compared: exceptions of two frameworks have no common
types. Samplers and training are called on the probes, so the network has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from parity.ask.session import Session
from parity.declare import refusals, specs
from parity.declare.refusals import CHECKS, Call
from parity.declare.signatures import OPTIONAL
from parity.draw.drawing import drawn
from parity.draw.plan import Plan
from parity.entries.compared import failed
from parity.entries.preprocess import all_grey_levels
from parity.entries.property import Entry, Property
from parity.errors import PortFailed, ReferenceFailed
from parity.side.sampler_probe import probe_case
from parity.side.training_probe import probe_case as training_case
from parity.values.cases import Case
from parity.values.randomness import generator
from parity.verdict.outcome import Outcome

MOST_TOLD = 4

BATCH = 4
"""Real images of a training step where the pair declares no number."""


def check_refusals(session: Session, entry: str) -> list[Outcome]:
    """Every call that ``parity.declare.refusals`` has for ``entry``, on both sides."""
    arguments, more = _stimulus(session, entry)
    theirs = _calls(entry, session.reference_about, more)
    ours = _calls(entry, session.port_about, more)
    port = session.ask_port("refusals", entry=entry, calls=[list(c) for c in ours], **arguments)
    reference = session.reference.ask(
        "refusals", entry=entry, calls=[list(c) for c in theirs], **arguments
    )
    if isinstance(port, PortFailed):
        return [failed(CHECKS[entry], None, port)]
    said = {repr(call): answer for call, answer in zip(ours, port, strict=True)}
    pairs = [
        (call, truth, said[repr(call)])
        for call, truth in zip(theirs, reference, strict=True)
        if repr(call) in said
    ]
    return [Outcome(CHECKS[entry], (), None, findings=findings(entry, pairs), looked=True)]


def findings(
    entry: str, answers: Sequence[tuple[Call, str | None, str | None]]
) -> tuple[dict[str, str], ...]:
    """Where one side raises and the other does not.

    Args:
        answers: each call, the plain one first, and what the reference and the port raise; None
            where they return.

    Raises:
        ReferenceFailed: the reference refuses a plain call, so that its refusals say nothing.
    """
    (_, truth, ours), *_ = answers
    if truth is not None:
        raise ReferenceFailed(
            f"the reference refuses {refusals.in_words(entry, refusals.PLAIN)} and raises {truth}: "
            "what else it refuses says nothing, so do not claim 'refusals'"
        )
    if ours is not None:
        answers = answers[:1]  # of a port that refuses everything, once is enough
    unlike = [
        f"{refusals.in_words(entry, call)}: the reference {_does(truth)}, the port {_does(ours)}"
        for call, truth, ours in answers
        if (truth is None) != (ours is None)
    ]
    if len(unlike) > MOST_TOLD:
        unlike[MOST_TOLD:] = [f"and {len(unlike) - MOST_TOLD} more calls"]
    return tuple({"id": "refusals", "message": text} for text in unlike)


def _does(raised: str | None) -> str:
    return "returns" if raised is None else f"raises {raised}"


def _calls(entry: str, about: dict[str, Any], more: Sequence[Call]) -> list[Call]:
    """Those that a side can be asked: it may not take every argument."""
    arguments = None
    if entry == "generate_samples":
        optional = [name for name in OPTIONAL if not about[name]]
        arguments = [name for name in refusals.ARGUMENTS[entry] if name not in optional]
    return [*refusals.calls_of(entry, arguments), *(more if about["takes_settings"] else ())]


def _stimulus(session: Session, entry: str) -> tuple[dict[str, Any], list[Call]]:
    """What a plain call is given, as arguments that cross the pipe; and calls with bad settings."""
    if entry == "preprocess":
        images = all_grey_levels()
        return {"images": images.tobytes(), "shape": list(images.shape)}, []
    if entry == "model":
        size = (2, *session.facts(None).image_shape)
        noise = generator(0, "refusals").uniform(*session.pair.image_range, size)
        case, more = Case(weights={}, images=noise.astype("float32")), []
        if session.pair.architectures is not None:
            (settings,) = drawn(specs.entry(session.pair.architectures)(), 1, 0)
            more = refusals.settings_calls(settings)
        return {"case": case.to_bytes()}, more
    if entry == "generate_samples":
        return {"case": probe_case(*session.pair.image_range).to_bytes()}, []
    settings, batch = None, BATCH
    if session.pair.fixed_trainings is not None:
        settings, batch, _ = specs.entry(session.pair.fixed_trainings)()[0]
    image_shape = session.facts(settings).image_shape
    case = training_case(image_shape, settings, batch, steps=1, limits=session.pair.image_range)
    return {"case": case.to_bytes()}, []


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Bad calls of each entry that the plan asks for; each belongs to a check of the entry's."""
    for entry in plan.refusals:

        def run(entry: str = entry) -> Iterator[list[Outcome]]:
            yield check_refusals(session, entry)

        claim = f"bad calls of {entry}"
        yield Property(f"refusals_{entry}", claim, (CHECKS[entry],), (entry,), run, 1)


ENTRY = Entry((), properties)
