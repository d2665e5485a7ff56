"""The optimizer: its averages of gradients, and the step that it makes of them.

Every number (decays, learning rate, weight decay, epsilon) is solved for linearly from the port's
own gradients, moments and weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from parity.explain.causes import Cause, Unexplained
from parity.explain.training.numbers import BOUND, Array, apart, nearest, numbers, same, solve
from parity.explain.training.runs import Run, Step

PART = "make_optimizer"


@dataclasses.dataclass(frozen=True)
class Average:
    """``after = decay * before + (1 - decay) * (gradient + l2 * weights) ** power``."""

    decay: float
    l2: float = 0.0


def _steps(runs: Sequence[tuple[Run, Run]]) -> tuple[list[Step], list[Step]]:
    return (
        [step for reference, _ in runs for step in reference.steps],
        [step for _, port in runs for step in port.steps],
    )


def optimizer(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """The averages first, then the step made of them."""
    truth, ours = _steps(runs)
    if any(step.gradient is None for step in ours):
        return  # it was given nothing to make a step of
    yield from _moments(truth, ours)
    yield from _updates(truth, ours)


def _moments(truth: Sequence[Step], ours: Sequence[Step]) -> Iterator[Cause | Unexplained]:
    """Decays of the averages of gradients and of their squares, from the port's own gradients."""
    l2, own_l2 = 0.0, 0.0
    for name, power in (("momentum", 1), ("velocity", 2)):
        expected = _average(truth, name, power, own_l2)
        if expected is None or any(_before(step, name) is None for step in ours):
            continue
        found = _average(ours, name, power, l2)
        where = f"optimizer, its {name}"
        if found is None:
            text = f"no decay of the port's own gradients gives its {name}"
            yield Unexplained(where, text, PART)
            continue
        before, after = (_average_residual(ours, name, power, a) for a in (expected, found))
        if before <= BOUND:
            continue
        if not _close(found.decay, expected.decay):
            yield Cause(
                "optimizer-hyperparameter",
                where,
                before,
                after,
                f"its decay is {found.decay:.8g}, the reference's {expected.decay:.8g}",
                f"betas: {expected.decay:.6g} for the {name}",
                part=PART,
            )
        if power == 1 and not same(found.l2, expected.l2):
            yield Cause(
                "optimizer-hyperparameter",
                "optimizer, its weight decay",
                before,
                after,
                f"{found.l2:.6g} times the weights is added to the gradients, the reference's "
                f"adds {expected.l2:.6g} times",
                f"weight_decay={expected.l2:.6g}",
                part=PART,
            )
        if power == 1:
            l2, own_l2 = found.l2, expected.l2


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-9


def _before(step: Step, name: str) -> Array | None:
    if step.gradient is None or name not in step.after:
        return None
    return step.momentum if name == "momentum" else step.velocity


def _average(steps: Sequence[Step], name: str, power: int, l2: float) -> Average | None:
    """The decay that gives every step's average, and the L2 term of the first.

    Args:
        l2: known, for the average of squares.
    """
    directions, weights, targets = [], [], []
    for step in steps:
        before = _before(step, name)
        if before is None or step.gradient is None:
            return None
        powered = (step.gradient + l2 * step.weights) ** power
        directions.append(before - powered)
        weights.append(step.weights)
        targets.append(step.after[name] - powered)
    direction, target = np.concatenate(directions), np.concatenate(targets)
    found = solve([direction], target) if np.any(target) else np.zeros(1)
    if found is not None:
        return Average(_neat(float(found[0])), l2)
    if power == 2:
        return None
    found = solve([direction, np.concatenate(weights)], target)
    if found is None or found[0] >= 1:
        return None
    return Average(_neat(float(found[0])), float(f"{found[1] / (1 - found[0]):.8g}"))


def _neat(decay: float) -> float:
    return round(decay, 9)


def _average_residual(steps: Sequence[Step], name: str, power: int, average: Average) -> float:
    worst = 0.0
    for step in steps:
        before = _before(step, name)
        assert before is not None
        assert step.gradient is not None
        powered = (step.gradient + average.l2 * step.weights) ** power
        made = average.decay * before + (1 - average.decay) * powered
        worst = max(worst, apart(made, step.after[name]))
    return worst


