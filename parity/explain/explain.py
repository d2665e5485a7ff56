"""``parity explain``: ask each part of a port whose check went red what it does instead."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from parity.ask.recorded import Recorded
from parity.ask.session import Session
from parity.draw.plan import Plan
from parity.draw.recipes import make_case
from parity.entries.compared import oracle_trouble
from parity.entries.preprocess import GREY
from parity.errors import PortFailed, ReferenceFailed
from parity.explain import events
from parity.explain.causes import Cause, Explanation, Unexplained, placed
from parity.explain.network import explain_network
from parity.explain.questions import (
    alone,
    ask_network,
    first_training,
    sampler_case,
    training_runs,
)
from parity.explain.sampler import explain_sampler
from parity.explain.training import SAMPLING, explain_training
from parity.values import archive
from parity.values.cases import Case
from parity.values.traces import Trace
from parity.verdict.comparison import FLOAT64_FLOORS, Verdict
from parity.verdict.outcome import CheckResult, Outcome

Found = tuple[list[Cause], list[Unexplained]]

NETWORK = ("energies", "energy_gradients", "activations", "batch_independence")
SAMPLER = ("samples_teacher_forced", "samples_free_running", "draw_log", "noise_distribution")
TRAINING = ("losses", "parameter_gradients", "training_state", "replay_buffer", "validation")


def explain(session: Session, checks: Sequence[CheckResult], plan: Plan) -> Explanation:
    """Name the causes behind the checks that are not green.

    The network, the sampler (on a probe energy, so apart from the network) and training (on another
    probe) are each asked, so that faults in several are told apart, and a fault that another one
    undoes is named too. A part that cannot be explained, for whatever reason, does not take the
    others with it.
    """
    red = {check.name for check in checks if not check.verdict.green}
    if _only_training(checks, "draw_log"):
        red = {"draw_log in training" if name == "draw_log" else name for name in red}
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    errors: list[Exception] = []

    def keep(part: str, explained: Callable[[], Found]) -> bool:
        """Keep what is found in a part; whether there was anything."""
        found, left = _guarded(part, explained, session, errors)
        causes.extend(found)
        unexplained.extend(left)
        return bool(found or left)

    if network_red := red & set(NETWORK):
        coupled = "batch_independence" in red
        if not keep("model", lambda: _network(session, plan, coupled)):
            unexplained.append(_check_problem(checks, network_red))
    looked = red & {*NETWORK, *SAMPLER, *TRAINING, "state_restored", "draw_log in training"}
    if looked and session.has("generate_samples"):
        told: set[str] = set()
        state_red, explained = "state_restored" in red, bool(causes or unexplained)
        keep("generate_samples", lambda: _sampler(session, checks, state_red, told))
        unexplained += _open_sampler_checks(checks, red, told, explained)
    waits = False
    if looked and session.has("train_step") and session.has("make_optimizer"):
        explained = bool(causes or unexplained)
        raised: list[str] = []
        found = keep("train_step", lambda: _training(session, explained, raised))
        if "noise-seeded" not in {cause.id for cause in causes}:
            causes += events.from_findings(checks, "draw_log", "train_step, the noise")
        training_red = red & {*TRAINING, "draw_log in training"}
        waits = bool(training_red) and explained and (bool(raised) or not found)
        if training_red and not (causes or unexplained):
            names = {name.partition(" in ")[0] for name in training_red}
            unexplained.append(_check_problem(checks, names))
    others: list[Cause] = []
    if "state_restored" in red and not session.has("generate_samples"):
        others += events.from_findings(checks, "state_restored", "the port")
    if "initialisation" in red:
        others += events.from_findings(checks, "initialisation", "model()")
    preprocessing = next((c for c in checks if c.name == "preprocessing"), None)
    if preprocessing is not None and preprocessing.verdict is Verdict.DIVERGENT:
        bad = [outcome.first_bad for outcome in preprocessing.outcomes]
        if any(each is not None and each.array == GREY for each in bad):
            others += _preprocessing(checks)
        else:  # it refuses what it should not, or takes what it should not
            unexplained.append(_check_problem(checks, {"preprocessing"}))
    for check in checks:
        apart = check.name == "preprocessing" or not (causes or unexplained)
        if check.name in ("initialisation", "preprocessing") and (
            apart and check.verdict is Verdict.INVALID
        ):
            unexplained.append(_check_problem(checks, {check.name}))
    if others:
        case = make_case(session, plan.localising[0])
        keep("model", lambda: _placed(session, others, [], case))
    return Explanation(_each_once(causes), tuple(unexplained), waits, tuple(errors))


def _guarded(
    part: str, explained: Callable[[], Found], session: Session, errors: list[Exception]
) -> Found:
    """What is found in one part; that looking for it failed, if it did.

    Args:
        errors: gets what parity itself raised.

    Raises:
        ReferenceFailed: of a reference that runs. A golden may lack what this port has to be asked.
    """
    try:
        return explained()
    except (PortFailed, ReferenceFailed) as error:
        if isinstance(error, ReferenceFailed) and not isinstance(session.reference, Recorded):
            raise
        return [], [Unexplained(part, str(error).splitlines()[0])]
    except Exception as error:
        errors.append(error)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        evidence = (
            f"looking for a cause failed with {type(error).__name__}: {error} at "
            f"{Path(frame.filename).name}:{frame.lineno}, which is a fault of parity's; what the "
            "checks found stands"
        )
        return [], [Unexplained(part, evidence)]


def explain_probes(session: Session) -> Explanation:
    """What there is to say of the sampler and of training, whatever is red: nothing, of a right
    port."""
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    parts: list[Found] = []
    if session.has("generate_samples"):
        parts.append(_sampler(session, (), False, set()))
    if session.has("train_step") and session.has("make_optimizer"):
        parts.append(_training(session, False, []))
    for found, left in parts:
        causes += found
        unexplained += left
    return Explanation(tuple(causes), tuple(unexplained))


def _only_training(checks: Sequence[CheckResult], name: str) -> bool:
    """Whether every case that makes the check red is one of training."""
    bad = [o for c in checks if c.name == name for o in c.outcomes if not o.verdict.green]
    return all(outcome.case is not None and outcome.case.training is not None for outcome in bad)


def _each_once(causes: Sequence[Cause]) -> tuple[Cause, ...]:
    unique: dict[tuple[str, str], Cause] = {}
    for cause in causes:
        unique.setdefault((cause.id, cause.where), cause)
    return tuple(unique.values())


def _placed(
    session: Session,
    causes: Sequence[Cause],
    unexplained: Sequence[Unexplained],
    case: Case,
    given: bytes | None = None,
) -> tuple[list[Cause], list[Unexplained]]:
    """What was found, with the lines of the port's source to look at, if there are any.

    Args:
        case: on which it was found, of the network, the sampler or training.
        given: the reference's activations, of the network.
    """
    places: dict[str, str] = {}
    if session.finds_places and (causes or unexplained):
        given = archive.to_bytes({}, {}) if given is None else given
        answer = session.ask_port("places", case=case, given=given, root=str(session.root))
        places = {} if isinstance(answer, PortFailed) else answer
    return placed(causes, places), placed(unexplained, places)


def _network(session: Session, plan: Plan, coupled: bool) -> tuple[list[Cause], list[Unexplained]]:
    """On the published architecture, and if that shows nothing, on drawn ones.

    Args:
        coupled: the images of a batch do not seem to be independent.
    """
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    for recipe in plan.localising:
        case = make_case(session, recipe)
        found, left = explain_network_case(session, case, coupled)
        # Where a layer is missing, what lies around it can only be seen in another architecture.
        known = {cause.id for cause in causes}
        known |= {cause.where for cause in causes if cause.id != "layer-missing"}
        if not known:
            unexplained = left
        causes += [cause for cause in found if not known.intersection((cause.id, cause.where))]
        if unexplained or (causes and all(cause.id != "layer-missing" for cause in causes)):
            break
    return causes, unexplained


def explain_network_case(
    session: Session,
    case: Case,
    coupled: bool,
    network: tuple[Trace, Trace | PortFailed] | None = None,
) -> tuple[list[Cause], list[Unexplained]]:
    """What the port's network does otherwise on one case.

    Args:
        coupled: see whether the images of the batch are independent.
        network: both sides' answers to the case, if they are known.
    """
    parts = ask_network(session, case, network)
    causes: list[Cause] = []
    if isinstance(parts.segments, PortFailed):
        return [], [Unexplained("model", str(parts.segments).splitlines()[0])]
    whole, given = case, parts.given
    if coupled and (cause := _coupling(parts.segments, parts.reference)) is not None:
        causes.append(cause)
        case = alone(case)
        parts = ask_network(session, case)
        if isinstance(parts.segments, PortFailed):
            # It takes no single image: what else is wrong waits for this.
            return _placed(session, causes, [], whole, given)
    assert isinstance(parts.segments, Trace)
    trouble = oracle_trouble(parts.segments)
    if trouble is not None:
        causes.append(Cause("dtype", "model", evidence=trouble, part="model/dtype"))
    found, unexplained = explain_network(
        session.facts(case.settings).layers,
        case,
        parts.reference,
        parts.segments,
        parts.backward,
        parts.gradients,
        in_float32=trouble is not None,
    )
    causes += found
    if trouble is not None:
        unexplained = []  # what is left may be float32's rounding
    if not causes and not unexplained and isinstance(parts.port, PortFailed):
        unexplained.append(Unexplained("model", str(parts.port).splitlines()[0], "model/raised"))
    return _placed(session, causes, unexplained, whole, given)


def _coupling(segments: Trace, reference: Trace) -> Cause | None:
    """Whether the first image's energy, as the port has it, depends on the rest of the batch."""
    together, own = segments.array("float64", "together"), segments.array("float64", "alone")
    if together is None or own is None or not (together.ndim and own.ndim):
        return None  # one number for a whole batch: that is told as what it is
    if together.shape[1:] != own.shape[1:]:
        return None
    differences = np.abs(together[0] - own[0])
    before = float(differences.max(initial=0.0))
    size = float(np.abs(reference.arrays["float64"]["energies"]).max()) or 1.0
    if not before > FLOAT64_FLOORS * float(np.max(reference.floors["float64"]["energies"])):
        return None  # nor where the floor is no number
    most = np.unravel_index(int(differences.argmax()), differences.shape)
    evidence = (
        f"the energy of an image is {together[0][most]:.12g} in a batch of {len(together)} and "
        f"{own[0][most]:.12g} alone"
    )
    return Cause(
        "gradient-batch-coupled", "model", before / size, 0.0, evidence, part="model/batch"
    )


