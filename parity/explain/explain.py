"""``parity explain``: ask each part of a port whose check went red what it does instead."""

from __future__ import annotations

from collections.abc import Sequence

from parity import archive, specs, strategies
from parity.cases import Case
from parity.checks.network import oracle_trouble
from parity.errors import PortFailed
from parity.explain import events
from parity.explain.causes import Cause, Explanation, Unexplained
from parity.explain.network import explain_network
from parity.explain.sampler import explain_sampler, probe_case
from parity.explain.training import explain_training
from parity.floor import NETWORK_COPIES
from parity.outcome import CheckResult
from parity.recipes import Recipe, TrainingRecipe, WeightsRecipe, make_case
from parity.runner import drawn_recipes
from parity.session import Session
from parity.traces import Trace

TRAININGS = 12

GROUPS = {
    "loss-sign": "losses parameter_gradients training_state",
    "loss-term": "losses parameter_gradients training_state",
    "loss-reduction": "losses parameter_gradients training_state",
    "buffer-order": "replay_buffer losses parameter_gradients training_state",
    "buffer-size": "replay_buffer losses parameter_gradients training_state",
    "initial-range": "replay_buffer losses parameter_gradients training_state",
    "gradient-accumulated": "parameter_gradients training_state",
    "optimizer-epsilon": "training_state",
    "optimizer-hyperparameter": "training_state",
}
"""Which arrays of training a cause makes wrong, downstream of its own."""

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
    if sampler_red and session.has("generate_samples"):
        reference, port = session.ask_both("probing", probe_case(*session.pair.image_range))
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
    if red & set(SAMPLER) and not causes and not unexplained:
        unexplained.append(_check_problem(checks, red & set(SAMPLER)))
    waits = False
    if red & set(TRAINING):
        # A wrong network or sampler makes all of training wrong, so nothing can be told there yet.
        waits = bool(network_red or red & set(SAMPLER))
        if not waits:
            found, left = _training(session, seed)
            causes += found
            unexplained += left
    if "preprocessing" in red:
        causes += _preprocessing(checks)
    return Explanation(_each_once(causes), tuple(unexplained), waits)


def _each_once(causes: Sequence[Cause]) -> tuple[Cause, ...]:
    unique: dict[tuple[str, str], Cause] = {}
    for cause in causes:
        unique.setdefault((cause.id, cause.where), cause)
    return tuple(unique.values())


def _network(session: Session, seed: int) -> tuple[list[Cause], list[Unexplained]]:
    """On the published architecture, and if that shows nothing, on drawn ones."""
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    for settings in (None, *strategies.architectures(session, 4, seed)):
        recipe = Recipe(WeightsRecipe(scale=1.5, seed=seed + 5), batch=3, settings=settings)
        case = make_case(session, recipe)
        causes, unexplained = _network_case(session, case)
        if causes or unexplained:
            break
    return causes, unexplained


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


def _training(session: Session, seed: int) -> tuple[list[Cause], list[Unexplained]]:
    """Drawn steps, one after another, until each array that can be wrong has been seen to be."""
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    drawn = list(drawn_recipes(strategies.trainings(session), TRAININGS, seed))
    for recipe in [*drawn, _two_steps(session)]:
        if recipe.training is not None and recipe.training.steps > 1 and (causes or unexplained):
            break
        case = make_case(session, recipe)
        reference, port = session.ask_both("training", case, reference={"copies": NETWORK_COPIES})
        if isinstance(port, PortFailed):
            return causes, [Unexplained("train_step", str(port).splitlines()[0])]
        found, left = explain_training(case, reference, port)
        causes += found
        unexplained += left
    causes = _most_common(causes)
    groups = {cause.where: GROUPS.get(cause.id, "") for cause in causes}
    explained = {name for group in groups.values() for name in group.split()}
    unique = {left.where: left for left in reversed(unexplained)}
    return causes, [left for where, left in unique.items() if where not in explained]


def _two_steps(session: Session) -> Recipe:
    settings, batch = None, 4
    if session.pair.fixed_trainings is not None:
        settings, batch, _ = specs.entry(session.pair.fixed_trainings)()[0]
    training = TrainingRecipe(steps=2)
    return Recipe(WeightsRecipe(seed=6), batch=batch, key=4, settings=settings, training=training)


def _most_common(causes: Sequence[Cause]) -> list[Cause]:
    """Of several ids at one place the one that most cases name; a batch of one tells little."""
    kept = []
    for where in dict.fromkeys(cause.where for cause in causes):
        here = [cause for cause in causes if cause.where == where]
        ids = [cause.id for cause in here]
        best = max(dict.fromkeys(ids), key=ids.count)
        if "buffer-order" in ids:  # where the buffer is cut, another order keeps other images
            best = "buffer-order"
        kept.append(next(cause for cause in here if cause.id == best))
    return kept


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
