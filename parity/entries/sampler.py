"""``generate_samples``: every step of the trajectory, teacher-forced and free-running.

Free-running, an error of one unit in the last place may grow until two runs have nothing in common
although both are right; a step therefore counts only while the reference's own floor is below
1e-6 of the images' range. Beyond that horizon, and everywhere else too, each step is compared
teacher-forced: started from the reference's state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from parity.ask.session import Session
from parity.draw.plan import Plan
from parity.draw.recipes import make_case
from parity.entries.compared import failed, oracle_trouble
from parity.entries.draws import check_draws
from parity.entries.property import Entry, Property, saved
from parity.errors import PortFailed
from parity.values.cases import Case, SamplerCall
from parity.values.exhibits import Trajectory
from parity.values.traces import PRECISIONS, Trace
from parity.verdict.comparison import Answer, Comparison, compare
from parity.verdict.floor import TRAJECTORY_COPIES
from parity.verdict.outcome import Outcome

SAMPLER_CHECKS = ("samples_teacher_forced", "samples_free_running", "draw_log")

HORIZON = 1e-6
"""A free-running step counts while its float64 floor is below this part of the range."""

HORIZON32 = 1e-3
"""The same for float32, whose own rounding is 1e-7: beyond, one copy says little of another."""


def check_sampler(
    session: Session, case: Case, *, twice: bool = False, last: bool = False
) -> list[Outcome]:
    """One trajectory on both sides.

    Args:
        twice: run each side a second time and require the same bits, to see whether any
            randomness escapes the shared streams.
        last: ask the port for the last samples alone, too, of as many steps as count.
    """
    options = {"copies": TRAJECTORY_COPIES} | ({"twice": True} if twice else {})
    reference, port = session.ask_both("samples", case, reference=options)
    if isinstance(port, PortFailed):
        return [failed(check, case, port) for check in SAMPLER_CHECKS]
    outcomes = [
        _teacher_forced(session, case, reference),
        _free_running(session, case, reference, port),
        check_draws(case, reference, port),
    ]
    if twice:
        outcomes.append(_escaped(session, case, port))
    if last:
        outcomes.append(_last_of_many(session, case, reference))
    return outcomes


FEW_STEPS = 2
"""Steps of the call that returns the last samples alone: enough that these are not the first."""


def check_last(session: Session, case: Case) -> Outcome:
    """What the sampler returns where nobody asks for every step, as most callers do not."""
    assert case.sampler is not None
    steps = min(FEW_STEPS, case.sampler.steps)
    case = dataclasses.replace(case, sampler=dataclasses.replace(case.sampler, steps=steps))
    last = {"every_step": False}
    reference, port = session.ask_both(
        "samples", case, reference={"copies": TRAJECTORY_COPIES, **last}, port=last
    )
    if isinstance(port, PortFailed):
        return failed("samples_free_running", case, port)
    floors = [float(reference.floors[p]["samples"].max()) for p in PRECISIONS]
    error32 = float(reference.errors["samples"].max())
    comparison = compare(
        "samples",
        Answer(reference.arrays["float64"]["samples"], floors[0], error32, floors[1]),
        port.array("float64", "samples"),
        port.array("float32", "samples"),
        no_oracle=oracle_trouble(port),
        same_bits=reference.same_bits(port, "samples"),
    )
    return Outcome("samples_free_running", (comparison,), case)


def _last_of_many(session: Session, case: Case, reference: Trace) -> Outcome:
    """The port's last samples alone, of the longest trajectory that counts: what a caller gets
    that does not ask for every step may go wrong late, too."""
    floors = reference.floors["float64"]["samples"]
    horizon = _horizon(session, floors, HORIZON)
    counting = [(place, step) for place, step in kept_steps(reference) if step < horizon]
    if not counting:
        return Outcome("samples_free_running", (), case)
    place, step = counting[-1]
    assert case.sampler is not None
    case = dataclasses.replace(case, sampler=dataclasses.replace(case.sampler, steps=step + 1))
    answer = session.ask_port("samples", case=case, every_step=False, precisions=["float64"])
    if isinstance(answer, PortFailed):
        return failed("samples_free_running", case, answer)
    port = Trace.from_bytes(answer, "the port")
    if oracle_trouble(port) is not None:  # float32 is compared where every step is asked for
        return Outcome("samples_free_running", (), case)
    truth = reference.arrays["float64"]["samples"][place]
    comparison = compare(
        "samples",
        Answer(truth[np.newaxis], float(floors[step])),
        port.array("float64", "samples"),
        None,
    )
    return Outcome("samples_free_running", (comparison,), case)


def _free_running(session: Session, case: Case, reference: Trace, port: Trace) -> Outcome:
    truth, floors = reference.arrays["float64"]["samples"], reference.floors["float64"]["samples"]
    floors32, errors32 = reference.floors["float32"]["samples"], reference.errors["samples"]
    horizon = _horizon(session, floors, HORIZON)
    horizon32 = _horizon(session, floors32, HORIZON32)
    ours, ours32 = port.array("float64", "samples"), port.array("float32", "samples")
    shape = (len(floors), *truth.shape[1:])
    if ours is None or ours.shape != shape:
        answer = Answer(np.zeros(shape), float(floors.max()))
        return Outcome("samples_free_running", (compare("samples", answer, ours, None),), case)
    same_bits = reference.same_bits(port, "samples")
    comparisons = []
    kept = [(place, step) for place, step in kept_steps(reference) if step in _ran(port)]
    for place, step in kept:
        if step >= horizon:
            break
        in_float32 = step < horizon32 and ours32 is not None and ours32.shape == shape
        error32 = float(errors32[step]) if in_float32 else None
        comparisons.append(
            compare(
                f"samples[{step}]",
                Answer(truth[place], float(floors[step]), error32, float(floors32[step])),
                ours[step],
                ours32[step] if in_float32 and ours32 is not None else None,
                no_oracle=oracle_trouble(port),
                same_bits=same_bits,
            )
        )
    places, steps = [place for place, _ in kept], [step for _, step in kept]
    shown = Trajectory.of(
        case.images, steps, truth[places], ours[steps], list(floors[steps]), horizon
    )
    notes = {"steps": len(floors), "horizon": horizon}
    return Outcome("samples_free_running", tuple(comparisons), case, notes=notes, exhibit=shown)


def _horizon(session: Session, floors: np.ndarray, part: float) -> int:
    """How many steps lie before the first whose floor reaches ``part`` of the images' range, or is
    no number."""
    low, high = session.pair.image_range
    beyond = np.flatnonzero(~(floors < part * (high - low)))
    return int(beyond[0]) if beyond.size else len(floors)


def kept_steps(reference: Trace) -> list[tuple[int, int]]:
    """(place in the array, step) of the samples that the trace holds.

    All, unless it was thinned for a golden, or its sampler was not run for each number of steps.
    """
    steps = range(len(reference.floors["float64"]["samples"]))
    kept = enumerate(reference.notes.get("kept", steps))
    return [(place, step) for place, step in kept if step in _ran(reference)]


def _ran(trace: Trace) -> Sequence[int]:
    """The steps that were run; all, if the sampler returns every step."""
    samples = next(iter(trace.arrays.values()))["samples"]
    return trace.notes.get("ran") or range(max(len(samples), 1 + max(trace.notes.get("kept", [0]))))


def _teacher_forced(session: Session, case: Case, reference: Trace) -> Outcome:
    kept = kept_steps(reference)
    samples = reference.arrays["float64"]["samples"][[place for place, _ in kept]]
    teacher, steps = teacher_forced_case(case, samples, [step for _, step in kept])
    batch = len(case.images)
    answer, port = session.ask_both("samples", teacher, reference={"copies": TRAJECTORY_COPIES})
    if isinstance(port, PortFailed):
        return failed("samples_teacher_forced", teacher, port)
    whole, ours = answer.arrays["float64"]["samples"], port.array("float64", "samples")
    truth = whole[0]
    floor64 = float(answer.floors["float64"]["samples"][0])
    floor32 = float(answer.floors["float32"]["samples"][0])
    if ours is None or ours.shape != whole.shape:
        unfit = compare("samples", Answer(whole, floor64), ours, None)
        return Outcome("samples_teacher_forced", (unfit,), teacher)
    ours32 = port.array("float32", "samples")
    # The largest float32 error of the reference over all steps is the floor of each of them.
    error32 = float(answer.errors["samples"][0])
    same_bits = answer.same_bits(port, "samples")
    comparisons: list[Comparison] = []
    for place, step in enumerate(steps if batch else ()):
        part = slice(place * batch, (place + 1) * batch)
        comparisons.append(
            compare(
                f"samples[{step}]",
                Answer(truth[part], floor64, error32, floor32),
                ours[0][part],
                ours32[0][part] if ours32 is not None and ours32.shape == ours.shape else None,
                no_oracle=oracle_trouble(port),
                same_bits=same_bits,
            )
        )
    notes = {"clips": session.ask_reference("clips", teacher)}
    shown = Trajectory(
        tuple(steps[: len(comparisons)]),
        tuple(comparison.residual for comparison in comparisons),
        (floor64,) * len(comparisons),
    )
    return Outcome(
        "samples_teacher_forced", tuple(comparisons), teacher, notes=notes, exhibit=shown
    )


def teacher_forced_case(
    case: Case, samples: np.ndarray, kept: Sequence[int]
) -> tuple[Case, list[int]]:
    """The steps of a trajectory as one case of a single step: image b of the nth is n * B + b.

    Args:
        case: the free-running case, B images.
        samples: the reference's (len(kept), B, H, W, C), after each of the steps ``kept``.

    Returns:
        The case, and which steps it holds: the first, and those that follow a kept one.
    """
    assert case.sampler is not None
    before = [n for n, step in enumerate(kept) if step + 1 < case.sampler.steps]
    states = np.concatenate([case.images[np.newaxis], samples[before].astype(np.float32)])
    teacher = dataclasses.replace(
        case,
        images=np.ascontiguousarray(states.reshape(-1, *case.images.shape[1:])),
        key=case.key + 1,
        sampler=SamplerCall(
            1, case.sampler.step_size, case.sampler.noise, case.sampler.gradient_clip
        ),
        origin={**case.origin, "teacher_forced": True},
    )
    return teacher, [0, *(kept[n] + 1 for n in before)]


def _escaped(session: Session, case: Case, port: Trace) -> Outcome:
    """Whether the port, run a second time, gives other bits. Of a reference that does, nothing can
    be said at all: :meth:`Session.ask_both` raises."""
    data = session.ask_port("samples", case=case)
    if isinstance(data, PortFailed):
        return failed("draw_log", case, data)
    first = port.array("float32", "samples")
    second = Trace.from_bytes(data, "the port").array("float32", "samples")
    if first is not None and second is not None and np.array_equal(first, second):
        return Outcome("draw_log", (), case, looked=True)
    return Outcome(
        "draw_log",
        (),
        case,
        failure="randomness escaped: the port, run twice on one case, gives other bits; it draws "
        "in another thread, or from a generator that is not its framework's",
    )


NEEDS = ("model", "generate_samples")


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Over the plan's trajectories."""

    def trajectories() -> Iterator[list[Outcome]]:
        short = min(1, len(plan.trajectories) - 1)  # the first has the published 60 steps
        for number, recipe in enumerate(plan.trajectories):
            case = make_case(session, recipe)
            found = check_sampler(session, case, twice=number == short, last=number == 0)
            yield [*found, check_last(session, case)] if number == short else found

    yield Property(
        "trajectories",
        "Langevin trajectories",
        SAMPLER_CHECKS,
        NEEDS,
        trajectories,
        len(plan.trajectories),
        clips_that_never_bound,
    )