def _sampler(
    session: Session, checks: Sequence[CheckResult], state_red: bool, told: set[str]
) -> Found:
    """On the probe, and what it leaves behind.

    Args:
        told: gets the ids of what the probe itself told, "unexplained" for what it showed and could
            not tell, and "raised" if the sampler did.
    """
    told.add("unexplained")  # unless all goes well
    case = sampler_case(session)
    reference, port = session.ask_both("probing", case)
    if isinstance(port, PortFailed):
        return [], [Unexplained("generate_samples", str(port).splitlines()[0])]
    causes, unexplained = explain_sampler(reference, port, case)
    raised = port.notes["raised"] is not None
    if not unexplained:
        told.remove("unexplained")
    told |= {cause.id for cause in causes} | ({"raised"} if raised else set())
    noise = "generate_samples, the noise"
    seeded = [*events.from_findings(checks, "noise_distribution", noise)]
    if any(o.failure for c in checks if c.name == "noise_distribution" for o in c.outcomes):
        seeded += _noise_of_the_probe(session, case)
    for cause in seeded:
        if cause.id == "noise-seeded":  # of the others the probe tells more
            causes.append(cause)
            told.add(cause.id)
    if not state_red:
        return _placed(session, causes, unexplained, case)
    left_behind = list(events.from_findings(checks, "state_restored", "generate_samples"))
    if any(o.failure for c in checks if c.name == "state_restored" for o in c.outcomes):
        empty = session.claims("empty_batch", "generate_samples")
        found = session.ask_port("probing_state", case=case, empty_batch=empty)
        if not isinstance(found, PortFailed):
            left_behind += events.from_messages(found, "generate_samples")
    for cause in left_behind:
        if not (raised and cause.id == "no-grad-context"):
            causes.append(cause)
    return _placed(session, causes, unexplained, case)


