"""``parity explain``: ask each part of a port whose check went red what it does instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parity import archive, specs, strategies
from parity.cases import Case
from parity.checks.network import oracle_trouble
from parity.errors import PortFailed
from parity.explain import events
from parity.explain.causes import Cause, Explanation, Unexplained
from parity.explain.network import explain_network
from parity.explain.sampler import explain_sampler
from parity.explain.sampler import probe_case as sampler_case
from parity.explain.training import Run, explain_training, probe_case, run_of
from parity.floor import NETWORK_COPIES
from parity.outcome import CheckResult
from parity.recipes import Recipe, WeightsRecipe, make_case
from parity.session import Session, Settings
from parity.traces import Trace

NETWORK = ("energies", "energy_gradients", "activations", "batch_independence")
SAMPLER = ("samples_teacher_forced", "samples_free_running", "draw_log", "noise_distribution")
TRAINING = ("losses", "parameter_gradients", "training_state", "replay_buffer", "validation")


def explain(session: Session, checks: Sequence[CheckResult], seed: int = 0) -> Explanation:
    """Name the causes behind the checks that are not green.

    The network, the sampler (on a probe energy, so apart from the network) and training are asked
    apart, so that faults in several are told apart.
    """
    red = {check.name for check in checks if not check.verdict.green}
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    network_red = red & set(NETWORK)
    if network_red:
        found, left = _network(session, seed)
        causes += found
        unexplained += left
        if not found and not left and "batch_independence" in red:
            causes.append(_coupled(checks))
        elif not found and not left:
            unexplained.append(_check_problem(checks, network_red))
    sampler_red = red & {*SAMPLER, "state_restored"}
    if _only_training(checks, "draw_log"):
        sampler_red -= {"draw_log"}
    if sampler_red and session.has("generate_samples"):
        reference, port = session.ask_both("probing", sampler_case(*session.pair.image_range))
        if isinstance(port, PortFailed):
            unexplained.append(Unexplained("generate_samples", str(port).splitlines()[0]))
        else:
            found, left = explain_sampler(reference, port)
            causes += found
            unexplained += left
    raised = any(cause.residual_before is None for cause in causes)
    for cause in events.from_findings(checks):
        if not (raised and cause.id == "no-grad-context"):
            causes.append(cause)
    if sampler_red & set(SAMPLER) and not causes and not unexplained:
        unexplained.append(_check_problem(checks, sampler_red & set(SAMPLER)))
    waits = False
    if red & set(TRAINING):
        found, left, waits = _training(session, bool(causes or unexplained))
        causes += found
        unexplained += left
        if not (causes or unexplained):
            unexplained.append(_check_problem(checks, red & set(TRAINING)))
    if "preprocessing" in red:
        causes += _preprocessing(checks)
    return Explanation(_each_once(causes), tuple(unexplained), waits)


def ask_everything(session: Session, seed: int = 0) -> None:
    """Ask both sides all that an explanation may need, whatever is red: for recording."""
    for case in _network_cases(session, seed):
        _network_case(session, case)
    if session.has("generate_samples"):
        session.ask_both("probing", sampler_case(*session.pair.image_range))
    if session.has("train_step") and session.has("make_optimizer"):
        training_runs(session)


def _only_training(checks: Sequence[CheckResult], name: str) -> bool:
    """Whether every case that makes the check red is one of training."""
    bad = [o for c in checks if c.name == name for o in c.outcomes if not o.verdict.green]
    return all(outcome.case is not None and outcome.case.training is not None for outcome in bad)


def _each_once(causes: Sequence[Cause]) -> tuple[Cause, ...]:
    unique: dict[tuple[str, str], Cause] = {}
    for cause in causes:
        unique.setdefault((cause.id, cause.where), cause)
    return tuple(unique.values())


def _network(session: Session, seed: int) -> tuple[list[Cause], list[Unexplained]]:
    """On the published architecture, and if that shows nothing, on drawn ones."""
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    for case in _network_cases(session, seed):
        causes, unexplained = _network_case(session, case)
        if causes or unexplained:
            break
    return causes, unexplained


def _network_cases(session: Session, seed: int) -> Iterator[Case]:
    for settings in (None, *strategies.architectures(session, 4, seed)):
        recipe = Recipe(WeightsRecipe(scale=1.5, seed=seed + 5), batch=3, settings=settings)
        yield make_case(session, recipe)


def _network_case(session: Session, case: Case) -> tuple[list[Cause], list[Unexplained]]:
    reference, port = session.ask_both("network", case, reference={"copies": NETWORK_COPIES})
    if isinstance(port, Trace) and (trouble := oracle_trouble(port)) is not None:
        return [Cause("dtype", "model", evidence=trouble)], []
    activations = {
        name: array
        for name, array in reference.arrays["float64"].items()
        if name.startswith("activations/")
    }
    answer = session.ask_port("segments", case=case, substituted=archive.to_bytes(activations, {}))
    segments = answer if isinstance(answer, PortFailed) else Trace.from_bytes(answer, "the port")
    facts = session.facts(case.settings).layers
    causes, unexplained = explain_network(facts, case, reference, segments)
    if not causes and not unexplained and isinstance(port, PortFailed):
        unexplained.append(Unexplained("model", str(port).splitlines()[0]))
    return causes, unexplained


def _training(session: Session, explained: bool) -> tuple[list[Cause], list[Unexplained], bool]:
    """On the probe; and whether what is left of a red training waits for causes found elsewhere.

    Args:
        explained: something was found in the network or the sampler, which makes training red too.
    """
    runs = training_runs(session)
    if isinstance(runs, str):
        left = [] if explained else [Unexplained("train_step", runs)]
        return [], left, explained
    causes, unexplained = explain_training(runs)
    return causes, unexplained, explained and not (causes or unexplained)


def training_runs(session: Session) -> list[tuple[Run, Run]] | str:
    """Both sides' training of the probe, on the settings that the pair declares.

    Returns:
        (reference's, port's) of each case, or in words what kept the port from training.
    """
    declared: list[tuple[Settings, int]] = [(None, 4)]
    if session.pair.fixed_trainings is not None:
        declared = [(s, n) for s, n, _ in specs.entry(session.pair.fixed_trainings)()]
    found = []
    for settings, batch in declared:
        shape = session.facts(settings).image_shape
        limits = session.pair.image_range
        buffer = 16 if session.has("replay_buffer") else None
        moments = session.moments(settings)
        for case in (
            probe_case(shape, settings, batch, steps=2, limits=limits),
            probe_case(
                shape,
                settings,
                batch,
                steps=1,
                iterations=10,
                buffer=buffer,
                moments=moments,
                limits=limits,
            ),
        ):
            reference, port = session.ask_both("probing_training", case)
            if reference.notes["raised"] is not None:
                return f"the reference cannot train a probe: {reference.notes['raised']}"
            if isinstance(port, PortFailed):
                return str(port).splitlines()[0]
            if port.notes["raised"] is not None:
                return f"on a probe for a network it raises {port.notes['raised']}"
            found.append((run_of(case, reference), run_of(case, port)))
    return found


def _coupled(checks: Sequence[CheckResult]) -> Cause:
    check = next(c for c in checks if c.name == "batch_independence")
    bad = None if check.first_bad is None else check.first_bad.first_bad
    evidence = "its energies change with the batch they are in"
    if bad is not None:
        evidence = f"{bad.array} differs by {bad.residual:.3g}, {bad.floor:.3g} is the floor"
    return Cause("gradient-batch-coupled", "model", check.residual, None, evidence)


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
    return [Cause("data-range", "preprocess", check.residual, None, evidence)]
