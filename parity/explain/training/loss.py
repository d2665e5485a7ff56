"""The loss: which terms it has, with which weights, and what becomes of its gradient.

A loss is a sum of terms, each the mean over real or fake images of their scores or squared scores.
Its gradient, as the optimizer gets it, is the same sum of the terms' gradients, so that the weights
are solved for linearly from the port's own images and gradients, over all steps at once. What is
not linear is enumerated: how the scores are told apart and how their squares are reduced.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from parity.explain.causes import Cause, Unexplained
from parity.explain.training.numbers import (
    BOUND,
    SAME_NUMBER,
    Array,
    apart,
    numbers,
    same,
    shown,
    solve,
)
from parity.explain.training.runs import Run, Step
from parity.side.training_probe import TrainingProbe

SPLITS = ("halves", "counts")
SQUARES = ("mean of squares", "square of the mean", "sum of squares")
TERMS = ("score of real images", "score of fake images", "real scores", "fake scores")
"""What a loss has the means of: two of scores, and two of squares."""

PUBLISHED = (-1.0, 1.0, 1.0, 1.0)
"""The terms' weights, those of squares in units of the reference's own."""

Weights = tuple[float, ...]
EPSILON = 1e-6
"""What ``torch.nn.utils.clip_grad_norm_`` adds to a norm before it divides by it."""


@dataclasses.dataclass(frozen=True)
class Form:
    """What is not linear in a loss.

    Attributes:
        split: of the scores: in halves, or after as many as there are real images ("counts").
        real, fake: how squared scores are reduced.
        accumulate: the gradient of the step before is added.
    """

    split: str = "halves"
    real: str = SQUARES[0]
    fake: str = SQUARES[0]
    accumulate: bool = False

    def departures(self, other: Form) -> int:
        """In how many things two forms differ; both reductions alike are one."""
        squares = {(a, b) for a, b in ((self.real, other.real), (self.fake, other.fake)) if a != b}
        return (self.split != other.split) + len(squares) + (self.accumulate != other.accumulate)


FORMS = tuple(Form(*parts) for parts in itertools.product(SPLITS, SQUARES, SQUARES, (False, True)))


@dataclasses.dataclass(frozen=True)
class Loss:
    """A form with the weights of its terms, and how it clips its gradient, if it does."""

    form: Form
    weights: Weights
    clip: tuple[str, float] | None = None


@dataclasses.dataclass(frozen=True)
class Seen:
    """A step of a side, with what every form of a loss is made of.

    Attributes:
        earlier: the gradient of the step before, as the optimizer got it; 0 for the first step.
        unit: the weight of squares in the reference, 1 if it has none.
    """

    step: Step
    features: Array
    scores: Array
    earlier: Array | float
    unit: float

    def terms(self, form: Form) -> tuple[Array, Array]:
        """The value of each term (4,), and its gradient by the weights (4, D)."""
        n = len(self.scores) // 2 if form.split == "halves" else len(self.step.real)
        parts = (slice(0, n), slice(n, None))
        values, cotangents = [], []
        for part in parts:
            value, slope = _mean(self.scores[part])
            values.append(value)
            cotangents.append(self._whole(part, slope))
        for part, how in zip(parts, (form.real, form.fake), strict=True):
            value, slope = _squares(self.scores[part], how)
            values.append(self.unit * value)
            cotangents.append(self.unit * self._whole(part, slope))
        return np.array(values), np.stack(cotangents) @ self.features

    def _whole(self, part: slice, slope: Array) -> Array:
        cotangent = np.zeros(len(self.scores))
        cotangent[part] = slope
        return cotangent

    def gradient(self, loss: Loss) -> Array:
        """What the optimizer is given by a loss."""
        _, slopes = self.terms(loss.form)
        gradient = np.asarray(loss.weights) @ slopes
        if loss.form.accumulate:
            gradient = gradient + self.earlier
        return _clipped(gradient, loss.clip)

    def named(self, loss: Loss) -> dict[str, float]:
        """Scalars by the names the published program gives them."""
        values, _ = self.terms(loss.form)
        parts = [float(w * v) for w, v in zip(loss.weights, values, strict=True)]
        return {
            "loss": sum(parts),
            "contrastive_divergence": parts[0] + parts[1],
            "regulariser": parts[2] + parts[3],
            "real_score": float(values[0]),
            "fake_score": float(values[1]),
        }


def _mean(scores: Array) -> tuple[float, Array]:
    n = max(len(scores), 1)
    return float(scores.sum() / n), np.full(len(scores), 1 / n)


def _squares(scores: Array, how: str) -> tuple[float, Array]:
    n = max(len(scores), 1)
    if how == "square of the mean":
        mean = float(scores.sum() / n)
        return mean**2, np.full(len(scores), 2 * mean / n)
    if how == "sum of squares":
        return float((scores**2).sum()), 2 * scores
    return float((scores**2).sum() / n), 2 * scores / n


def _clipped(gradient: Array, clip: tuple[str, float] | None) -> Array:
    if clip is None:
        return gradient
    how, limit = clip
    if how == "value":
        return np.asarray(np.clip(gradient, -limit, limit))
    norm = float(np.linalg.norm(gradient))
    return gradient * min(1.0, limit / (norm + (EPSILON if how == "torch norm" else 0.0)))


def losses(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """The terms of the port's loss against those of the reference's."""
    units = _units([reference for reference, _ in runs])
    truth, ours = (
        [
            seen
            for unit, pair in zip(units, runs, strict=True)
            for seen in _seen(pair[side], unit or 1.0)
        ]
        for side in (0, 1)
    )
    base = next(iter(fitting(truth, Form())), None)
    if base is None:
        pairs = [(a.step.losses, b.step.losses) for a, b in zip(truth, ours, strict=True)]
        yield from numbers("losses", "train_step/loss", pairs)
        return
    tracked = any(seen.step.tracked for seen in ours)
    if tracked:
        evidence = "the loss's images require gradients, so that it goes back through sampling"
        yield Cause("state-not-detached", "train_step", evidence=evidence, part="train_step")
    before = residual(base, ours, by_gradient=not tracked)
    names = _names(base, truth)
    if before <= BOUND:
        yield from _reported(base, ours, names)
        return
    found = fitting(ours, base.form, by_gradient=not tracked)
    found = sorted(found, key=lambda loss: len(_changes(loss, base)))
    if not found:
        said = shown(ours[0].step.losses)
        yield Unexplained(
            "losses", f"no known loss gives the port's gradients: {said}", "train_step/loss"
        )
        return
    after = residual(found[0], ours, by_gradient=not tracked)
    fewest = _changes(found[0], base)
    others = [c for c in (_changes(loss, base) for loss in found[1:]) if len(c) == len(fewest)]
    reading = " and ".join(text for _, _, text, *_ in others[0]) if others else ""
    ids = tuple(tuple(id_ for id_, *_ in other) for other in others[:1])
    for id_, where, text, fix, part in fewest:
        evidence = f"{text}; with this, the gradients computed from the port's own images are its"
        yield Cause(id_, where, before, after, evidence, fix, reading, ids, part)
    yield from _reported(found[0], ours, names)


def _units(runs: Sequence[Run]) -> list[float]:
    """The weight of squares in each run of the reference, which its gradient shows."""
    found = []
    for run in runs:
        seen = _seen(run, 1.0)
        loss = next(iter(fitting(seen, Form())), None)
        found.append(0.0 if loss is None else loss.weights[2])
    return found


def _seen(run: Run, unit: float) -> list[Seen]:
    found: list[Seen] = []
    probe: TrainingProbe = run.probe
    earlier: Array | float = 0.0
    for step in run.steps:
        features = probe.features(step.images)
        found.append(Seen(step, features, features @ step.weights, earlier, unit))
        earlier = 0.0 if step.gradient is None else step.gradient
    return found


def fitting(steps: Sequence[Seen], base: Form, *, by_gradient: bool = True) -> list[Loss]:
    """The losses that give every step's gradient, those of a form near ``base`` first.

    Args:
        by_gradient: else by the scalars that each step returned, where gradients have other parts.
    """
    if by_gradient and any(seen.step.gradient is None for seen in steps):
        return []
    forms = sorted(FORMS, key=lambda form: form.departures(base))
    solved = _solved if by_gradient else _solved_by_scalars
    found = [loss for form in forms for loss in solved(steps, form)]
    if not found and by_gradient:
        plain = [form for form in forms if not form.accumulate]
        for clipped in (_clipped_by_norm, _clipped_by_value):
            found = found or [loss for form in plain for loss in clipped(steps, form)]
    return found


def _solved(steps: Sequence[Seen], form: Form) -> Iterator[Loss]:
    gradients = [_gradient(s) - (s.earlier if form.accumulate else 0.0) for s in steps]
    slopes = np.concatenate([seen.terms(form)[1] for seen in steps], axis=1)
    yield from _of(steps, form, _solution(slopes, np.concatenate(gradients)))


def _solved_by_scalars(steps: Sequence[Seen], form: Form) -> Iterator[Loss]:
    if form.accumulate:
        return
    values = np.stack([seen.terms(form)[0] for seen in steps], axis=1)
    returned = [seen.step.losses for seen in steps]
    if all({"contrastive_divergence", "regulariser"} <= set(named) for named in returned):
        linear = _solution(values[:2], np.array([n["contrastive_divergence"] for n in returned]))
        squares = _solution(values[2:], np.array([n["regulariser"] for n in returned]))
        whole = None if linear is None or squares is None else np.concatenate([linear, squares])
    elif all("loss" in named for named in returned):
        whole = _solution(values, np.array([named["loss"] for named in returned]))
    else:
        return
    yield from _of(steps, form, whole, by_gradient=False)


def _solution(columns: Array, target: Array) -> Array | None:
    """Each column's coefficient; 0 for a column that is all zero, as squares of scores of 0 are."""
    used = [n for n, column in enumerate(columns) if np.any(column)]
    found = solve([columns[n] for n in used], target) if used else None
    if found is None:
        return None
    whole = np.zeros(len(columns))
    whole[used] = found
    return whole