@dataclasses.dataclass(frozen=True)
class Update:
    """``weights += rate * direction - rate * decay * weights``.

    Attributes:
        kind: "keras" adds epsilon to sqrt(v), "torch" after the bias correction of v; "plain" goes
            down the gradient itself.
        epsilon: of Adam.
        rounded: Adam's bias correction uses betas that went through float32.
        rate: the learning rate.
        decay: of the weights, apart from the gradient, as AdamW has it.
    """

    kind: str
    epsilon: float = 1e-7
    rounded: bool = True
    rate: float = 0.0
    decay: float = 0.0


EPSILONS = (1e-7, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-9, 1e-10, 1e-12, 0.0)
ADAMS = tuple(
    Update(kind, epsilon, rounded)
    for epsilon in EPSILONS
    for kind in ("keras", "torch")
    for rounded in (True, False)
)
PLAIN = Update("plain", 0.0, False)
WORDS = {"keras": "added to sqrt(v)", "torch": "added to the corrected sqrt(v)"}


def _updates(truth: Sequence[Step], ours: Sequence[Step]) -> Iterator[Cause | Unexplained]:
    """The step from the port's own moments to its weights."""
    base = _update([_made(step) for step in truth])
    if base is None:
        if all(_is_adam(step) for step in truth):
            text = "the reference's own update is none that is known"
            yield Unexplained("optimizer", text, PART)
            return
        pairs = [(_largest(a.after), _largest(b.after)) for a, b in zip(truth, ours, strict=True)]
        yield from numbers("optimizer", PART, pairs)
        return
    made = [_made(step) for step in ours]
    before = _residual(base, made)
    if before <= BOUND:
        return
    found = _update(made)
    if found is None:
        lacking = [m for m in ("momentum", "velocity") if m in truth[0].after]
        lacking = [m for m in lacking if any(m not in step.after for step in ours)]
        text = (
            f"it keeps no {' and no '.join(lacking)} that could be compared, and is no gradient "
            "descent"
            if lacking
            else "no known rule makes its update from its own moments"
        )
        yield Unexplained("optimizer", text, PART)
        return
    after = _residual(found, made)
    yield from _update_changes(found, base, before, after)


def _update_changes(
    found: Update, base: Update, before: float, after: float
) -> Iterator[Cause | Unexplained]:
    if (found.kind == "plain") != (base.kind == "plain"):
        names = {"plain": "gradient descent", "keras": "Adam", "torch": "Adam"}
        yield Cause(
            "optimizer-hyperparameter",
            "optimizer, its rule",
            before,
            after,
            f"its update is {names[found.kind]} with learning rate {found.rate:.6g}, the "
            f"reference's is {names[base.kind]} with {base.rate:.6g}",
            f"make an optimizer of the reference's kind, {names[base.kind]}",
            part=PART,
        )
    elif (found.kind, found.epsilon, found.rounded) != (base.kind, base.epsilon, base.rounded):
        yield Cause(
            "optimizer-epsilon",
            "optimizer",
            before,
            after,
            f"from the port's own moments, its update is Adam's with epsilon {found.epsilon:g} "
            f"{WORDS[found.kind]}, the reference's with {base.epsilon:g} {WORDS[base.kind]}",
            "" if found.kind != base.kind else f"eps={base.epsilon:g}",
            part=PART,
        )
    if not same(found.rate, base.rate) and (found.kind == "plain") == (base.kind == "plain"):
        yield Cause(
            "optimizer-hyperparameter",
            "optimizer",
            before,
            after,
            f"its learning rate is {found.rate:.6g}, the reference's {base.rate:.6g}",
            f"lr={base.rate:.6g}",
            part=PART,
        )
    if not same(found.decay, base.decay):
        yield Cause(
            "optimizer-hyperparameter",
            "optimizer, its weight decay",
            before,
            after,
            f"each step takes learning rate * {found.decay:.6g} of the weights off, as AdamW does; "
            f"the reference's takes {base.decay:.6g}",
            f"weight_decay={base.decay:.6g}" + ("" if base.decay else ", or Adam for AdamW"),
            part=PART,
        )


@dataclasses.dataclass(frozen=True)
class Made:
    """A step, and the decays of its averages, which Adam corrects for: first and second moment."""

    step: Step
    decays: tuple[float, float]


def _made(step: Step) -> Made:
    first = _average([step], "momentum", 1, 0.0)
    second = _average([step], "velocity", 2, 0.0 if first is None else first.l2)
    return Made(
        step, (0.9 if first is None else first.decay, 0.999 if second is None else second.decay)
    )