def saved_properties(session: Session, case: Case) -> Iterator[Property]:
    """Of a case that calls the sampler."""
    if case.sampler is None or case.training is not None or case.origin.get("relation"):
        return

    def trajectories() -> list[Outcome]:
        return [*check_sampler(session, case, last=True), check_last(session, case)]

    yield saved("sampler", SAMPLER_CHECKS, NEEDS, trajectories)


def clips_that_never_bound(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """A limit of the reference's that never changed an element was not tested, so its check is not
    green. Which limits there are, the reference says; it may have none."""
    most: dict[str, dict[str, float]] = {}
    for outcome in outcomes:
        for clip, about in outcome.notes.get("clips", {}).items():
            limits = most.setdefault(clip, {})
            for limit, share in about["limits"].items():
                limits[limit] = max(limits.get(limit, 0.0), share)
    never = []
    for clip, limits in most.items():
        idle = [limit for limit, share in limits.items() if share == 0]
        if len(idle) == len(limits):
            never.append(f"the reference's clip at {clip}")
        elif idle:
            never.append(f"the {' and '.join(idle)} limit of the reference's clip at {clip}")
    if not never:
        return {}
    return {"samples_teacher_forced": f"{' and '.join(never)} never bound in any case"}


ENTRY = Entry(SAMPLER_CHECKS, properties, saved_properties)