def _of(
    steps: Sequence[Seen],
    form: Form,
    weights: Array | None,
    clip: tuple[str, float] | None = None,
    by_gradient: bool = True,
) -> Iterator[Loss]:
    """The loss with these weights, or with the round ones next to them, if it is the steps'."""
    if weights is None:
        return
    exact = tuple(float(w) for w in weights)
    neat = tuple(float(f"{w:.7g}") if abs(w) > SAME_NUMBER else 0.0 for w in exact)
    for chosen in (neat, exact):
        loss = Loss(form, chosen, clip)
        if residual(loss, steps, by_gradient=by_gradient) <= BOUND:
            yield loss
            return


def _clipped_by_norm(steps: Sequence[Seen], form: Form) -> Iterator[Loss]:
    """Each step has a factor of its own; what it returned as its loss tells the factor."""
    weights, factors = [], []
    for seen in steps:
        values, slopes = seen.terms(form)
        solved = _solution(slopes, _gradient(seen))
        if solved is None:
            return
        returned = seen.step.losses.get("loss")
        factor = float(solved @ values) / returned if returned else float(abs(solved[1]))
        if not 0 < factor <= 1 + SAME_NUMBER:
            return
        weights.append(solved / factor)
        factors.append(factor)
    for how in ("torch norm", "norm"):
        limits = []
        for seen, factor in zip(steps, factors, strict=True):
            norm = float(np.linalg.norm(_gradient(seen)))
            if factor < 1 - SAME_NUMBER:
                limits.append(norm + (EPSILON * factor if how == "torch norm" else 0.0))
        if limits:
            limit = float(f"{np.mean(limits):.7g}")
            yield from _of(steps, form, np.mean(weights, axis=0), (how, limit))