def _is_adam(step: Step) -> bool:
    return "momentum" in step.after and "velocity" in step.after


def _update(steps: Sequence[Made]) -> Update | None:
    """The rule, learning rate and weight decay that make every step's update."""
    rules = [*ADAMS] if all(_is_adam(made.step) for made in steps) else [PLAIN]
    weights = np.concatenate([made.step.weights for made in steps])
    update = np.concatenate([made.step.after["weights"] - made.step.weights for made in steps])
    for decays in (False, True):
        for rule in rules:
            direction = _directions(rule, steps)
            if direction is None:
                return None
            columns = [direction, weights] if decays else [direction]
            if (found := _fitted(rule, columns, update, steps)) is not None:
                return found
    return next(_by_epsilon(steps, update, weights), None) if rules != [PLAIN] else None


def _fitted(
    rule: Update, columns: Sequence[Array], update: Array, steps: Sequence[Made]
) -> Update | None:
    """By least squares, and then tried: rounding of the weights is more than of their update."""
    found = nearest(columns, update)
    if found is None:
        return None
    rate = float(found[0])
    decay = -float(found[1]) / rate if len(found) > 1 and rate else 0.0
    for digits in (7, 17):
        own, off = (float(f"{number:.{digits}g}") for number in (rate, decay))
        fitted = dataclasses.replace(rule, rate=own, decay=off)
        if _residual(fitted, steps) <= BOUND:
            return fitted
    return None


def _by_epsilon(steps: Sequence[Made], update: Array, weights: Array) -> Iterator[Update]:
    """Adam with an epsilon that is none of the usual: the update times its denominator is linear.

    ``u (sqrt(v) + e) = rate m + d w (sqrt(v) + e)``, where sqrt(v) and m are corrected.
    """
    for kind in ("keras", "torch"):
        for rounded in (True, False):
            parts = [_parts(Update(kind, 0.0, rounded), step) for step in steps]
            direction = np.concatenate([numerator for numerator, _ in parts])
            root = np.concatenate([denominator for _, denominator in parts])
            for columns in ([direction, -update], [direction, -update, weights * root, weights]):
                found = nearest(columns, update * root)
                epsilon = 0.0 if found is None else float(f"{found[1]:.6g}")
                if epsilon <= 0:
                    continue
                rule = Update(kind, epsilon, rounded)
                tried = _directions(rule, steps)
                assert tried is not None
                own = [tried, weights] if len(columns) > 2 else [tried]
                if (fitted := _fitted(rule, own, update, steps)) is not None:
                    yield fitted


def _residual(rule: Update, steps: Sequence[Made]) -> float:
    """Of the updates, relative to the largest; rounding of the weights themselves is allowed."""
    worst = 0.0
    for each in steps:
        step, direction = each.step, _directions(rule, [each])
        if direction is None:
            return np.inf
        update = step.after["weights"] - step.weights
        rounding = 8 * np.finfo(np.float64).eps * np.abs(step.weights).max()
        moved = rule.rate * (direction - rule.decay * step.weights)
        difference = np.abs(moved - update).max() - rounding
        worst = max(worst, float(difference / max(np.abs(update).max(), 1e-300)))
    return worst


def _directions(rule: Update, steps: Sequence[Made]) -> Array | None:
    found = []
    for made in steps:
        if rule.kind == "plain":
            if made.step.gradient is None:
                return None
            found.append(-made.step.gradient)
            continue
        if not _is_adam(made.step):
            return None
        numerator, denominator = _parts(rule, made)
        found.append(numerator / (denominator + rule.epsilon))
    return np.concatenate(found)


def _parts(rule: Update, made: Made) -> tuple[Array, Array]:
    """The numerator of Adam's direction, and its denominator without epsilon."""
    step = made.step
    m, v = step.after["momentum"], step.after["velocity"]
    beta1, beta2 = made.decays
    if rule.rounded:
        beta1, beta2 = float(np.float32(beta1)), float(np.float32(beta2))
    correction1, correction2 = 1 - beta1**step.t, float(np.sqrt(1 - beta2**step.t))
    if rule.kind == "keras":
        return np.asarray(-correction2 / correction1 * m), np.sqrt(v)
    return np.asarray(-m / correction1), np.sqrt(v) / correction2


def _largest(state: Mapping[str, Array]) -> dict[str, float]:
    return {name: float(np.abs(array).max()) for name, array in state.items()}