def _noise_of_the_probe(session: Session, case: Case) -> Iterator[Cause]:
    """Whether the sampler draws the same in two calls, where no network lets it run."""
    repeated = session.ask_reference("probing_noise", case, seed=case.key)
    found = session.ask_port("probing_noise", case=case, seed=case.key)
    if not isinstance(found, PortFailed) and set(found) - set(repeated):
        text = "on a probe for a network, two calls of generate_samples draw the same noise"
        finding = {"id": "noise-seeded", "message": text, "part": "generate_samples/noise"}
        yield from events.from_messages([finding], "generate_samples, the noise")


DRAWING = ("noise-", "draw-order", "step-count", "dtype", "no-grad", "raised", "unexplained")
"""What a red ``draw_log`` may be due to: what was told begins so."""


def _open_sampler_checks(
    checks: Sequence[CheckResult], red: set[str], told: set[str], network: bool
) -> list[Unexplained]:
    """What the sampler's red checks show that nothing found so far explains.

    Args:
        told: what the probe told.
        network: something was found in the network, which trajectories follow.
    """
    if network:  # what only raises does so wherever the network is evaluated
        red = {c.name for c in checks if any(_differs(outcome) for outcome in c.outcomes)} & red
    samples = [name for name in SAMPLER if name in red and name.startswith("samples_")]
    left = []
    if samples and not told and not network:
        left.append(_check_problem(checks, {samples[0]}))
    if "noise_distribution" in red and not told:
        left.append(_check_problem(checks, {"noise_distribution"}))
    if "draw_log" in red and not any(id_.startswith(DRAWING) for id_ in told):
        left.append(_check_problem(checks, {"draw_log"}))
    probe = "on the probe energy the sampler is the reference's; " if not told else ""
    return [dataclasses.replace(each, evidence=probe + each.evidence) for each in left]