def _clipped_by_value(steps: Sequence[Seen], form: Form) -> Iterator[Loss]:
    """Solved from where nothing was clipped."""
    gradient = np.concatenate([_gradient(seen) for seen in steps])
    limit = float(np.abs(gradient).max())
    free = np.abs(gradient) < limit
    if limit == 0 or (~free).sum() < 2 or not free.any():
        return
    slopes = np.concatenate([seen.terms(form)[1] for seen in steps], axis=1)
    yield from _of(steps, form, _solution(slopes[:, free], gradient[free]), ("value", limit))


def _gradient(seen: Seen) -> Array:
    assert seen.step.gradient is not None
    return seen.step.gradient


def residual(loss: Loss, steps: Sequence[Seen], *, by_gradient: bool = True) -> float:
    """How far a loss is from what each step gave its optimizer, or returned; relative."""
    worst = 0.0
    for seen in steps:
        if by_gradient:
            if seen.step.gradient is None:
                return np.inf
            worst = max(worst, apart(seen.gradient(loss), seen.step.gradient))
            continue
        mine = seen.named(loss)
        size = max(abs(value) for value in mine.values()) or 1.0
        for name in ("loss", "contrastive_divergence", "regulariser"):
            if name in seen.step.losses:
                worst = max(worst, abs(mine[name] - seen.step.losses[name]) / size)
    return worst


Change = tuple[str, str, str, str, str]
"""Of a loss: the fault's id, where, in words, its mend (empty: the catalogue's), its part."""


def _changes(loss: Loss, base: Loss) -> list[Change]:
    """What a loss does otherwise than the reference's."""
    own, form = base.form, loss.form
    found: list[Change] = []
    if form.split != own.split:
        text = f"scores are told apart by {form.split}, the reference's by {own.split}"
        found.append(
            ("batch-split", "the loss, real and fake scores", text, "", "train_step/loss/split")
        )
    found += _divergence(loss.weights, base.weights)
    reductions = {
        (ours, theirs)
        for ours, theirs in ((form.real, own.real), (form.fake, own.fake))
        if ours != theirs
    }
    for ours, theirs in sorted(reductions):
        text = f"it has the {ours} where the reference has the {theirs}"
        mend = {
            "mean of squares": "scores.square().mean(): the mean of the squares",
            "square of the mean": "scores.mean().square(): the square of the mean",
            "sum of squares": "scores.square().sum(): the sum of the squares",
        }[theirs]
        found.append(("loss-reduction", "regulariser", text, mend, "train_step/loss/squares"))
    found += _regulariser(loss.weights, base.weights)
    if form.accumulate != own.accumulate:
        text = "the gradients of the step before are added"
        mend = "optimizer.zero_grad() before loss.backward()"
        found.append(("gradient-accumulated", "train_step", text, mend, "train_step/loss"))
    if loss.clip != base.clip:
        found.append(_clip_change(loss.clip, base.clip))
    return found


