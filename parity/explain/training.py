"""Which part of a training step is otherwise: loss, optimizer, replay buffer.

Read off one teacher-forced step: both sides start from the same weights, moments and buffer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment

from parity.cases import Case
from parity.comparison import FLOAT64_FLOORS
from parity.explain.causes import Cause, Unexplained, verified
from parity.traces import Trace

Array = np.ndarray
Arrays = Mapping[str, Array]

SAME_IMAGE = 0.2
"""Mean distance of pixels below which two images of a buffer come from one; a pair of uniform
images is 2/3 apart."""


def explain_training(
    case: Case, reference: Trace, port: Trace
) -> tuple[list[Cause], list[Unexplained]]:
    """What a step of the port does otherwise, or two in a row.

    Args:
        case: of one step; of two for what a step leaves to the next.
        reference, port: answers to ``training``.
    """
    assert case.training is not None
    truth, ours = reference.arrays["float64"], port.arrays["float64"]
    floors = {n: float(np.max(f)) for n, f in reference.floors["float64"].items()}
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    wrong = {name for name in truth if name not in ours or _differs(name, truth, ours, floors)}
    if case.training.steps > 1:  # only what one step leaves to the next; all else is told by one
        names = sorted(n for n in wrong if n.startswith("parameter_gradients/"))
        return list(_accumulated(names, truth, ours)) if names else [], []
    buffer_wrong = "replay_buffer" in wrong
    if buffer_wrong:
        found = list(_buffer(truth["replay_buffer"], ours.get("replay_buffer")))
        causes += found
        if not found:
            unexplained.append(
                Unexplained(
                    "replay_buffer",
                    "its images differ, and no other order or range of them is the reference's",
                )
            )
    losses = {n for n in wrong if n.startswith("losses/")}
    if losses and not buffer_wrong:
        found = list(_losses(truth, ours, floors))
        causes += found
        if not found:
            unexplained.append(_numbers("losses", sorted(losses), truth, ours))
    gradients = {n for n in wrong if n.startswith("parameter_gradients/")}
    if gradients and not losses and not buffer_wrong:
        unexplained.append(_numbers("parameter_gradients", sorted(gradients), truth, ours))
    state = {n for n in wrong if n.startswith("training_state/")}
    if state and not gradients:
        found = list(_optimizer(case, truth, ours, floors))
        causes += found
        if not found:
            unexplained.append(_numbers("training_state", sorted(state), truth, ours))
    if {n for n in wrong if n.startswith("validation/")} and not losses:
        names = sorted(n for n in wrong if n.startswith("validation/"))
        unexplained.append(_numbers("validation", names, truth, ours))
    return causes, unexplained


def _differs(name: str, truth: Arrays, ours: Arrays, floors: Mapping[str, float]) -> bool:
    group = name.split("/")[0]
    bound = floors[name]
    if group in ("losses", "validation"):
        bound = max(floor for other, floor in floors.items() if other.split("/")[0] == group)
    if ours[name].shape != truth[name].shape:
        return True
    return bool(np.abs(ours[name] - truth[name]).max(initial=0.0) > FLOAT64_FLOORS * bound)


def _numbers(where: str, names: list[str], truth: Arrays, ours: Arrays) -> Unexplained:
    name = names[0]
    if name not in ours:
        return Unexplained(where, f"the port gave no {name}")
    if ours[name].shape != truth[name].shape:
        shapes = f"{ours[name].shape}, the reference's {truth[name].shape}"
        return Unexplained(where, f"{name} has shape {shapes}")
    difference = np.abs(ours[name] - truth[name])
    index = np.unravel_index(int(difference.argmax()), difference.shape)
    return Unexplained(
        where,
        f"{len(names)} arrays differ, the first is {name}, most at {[int(i) for i in index]}: "
        f"reference {truth[name][index]:.12g}, port {ours[name][index]:.12g}; nothing in the "
        "catalogue reproduces it",
    )


def _buffer(truth: Array, ours: Array | None) -> Iterator[Cause]:
    """The same images in another order, fewer or others of them, or another range."""
    where = "replay buffer"
    if ours is None:
        return
    if ours.shape != truth.shape:
        yield Cause(
            "buffer-size",
            where,
            evidence=f"it holds {len(ours)} images after the step, the reference's {len(truth)}",
        )
        return
    # A few steps of the sampler move an image far less than it is from any other.
    flat, flat_truth = ours.reshape(len(ours), -1), truth.reshape(len(truth), -1)
    distances = np.abs(flat[:, None] - flat_truth[None]).mean(axis=2)
    rows, nearest = linear_sum_assignment(distances)
    apart = distances[rows, nearest]
    if (ours < 0).mean() < 0.2 * (truth < 0).mean():
        yield Cause(
            "initial-range",
            where,
            evidence=f"its images lie in [{ours.min():.3g}, {ours.max():.3g}], the reference's in "
            f"[{truth.min():.3g}, {truth.max():.3g}]",
        )
    elif apart.max() > SAME_IMAGE:
        others = int((apart > SAME_IMAGE).sum())
        yield Cause(
            "buffer-size",
            where,
            evidence=f"{others} of its {len(ours)} images are none of the reference's",
        )
    elif np.trace(distances) > 3 * apart.sum():
        moved = int((nearest != rows).sum())
        yield Cause(
            "buffer-order",
            where,
            float(np.abs(ours - truth).max()),
            float(np.abs(ours - truth[nearest]).max()),
            f"{moved} of its {len(truth)} images are where the reference has others",
        )


def _accumulated(names: list[str], truth: Arrays, ours: Arrays) -> Iterator[Cause]:
    """Gradients of the first step in those of the second."""
    name = names[0]
    if len(truth[name]) < 2 or ours[name].shape != truth[name].shape:
        return
    before = float(np.abs(ours[name][1] - truth[name][1]).max())
    after = float(np.abs(ours[name][1] - ours[name][0] - truth[name][1]).max())
    if after < before / 100:  # the weights of the second step differ a little already
        yield Cause(
            "gradient-accumulated",
            "train_step",
            before,
            after,
            f"{name} of the second step contains the first step's",
            "optimizer.zero_grad() before loss.backward()",
        )


def _losses(truth: Arrays, ours: Arrays, floors: Mapping[str, float]) -> Iterator[Cause]:
    """Signs, weights and reductions of the terms of a contrastive-divergence loss."""
    bound = FLOAT64_FLOORS * max(f for n, f in floors.items() if n.startswith("losses/"))

    def named(arrays: Arrays, name: str) -> float | None:
        array = arrays.get(f"losses/{name}")
        return None if array is None else float(array.ravel()[0])

    divergence, mine = (named(a, "contrastive_divergence") for a in (truth, ours))
    if divergence is not None and mine is not None:
        before, after = abs(mine - divergence), abs(mine + divergence)
        if verified(before, after, bound):
            yield Cause(
                "loss-sign",
                "contrastive divergence",
                before,
                after,
                f"it is {mine:.6g}, the reference's {divergence:.6g}",
            )
    regulariser, mine = (named(a, "regulariser") for a in (truth, ours))
    real, fake = (named(truth, n) for n in ("real_score", "fake_score"))
    if regulariser is None or mine is None or abs(mine - regulariser) <= bound:
        return
    before = abs(mine - regulariser)
    factors = (0.0, 10.0, 0.5, 2.0, 0.1, 100.0)
    for factor in factors:
        after = abs(mine - factor * regulariser)
        if verified(before, after, bound):
            yield Cause(
                "loss-term",
                "regulariser",
                before,
                after,
                f"it is {factor:g} times the reference's: {mine:.6g} and {regulariser:.6g}",
            )
            return
    if real is None or fake is None:
        return
    for squares, weight in itertools.product(
        (real**2 + fake**2, (real + fake) ** 2), (0.1, 1.0, 0.01, 0.5)
    ):
        after = abs(mine - weight * squares)
        if verified(before, after, bound):
            yield Cause(
                "loss-reduction",
                "regulariser",
                before,
                after,
                "it is the square of the mean scores, not the mean of the squared scores",
            )
            return


def _optimizer(
    case: Case, truth: Arrays, ours: Arrays, floors: Mapping[str, float]
) -> Iterator[Cause]:
    """Adam's variants on the port's own moments, for the weight that moved most."""
    assert case.training is not None
    prefix = "training_state/weights/"
    names = [n.removeprefix(prefix) for n in truth if n.startswith(prefix)]
    needed = [f"training_state/{m}/{n}" for m in ("momentum", "velocity") for n in names]
    if any(name not in ours for name in needed) or case.training.steps != 1:
        return
    t = case.training.iterations + 1
    wrong = [n for n in names if _differs(prefix + n, truth, ours, floors)]
    moments_wrong = [n for n in needed if _differs(n, truth, ours, floors)]
    if moments_wrong:
        yield from _decays(case, moments_wrong, truth, ours)
        return
    start = np.concatenate([case.weights[n].astype(np.float64).ravel() for n in wrong])
    after, expected = (
        np.concatenate([a[prefix + n].ravel() for n in wrong]) for a in (ours, truth)
    )
    m, v = (
        np.concatenate([ours[f"training_state/{k}/{n}"].ravel() for n in wrong])
        for k in ("momentum", "velocity")
    )
    bound = FLOAT64_FLOORS * max(floors[prefix + n] for n in wrong)
    before = float(np.abs(after - expected).max())
    rate = _rate(expected - start, m, v, t)
    for place, eps, factor in itertools.product(
        ("torch", "keras"),
        (1e-7, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-10, 1e-12),
        (1.0, 10.0, 0.1, 2.0, 0.5, 100.0, 0.01),
    ):
        if (place, eps, factor) == ("keras", 1e-7, 1.0):
            continue
        update = _adam(m, v, t, eps, place)
        residual = float(np.abs(start + factor * rate * update - after).max())
        # The betas that torch keeps in float64 and Keras rounds are 7e-6 of the update apart.
        if residual <= max(bound, 2e-5 * float(np.abs(after - start).max())) and (
            residual < before / 10
        ):
            id_ = "optimizer-epsilon" if factor == 1.0 else "optimizer-hyperparameter"
            words = (
                f"epsilon {eps:g} {'divided out of' if place == 'torch' else 'added to'} sqrt(v)"
            )
            if factor != 1.0:
                words += f", {factor:g} times the learning rate"
            yield Cause(
                id_,
                "optimizer",
                before,
                residual,
                f"from the port's own moments, its update is Adam's with {words}",
            )
            return


def _rate(update: Array, m: Array, v: Array, t: int) -> float:
    """The learning rate that the reference's update shows."""
    direction = _adam(m, v, t, 1e-7, "keras")
    return float((update * direction).sum() / (direction * direction).sum())


def _adam(m: Array, v: Array, t: int, eps: float, place: str) -> Array:
    beta1, beta2 = (float(np.float32(beta)) for beta in (0.9, 0.999))
    correction1, correction2 = 1 - beta1**t, np.sqrt(1 - beta2**t)
    if place == "keras":
        return np.asarray(-correction2 / correction1 * m / (np.sqrt(v) + eps))
    return np.asarray(-m / correction1 / (np.sqrt(v) / correction2 + eps))


def _decays(case: Case, wrong: list[str], truth: Arrays, ours: Arrays) -> Iterator[Cause]:
    name = wrong[0]
    difference = float(np.abs(ours[name] - truth[name]).max())
    yield Cause(
        "optimizer-hyperparameter",
        "optimizer",
        difference,
        None,
        f"gradients are equal and {name.removeprefix('training_state/')} after the step is not: "
        "other betas, or another rule",
    )