def _differs(outcome: Outcome) -> bool:
    """Whether a case of the sampler is red by what it answered, not by an exception."""
    of_training = outcome.case is not None and outcome.case.training is not None
    return not (outcome.verdict.green or outcome.failure is not None or of_training)


def _training(session: Session, explained: bool, problems: list[str]) -> Found:
    """On the probe.

    Args:
        explained: something was found in the network or the sampler, which makes training red too.
        problems: gets, in words, what kept the port from training, if anything did.
    """
    runs, raised = training_runs(session)
    problems += [] if raised is None else [raised]
    causes, unexplained = explain_training(runs) if runs else ([], [])
    if explained:
        unexplained = [left for left in unexplained if left.where != SAMPLING]
    graph = None if raised is None else events.from_exception(raised, [])
    if graph is not None and graph.id == "state-not-detached":
        where, part = "train_step", "train_step/raised"
        causes.append(dataclasses.replace(graph, where=where, part=part))
    elif raised is not None and not explained:
        unexplained.append(Unexplained("train_step", raised, "train_step/raised"))
    return _placed(session, causes, unexplained, first_training(session))


def _check_problem(checks: Sequence[CheckResult], names: set[str]) -> Unexplained:
    check = next(c for c in checks if c.name in names)
    bad = None if check.first_bad is None else check.first_bad.first_bad
    text = check.problem or ""
    if bad is not None and bad.worst is not None:
        text = (
            f"first at {bad.array}, most at {list(bad.worst.index)}: reference "
            f"{bad.worst.reference:.12g}, port {bad.worst.port:.12g}; nothing in the catalogue "
            "reproduces it"
        )
    return Unexplained(check.name, text)


def _preprocessing(checks: Sequence[CheckResult]) -> list[Cause]:
    check = next(c for c in checks if c.name == "preprocessing")
    worst = check.worst
    evidence = check.problem or ""
    if worst is not None:
        evidence = (
            f"at {list(worst.index)} the reference has {worst.reference:.6g}, the port "
            f"{worst.port:.6g}"
        )
    return [Cause("data-range", "preprocess", check.residual, None, evidence, part="preprocess")]