def _clip_change(ours: tuple[str, float] | None, base: tuple[str, float] | None) -> Change:
    where, part = "train_step, the gradients", "train_step/loss"
    had = "not clipped" if base is None else f"clipped by {base[0]} at {base[1]:.6g}"
    if ours is None:
        text, mend = f"gradients are not clipped, the reference's are {had}", "clip the gradients"
        return "gradient-clip-missing", where, text, mend, part
    text = f"gradients are clipped by {ours[0]} at {ours[1]:.6g}, the reference's are {had}"
    name = "value" if ours[0] == "value" else "norm"
    mend = f"no torch.nn.utils.clip_grad_{name}_ before optimizer.step()"
    id_ = "gradient-clip-range" if ours[0] == "value" else "gradient-clip-norm"
    return id_, where, text, mend if base is None else f"clip the gradients as {had}", part


def _divergence(ours: Weights, base: Weights) -> Iterator[Change]:
    where, part = "contrastive divergence", "train_step/loss/sign"
    mine, theirs = ours[:2], base[:2]
    if all(same(a, b) for a, b in zip(mine, theirs, strict=True)):
        return
    if all(same(a, -b) for a, b in zip(mine, theirs, strict=True)):
        yield "loss-sign", where, "it has the other sign", "", part
        return
    yield from _weighted(mine, theirs, TERMS[:2], where, "mean {}", part)


def _regulariser(ours: Weights, base: Weights) -> Iterator[Change]:
    mine, theirs = ours[2:], base[2:]
    if all(same(a, b) for a, b in zip(mine, theirs, strict=True)):
        return
    part = "train_step/loss/squares/weight"
    yield from _weighted(mine, theirs, TERMS[2:], "regulariser", "mean of squared {}", part)


def _weighted(
    ours: Weights, base: Weights, names: Sequence[str], where: str, what: str, part: str
) -> Iterator[Change]:
    """Two terms that are missing, or weighted otherwise: alike, or each in its own way."""
    alike = base[0] != 0 and base[1] != 0 and same(ours[0] / base[0], ours[1] / base[1])
    if alike and ours[0] == 0:
        yield "loss-term", where, f"the {where} is missing", "", part.removesuffix("/weight")
    elif alike:
        text = f"the {where} has {ours[0] / base[0]:.7g} times the reference's weight"
        yield "loss-term", where, text, f"weigh the {where} as the reference does", part
    else:
        for mine, theirs, name in zip(ours, base, names, strict=True):
            term = what.format(name)
            if same(mine, theirs):
                continue
            if mine == 0:
                text, mend = f"the {term} is missing", f"add the {term} to the loss"
            elif theirs == 0:
                text, mend = f"the {term} is added", f"leave out the {term}"
            else:
                text = f"the {term} has {mine / theirs:.7g} times the reference's weight"
                mend = f"weigh the {term} as the reference does"
            yield "loss-term", where, text, mend, part.removesuffix("/weight")


def _names(base: Loss, truth: Sequence[Seen]) -> list[str]:
    """The scalars that the reference returns and that are what the loss has for them."""
    names = [name for name in truth[0].step.losses if name in truth[0].named(base)]
    return [name for name in names if all(_returns(base, seen, name) for seen in truth)]


def _returns(loss: Loss, seen: Seen, name: str) -> bool:
    mine = seen.named(loss)
    size = max(abs(value) for value in mine.values()) or 1.0
    return abs(mine[name] - seen.step.losses.get(name, np.inf)) <= BOUND * size


def _reported(loss: Loss, ours: Sequence[Seen], names: Sequence[str]) -> Iterator[Cause]:
    """Scalars that are returned and are not those that are trained on."""
    for name in names:
        wrong = [seen for seen in ours if not _returns(loss, seen, name)]
        if wrong and all(name in seen.step.losses for seen in wrong):
            mine, said = wrong[0].named(loss)[name], wrong[0].step.losses[name]
            yield Cause(
                "loss-term",
                f"losses, {name} as it is returned",
                abs(mine - said) / (abs(mine) or 1.0),
                None,
                f"{name} is returned as {said:.9g}, and trained on as {mine:.9g}",
                f"return the {name.replace('_', ' ')} that the gradient is taken of",
                part="train_step/loss",
            )
