"""Which part of a training step is otherwise: images, replay buffer, loss, optimizer.

Both sides train a *probe*: a small analytic energy with one vector of weights, the same in both
frameworks, so that training is judged apart from the network. Each stage of the port's step is then
computed in NumPy from what the port itself put into it (the images it evaluated, its own gradients,
moments and buffer), so that a fault of one stage, or of the sampler, does not hide another.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.cases import Case, TrainingCall
from parity.explain.causes import Cause, Unexplained
from parity.randomness import generator
from parity.traces import Trace

Array = np.ndarray
Evaluation = tuple[Array, bool]
"""The images (B, H, W, C) of an evaluation of the probe, and whether they required gradients."""

WEIGHT = "probe/c"
"""The name of the probe's weights, as Keras has it: of the model, then of the variable."""

SIZE = 0.005
"""Of the probe's weights: gradients so small that a few steps hardly move an image."""

CURVATURE = 0.02
BOUND = 1e-11
"""Relative; a stage is a sum over at most some thousand numbers, so rounding lies far below."""

SAME_IMAGE = 0.5
"""An image is taken to come from another when it is this much nearer to it than to the runner-up.
Of 128 images of 12 uniform pixels, a new one's nearest is at some 0.8 of the next."""


@dataclasses.dataclass(frozen=True)
class TrainingProbe:
    """f(x) = sum of c (sin(x - m) + 0.02 x^2) over an image; c, the weights, and m are (H*W*C,)."""

    c: Array
    m: Array

    @classmethod
    def drawn(cls, image_shape: Sequence[int]) -> TrainingProbe:
        rng = generator(7, "training probe")
        size = int(np.prod(image_shape))
        return cls(SIZE * rng.standard_normal(size).astype(np.float32), rng.uniform(-2, 2, size))

    def features(self, images: Array) -> Array:
        """(B, H*W*C): the gradient of each score by the weights."""
        x = images.reshape(len(images), -1)
        return np.asarray(np.sin(x - self.m) + CURVATURE * x * x)


@dataclasses.dataclass(frozen=True)
class Step:
    """What went into one training step of a side, and what came out.

    Attributes:
        real: (B, H, W, C), as the case gives them.
        evaluated: the images of each evaluation of the network; the last one is the loss's.
        weights, momentum, velocity: before the step; moments None if the optimizer keeps others.
        after: the same, after the step.
        gradient: as the optimizer got it, None if it got none.
        losses: what ``train_step`` returned.
        buffer, buffer_after: images (N, H, W, C), None without a buffer.
        t: how many steps the optimizer has taken with this one.
        tracked: the loss's images required gradients, so that the loss goes back through sampling.
    """

    real: Array
    evaluated: tuple[Array, ...]
    weights: Array
    momentum: Array | None
    velocity: Array | None
    after: Mapping[str, Array]
    gradient: Array | None
    losses: Mapping[str, float]
    buffer: Array | None
    buffer_after: Array | None
    t: int
    tracked: bool

    @property
    def images(self) -> Array:
        """Those of the loss: real and fake."""
        return self.evaluated[-1]


@dataclasses.dataclass(frozen=True)
class Run:
    """One side's training of the probe: its steps, and its validation before them."""

    probe: TrainingProbe
    steps: tuple[Step, ...]
    validated: tuple[Array, ...]
    validation: Mapping[str, float]
    initial_buffer: Array | None


PROBE_STEPS = 2


def probe_case(
    image_shape: tuple[int, int, int],
    settings: Mapping[str, Any] | None,
    batch: int,
    *,
    steps: int,
    iterations: int = 0,
    buffer: int | None = None,
    moments: Sequence[str] = (),
    limits: tuple[float, float] = (-1.0, 1.0),
) -> Case:
    """A case that trains the probe; half of its pixels lie exactly on the limits.

    A case of one step is the first step of that of two, unless it starts from another state.
    """
    rng = generator(11, "training probe case")
    probe = TrainingProbe.drawn(image_shape)

    def drawn(n: int) -> Array:
        noise = rng.uniform(*limits, (n, *image_shape))
        on_limit = rng.choice(limits, noise.shape)
        return np.where(rng.random(noise.shape) < 0.5, on_limit, noise).astype(np.float32)

    state = {}
    if buffer is not None:
        state["buffer"] = rng.uniform(*limits, (buffer, *image_shape)).astype(np.float32)
    if iterations:
        for moment in moments:
            values = rng.normal(0.0, 0.05, probe.c.shape)
            values = values if moment == "momentum" else values**2
            state[f"{moment}/{WEIGHT}"] = values.astype(np.float32)
    return Case(
        weights={WEIGHT: probe.c},
        images=drawn(batch * PROBE_STEPS)[: batch * steps],
        key=18 if state else 19,
        settings=settings,
        training=TrainingCall(steps, iterations),
        state=state,
        origin={"probe": "training"},
    )


def run_of(case: Case, trace: Trace) -> Run:
    """A side's answer to ``probing_training`` as what went in and out of each step."""
    assert case.training is not None
    arrays = trace.arrays["float64"]
    batches = case.images.astype(np.float64).reshape(
        case.training.steps, -1, *case.images.shape[1:]
    )

    def state(what: str, step: int) -> Array | None:
        if step >= 0:
            found = arrays.get(f"training_state/{what}/{WEIGHT}")
            return None if found is None else found[step]
        if what == "weights":
            return case.weights[WEIGHT].astype(np.float64)
        if f"{what}/{WEIGHT}" in case.state:
            return case.state[f"{what}/{WEIGHT}"].astype(np.float64)
        kept = f"training_state/{what}/{WEIGHT}" in arrays
        return np.zeros(case.weights[WEIGHT].shape) if kept else None

    steps = []
    for number, real in enumerate(batches):
        after = {what: state(what, number) for what in ("weights", "momentum", "velocity")}
        weights = state("weights", number - 1)
        gradients = arrays.get(f"parameter_gradients/{WEIGHT}")
        assert weights is not None
        steps.append(
            Step(
                real,
                _evaluated(arrays, f"step {number}"),
                weights,
                state("momentum", number - 1),
                state("velocity", number - 1),
                {what: array for what, array in after.items() if array is not None},
                None if gradients is None else gradients[number],
                _scalars(arrays, "losses", number),
                arrays.get(f"buffer/{number}"),
                arrays.get(f"buffer/{number + 1}"),
                case.training.iterations + number + 1,
                bool(arrays.get(f"tracked/step {number}", np.array(0.0))),
            )
        )
    return Run(
        TrainingProbe.drawn(case.images.shape[1:]),
        tuple(steps),
        _evaluated(arrays, "validation"),
        _scalars(arrays, "validation", None),
        None if "buffer" in case.state else arrays.get("buffer/0"),
    )


def _evaluated(arrays: Mapping[str, Array], stage: str) -> tuple[Array, ...]:
    found: list[Array] = []
    while (name := f"evaluated/{stage}/{len(found)}") in arrays:
        found.append(arrays[name])
    return tuple(found)


def _scalars(arrays: Mapping[str, Array], kind: str, step: int | None) -> dict[str, float]:
    named = {n.split("/")[1]: a for n, a in arrays.items() if n.startswith(f"{kind}/")}
    return {n: float(np.ravel(a)[step or 0]) for n, a in named.items()}


PARTS = {
    "train_step, the real images": "train_step/noise",
    "replay buffer, its first images": "replay_buffer/images",
    "replay buffer, where chains start": "replay_buffer/starts",
    "replay buffer, after a step": "replay_buffer/kept",
    "losses": "train_step/loss",
    "optimizer": "make_optimizer",
    "optimizer, its momentum": "make_optimizer",
    "optimizer, its velocity": "make_optimizer",
}
"""The part of a port that a place in words is about, where that is not its name as it stands."""
FAULT_PARTS = {
    "clip-missing": "train_step/clip",
    "batch-split": "train_step/loss/split",
    "loss-sign": "train_step/loss/sign",
    "loss-reduction": "train_step/loss/squares",
    "loss-term": "train_step/loss/squares/weight",
    "gradient-accumulated": "train_step/loss",
}


def explain_training(
    runs: Sequence[tuple[Run, Run]],
) -> tuple[list[Cause], list[Unexplained]]:
    """What the port's training does otherwise than the reference's.

    Args:
        runs: (reference's, port's) of each case.
    """
    found: list[Cause | Unexplained] = []
    for reference, port in runs:
        for ours, truth in zip(port.steps, reference.steps, strict=True):
            if len(ours.evaluated) != len(truth.evaluated):
                text = (
                    f"a step evaluates the network {len(ours.evaluated)} times, the reference's "
                    f"{len(truth.evaluated)} times"
                )
                return [], [Unexplained("train_step", text, "train_step")]
    found += _real_images(runs)
    found += _initial_buffer(runs)
    found += _starts(runs)
    found += _kept(runs)
    found += _losses(runs)
    found += _moments(runs)
    found += _updates(runs)
    found += _validation(runs)
    unique: dict[tuple[str, str], Cause] = {}
    left: dict[str, Unexplained] = {}
    for item in found:
        part = PARTS.get(item.where, item.where)
        if isinstance(item, Cause):
            part = FAULT_PARTS.get(item.id, part)
            unique.setdefault((item.id, item.where), dataclasses.replace(item, part=part))
        else:
            left[item.where] = dataclasses.replace(item, part=part)
    return list(unique.values()), list(left.values())


def _steps(runs: Sequence[tuple[Run, Run]]) -> list[tuple[TrainingProbe, Step, Step]]:
    """(probe, the reference's step, the port's) of every run."""
    return [
        (reference.probe, truth, ours)
        for reference, port in runs
        for truth, ours in zip(reference.steps, port.steps, strict=True)
    ]


# The images.


def _real_images(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """Noise and clip of the real images, read off those that the loss is computed on."""
    where = "train_step, the real images"
    for reference, port in runs:
        # The first step's only: later ones draw after a sampler, which may draw more or fewer.
        truth, ours = reference.steps[0], port.steps[0]
        n = len(truth.real)
        expected, found, given = truth.images[:n], ours.images[:n], truth.real
        before = _apart(found, expected)
        if before <= BOUND:
            continue
        if _apart(found, given) <= BOUND or _apart(found, np.clip(given, -1, 1)) <= BOUND:
            yield Cause(
                "noise-missing",
                where,
                before,
                min(_apart(found, given), _apart(found, np.clip(given, -1, 1))),
                "the loss is computed on the real images as they were given",
                "real = real + torch.randn_like(real) * noise, then clamp, before the loss",
            )
        elif _apart(np.clip(found, -1, 1), expected) <= BOUND:
            yield Cause(
                "clip-missing",
                where,
                before,
                _apart(np.clip(found, -1, 1), expected),
                f"real images reach {np.abs(found).max():.4g} after the noise",
                "real = real.clamp(-1, 1) after the noise",
            )
        elif (factor := _noise_factor(given, found, expected)) is None:
            yield Unexplained(where, _worst(found, expected))
        else:
            after = _apart(np.clip(given + factor * (expected - given), -1, 1), found)
            inside = np.abs(expected) < 1
            yield Cause(
                "noise-scale",
                where,
                before,
                min(after, _apart((given + factor * (expected - given))[inside], found[inside])),
                f"the noise is {factor:.6g} times the reference's",
                "real = real + torch.randn_like(real) * noise",
            )
        return


def _initial_buffer(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    where = "replay buffer, its first images"
    for reference, port in runs:
        truth, ours = reference.initial_buffer, port.initial_buffer
        if truth is None or ours is None:
            continue
        if truth.shape != ours.shape:
            text = f"it starts with {len(ours)} images, the reference's with {len(truth)}"
            yield Cause("buffer-size", where, evidence=text)
            return
        before = _apart(ours, truth)
        if before <= BOUND:
            continue
        slope, offset = np.polyfit(truth.ravel(), ours.ravel(), 1)
        after = _apart(slope * truth + offset, ours)
        if after <= BOUND:
            low, high = (float(slope * end + offset) for end in (-1, 1))
            yield Cause(
                "initial-range",
                where,
                before,
                after,
                f"they are uniform on [{low:.4g}, {high:.4g}], the reference's on [-1, 1]",
            )
        else:
            yield Unexplained(where, _worst(ours, truth))
        return


def _starts(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """Which images the chains of a step start from: new ones, or which of the buffer's."""
    where = "replay buffer, where chains start"
    for reference, port in runs:
        truth, ours = reference.steps[0], port.steps[0]
        if len(truth.evaluated) < 2 or truth.buffer is None or ours.buffer is None:
            continue
        if not len(truth.buffer) or not len(ours.buffer):
            continue
        expected = _sources(truth.evaluated[0], truth.buffer)
        found = _sources(ours.evaluated[0], ours.buffer, expected)
        if expected == found:
            continue
        if sorted(expected) == sorted(found):
            moved = sum(a != b for a, b in zip(expected, found, strict=True))
            yield Cause(
                "buffer-order",
                where,
                moved / len(expected),
                0.0,
                f"{moved} of {len(expected)} chains start where the reference starts others",
                "torch.cat([new, old])",
            )
        else:
            yield Unexplained(where, f"from {found}, the reference's from {expected} (-1 is new)")
        return


def _sources(images: Array, buffer: Array, expected: Sequence[int] | None = None) -> list[int]:
    """The index in ``buffer`` that each image comes from; -1 if clearly from none.

    Where ``expected`` is given, the nearest image is believed when it is the expected one, however
    far: a fault of the sampler, such as another clip, may have moved an image by much.
    """
    flat, kept = images.reshape(len(images), -1), buffer.reshape(len(buffer), -1)
    found = []
    for row, image in enumerate(flat):
        distances = np.abs(kept - image).mean(axis=1)
        nearest, *others = np.sort(distances)
        index = int(distances.argmin())
        runner_up = others[0] if others else kept.std()
        clear = nearest < SAME_IMAGE * runner_up
        same = expected is not None and list(expected[row : row + 1]) == [index]
        found.append(index if clear or same else -1)
    return found


BUFFER_RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("samples first, the tail dropped", ()),
    ("samples last, the tail dropped", ("buffer-order",)),
    ("samples first, the head dropped", ("buffer-size",)),
    ("samples first, nothing dropped", ("buffer-size",)),
    ("samples last, the head dropped", ("buffer-order", "buffer-size")),
    ("samples last, nothing dropped", ("buffer-order", "buffer-size")),
)
"""What a buffer keeps after a step, and how that differs from the published rule, the first."""


def _kept(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """What is in the buffer after a step, from the step's own samples and its buffer before."""
    where = "replay buffer, after a step"
    steps = [(a, b) for _, a, b in _steps(runs)]
    if any(s.buffer is None or s.buffer_after is None for pair in steps for s in pair):
        return
    sizes = [len(truth.buffer_after) for truth, _ in steps]  # type: ignore[arg-type]
    base = _buffer_rules([truth for truth, _ in steps], sizes)
    found = _buffer_rules([ours for _, ours in steps], sizes)
    if not base:
        yield Unexplained(where, "the reference's own buffer follows none of the known rules")
    elif not found:
        text = "no known order or cut of its own samples and images gives what it holds"
        yield Unexplained(where, text)
    elif not set(base) & set(found):
        rule, ids = min(found, key=lambda rule: len(set(rule[1]) ^ set(base[0][1])))
        wrong = max(_unlike(truth.buffer_after, ours.buffer_after) for truth, ours in steps)
        text = f"it keeps {rule}; the reference keeps {base[0][0]}"
        for id_ in set(ids) ^ set(base[0][1]):
            yield Cause(id_, where, wrong, 0.0, text)


def _buffer_rules(steps: Sequence[Step], sizes: Sequence[int]) -> list[tuple[str, tuple[str, ...]]]:
    """The rules that give each step's buffer to the bit."""
    found = []
    for rule in BUFFER_RULES:
        order, cut = rule[0].split(", ")
        for step, size in zip(steps, sizes, strict=True):
            assert step.buffer is not None
            assert step.buffer_after is not None
            samples = step.images[len(step.real) :]
            parts = [samples, step.buffer] if order == "samples first" else [step.buffer, samples]
            kept = np.concatenate(parts)
            kept = {"the tail": kept[:size], "the head": kept[-size:]}.get(
                cut.removesuffix(" dropped"), kept
            )
            if not np.array_equal(kept, step.buffer_after):
                break
        else:
            found.append(rule)
    return found


def _unlike(truth: Array | None, ours: Array | None) -> float:
    """Which part of a buffer's places holds another image."""
    assert truth is not None
    assert ours is not None
    n = min(len(truth), len(ours))
    wrong = int((np.abs(truth[:n] - ours[:n]) > BOUND).any(axis=(1, 2, 3)).sum())
    return (wrong + max(len(truth), len(ours)) - n) / max(len(truth), len(ours))


# The loss.


@dataclasses.dataclass(frozen=True)
class LossRule:
    """One way to write a contrastive divergence with a regulariser; the defaults are published."""

    split: str = "halves"  # of the scores: halves, or "counts", after the last real one
    sign: int = 1
    weight: str = "alpha"
    reduction: str = "mean of squares"
    accumulate: bool = False  # the gradient of the step before is added


WEIGHTS = {"alpha": None, "0": 0.0, "1": 1.0}
FACTORS = {"alpha / 2": 0.5, "2 alpha": 2.0, "10 alpha": 10.0, "alpha / 10": 0.1}
LOSS_OPTIONS: Mapping[str, Sequence[Any]] = {
    "split": ("halves", "counts"),
    "sign": (1, -1),
    "weight": (*WEIGHTS, *FACTORS),
    "reduction": (
        "mean of squares",
        "square of the mean",
        "sum of squares",
        "real only",
        "fake only",
    ),
    "accumulate": (False, True),
}
LOSS_FAULTS = {
    "split": "batch-split",
    "sign": "loss-sign",
    "weight": "loss-term",
    "reduction": "loss-reduction",
    "accumulate": "gradient-accumulated",
}
LOSS_PLACES = {
    "split": "the loss, real and fake scores",
    "sign": "contrastive divergence",
    "weight": "regulariser",
    "reduction": "regulariser",
    "accumulate": "train_step",
}


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss in its parts, and its gradient by the scores of the batch."""

    divergence: float
    squares: float
    weight: float
    cotangent: Array
    real_score: float
    fake_score: float

    def named(self) -> dict[str, float]:
        """By the names the published program gives them."""
        return {
            "loss": self.divergence + self.weight * self.squares,
            "contrastive_divergence": self.divergence,
            "regulariser": self.weight * self.squares,
            "real_score": self.real_score,
            "fake_score": self.fake_score,
        }


def loss_of(rule: LossRule, scores: Array, n_real: int, alpha: float) -> Loss:
    """The loss of scores (B,) of which the first ``n_real`` are of real images."""
    n = len(scores) // 2 if rule.split == "halves" else n_real
    real, fake = scores[:n], scores[n:]
    parts = np.concatenate([np.full(n, -1 / n), np.full(len(fake), 1 / max(len(fake), 1))])
    weight = WEIGHTS.get(rule.weight)
    weight = FACTORS.get(rule.weight, 1.0) * alpha if weight is None else weight
    means = np.concatenate([np.full(n, real.mean()), np.full(len(fake), fake.mean())])
    if rule.reduction == "square of the mean":
        squares = real.mean() ** 2 + fake.mean() ** 2
        slope = 2 * means * np.abs(parts)
    elif rule.reduction == "sum of squares":
        squares = (scores**2).sum()
        slope = 2 * scores
    else:
        kept = {"real only": (1, 0), "fake only": (0, 1)}.get(rule.reduction, (1, 1))
        squares = kept[0] * (real**2).mean() + kept[1] * (fake**2).mean()
        mask = np.concatenate([np.full(n, kept[0]), np.full(len(fake), kept[1])])
        slope = 2 * scores * np.abs(parts) * mask
    divergence = rule.sign * (fake.mean() - real.mean())
    cotangent = rule.sign * parts + weight * slope
    return Loss(
        float(divergence), float(squares), weight, cotangent, float(real.mean()), float(fake.mean())
    )


def _losses(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    truth = [[(r.probe, s) for s in r.steps] for r, _ in runs]
    ours = [[(p.probe, s) for s in p.steps] for _, p in runs]
    alpha = _alpha(truth)
    base = next((r for r in _near(LossRule(), 1) if _residual(r, truth, alpha) <= BOUND), None)
    if base is None:
        yield from _numbers("losses", [(a.losses, b.losses) for _, a, b in _steps(runs)])
        return
    if any(step.tracked for _, port in runs for step in port.steps):
        evidence = "the loss's images require gradients, so that it goes back through sampling"
        yield Cause("state-not-detached", "train_step", evidence=evidence)
    before = _residual(base, ours, alpha)
    if before <= BOUND:
        return
    for count in range(1, len(LOSS_OPTIONS) + 1):
        fitting = [r for r in _exactly(base, count) if _residual(r, ours, alpha) <= BOUND]
        if not fitting:
            continue
        rule = fitting[0]
        after = _residual(rule, ours, alpha)
        for name in LOSS_OPTIONS:
            value, expected = getattr(rule, name), getattr(base, name)
            if value == expected:
                continue
            others = [getattr(r, name) for r in fitting[1:] if getattr(r, name) != value]
            yield Cause(
                LOSS_FAULTS[name],
                LOSS_PLACES[name],
                before,
                after,
                f"{name} is {value}, the reference's {expected}; with this, the losses and "
                "gradients computed from the port's own images are the port's",
                "optimizer.zero_grad() before loss.backward()" if name == "accumulate" else "",
                f"{name} {others[0]}" if others else "",
            )
        return
    worst = _steps(runs)[0]
    yield Unexplained("losses", f"no known loss gives the port's: {_shown(worst[2].losses)}")


def _alpha(truth: Sequence[Sequence[tuple[TrainingProbe, Step]]]) -> float:
    """The regulariser's weight, which the reference's gradient shows."""
    probe, step = truth[0][0]
    if step.gradient is None:
        return 0.0
    features = probe.features(step.images)
    scores = features @ step.weights
    for split in ("halves", "counts"):
        plain = loss_of(LossRule(split, weight="0"), scores, len(step.real), 0.0).cotangent
        slope = loss_of(LossRule(split, weight="1"), scores, len(step.real), 0.0).cotangent - plain
        direction, rest = slope @ features, step.gradient - plain @ features
        alpha = float(rest @ direction / (direction @ direction))
        if _apart(alpha * direction, rest) <= 1e-6:
            return alpha
    return 0.0


def _residual(
    rule: LossRule, runs: Sequence[Sequence[tuple[TrainingProbe, Step]]], alpha: float
) -> float:
    """How far the rule is from what each step reported and gave its optimizer; relative."""
    worst = 0.0
    for run in runs:
        earlier: Array | float = 0.0
        for probe, step in run:
            features = probe.features(step.images)
            loss = loss_of(rule, features @ step.weights, len(step.real), alpha)
            gradient = loss.cotangent @ features + (earlier if rule.accumulate else 0.0)
            if step.gradient is None:
                return np.inf
            earlier = step.gradient
            if not step.tracked:
                worst = max(worst, _apart(gradient, step.gradient))
            mine = loss.named()
            size = max(abs(value) for value in mine.values())
            for name, value in step.losses.items():
                if name in mine:
                    worst = max(worst, abs(mine[name] - value) / size)
            if worst > 1:  # hopeless, and dear to go on with
                return worst
    return worst


def _exactly(base: LossRule, count: int) -> Iterator[LossRule]:
    for names in itertools.combinations(LOSS_OPTIONS, count):
        others = [[o for o in LOSS_OPTIONS[n] if o != getattr(base, n)] for n in names]
        for chosen in itertools.product(*others):
            yield dataclasses.replace(base, **dict(zip(names, chosen, strict=True)))


def _near(base: LossRule, most: int) -> Iterator[LossRule]:
    for count in range(most + 1):
        yield from _exactly(base, count)


# The optimizer.


def _moments(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """Decays of the averages of gradients and of their squares, from the port's own gradients."""
    for name, power in (("momentum", 1), ("velocity", 2)):
        for _, truth, ours in _steps(runs):
            expected, found = (_decay(step, name, power) for step in (truth, ours))
            if expected is None or expected[1] > BOUND:
                break
            if found is None:
                yield Unexplained("optimizer", f"it keeps no {name} that could be compared")
                break
            if abs(found[0] - expected[0]) <= 1e-9:
                continue
            simulated = _averaged(ours, name, power, expected[0])
            assert simulated is not None
            before = _apart(simulated, ours.after[name])
            if found[1] <= BOUND:
                yield Cause(
                    "optimizer-hyperparameter",
                    f"optimizer, its {name}",
                    before,
                    found[1],
                    f"its decay is {found[0]:.8g}, the reference's {expected[0]:.8g}",
                    f"betas: {expected[0]:.6g} for the {name}",
                )
            else:
                text = f"no decay of the port's own gradients gives it: {found[1]:.2g} is left"
                yield Unexplained(f"optimizer, its {name}", text)
            break


def _decay(step: Step, name: str, power: int) -> tuple[float, float] | None:
    """(beta, residual) of ``after = beta before + (1 - beta) gradient ** power``."""
    before = step.momentum if name == "momentum" else step.velocity
    if before is None or name not in step.after or step.gradient is None:
        return None
    direction = before - step.gradient**power
    size = float(direction @ direction)
    if size == 0:
        return None
    beta = float((step.after[name] - step.gradient**power) @ direction / size)
    simulated = _averaged(step, name, power, beta)
    assert simulated is not None
    return beta, _apart(simulated, step.after[name])


def _averaged(step: Step, name: str, power: int, beta: float) -> Array | None:
    before = step.momentum if name == "momentum" else step.velocity
    if before is None or step.gradient is None:
        return None
    return np.asarray(beta * before + (1 - beta) * step.gradient**power)


@dataclasses.dataclass(frozen=True)
class Adam:
    """An update from the moments after the step.

    ``place``: "keras" adds epsilon to sqrt(v), "torch" after the bias correction of v. ``rounded``:
    the bias correction uses betas that went through float32.
    """

    place: str = "keras"
    epsilon: float = 1e-7
    rounded: bool = True


ADAMS = tuple(
    Adam(place, epsilon, rounded)
    for epsilon in (1e-7, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-9, 1e-10, 1e-12, 0.0)
    for place in ("keras", "torch")
    for rounded in (True, False)
)


def _updates(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """The step from the port's own moments to its weights."""
    steps = _steps(runs)
    if any("velocity" not in truth.after for _, truth, _ in steps):
        pairs = [(a.after, b.after) for _, a, b in steps]
        yield from _numbers("optimizer", [(_largest(a), _largest(b)) for a, b in pairs])
        return
    base = _adam([truth for _, truth, _ in steps])
    if base is None:
        yield Unexplained("optimizer", "the reference's own update is none that is known")
        return
    if any("velocity" not in ours.after for _, _, ours in steps):
        return
    ours = [step for _, _, step in steps]
    before = _update_residual(base[0], base[1], ours)
    if before <= BOUND:
        return
    found = _adam(ours)
    if found is None:
        yield Unexplained("optimizer", "no known rule makes its update from its own moments")
        return
    after = _update_residual(found[0], found[1], ours)
    if found[0] != base[0]:
        words = {"keras": "added to sqrt(v)", "torch": "added to the corrected sqrt(v)"}
        yield Cause(
            "optimizer-epsilon",
            "optimizer",
            before,
            after,
            f"from the port's own moments, its update is Adam's with epsilon {found[0].epsilon:g} "
            f"{words[found[0].place]}, the reference's with {base[0].epsilon:g} "
            f"{words[base[0].place]}",
        )
    if abs(found[1] / base[1] - 1) > 1e-7:
        yield Cause(
            "optimizer-hyperparameter",
            "optimizer",
            before,
            after,
            f"its learning rate is {found[1]:.6g}, the reference's {base[1]:.6g}",
            f"lr={base[1]:.6g}",
        )


def _adam(steps: Sequence[Step]) -> tuple[Adam, float] | None:
    """The rule and learning rate that make every step's update."""
    for rule in ADAMS:
        rates = []
        for step in steps:
            direction = _direction(rule, step)
            update = step.after["weights"] - step.weights
            rates.append(float(update @ direction / (direction @ direction)))
        if _update_residual(rule, float(np.mean(rates)), steps) <= BOUND:
            return rule, float(np.mean(rates))
    return None


def _update_residual(rule: Adam, rate: float, steps: Sequence[Step]) -> float:
    """Of the updates, relative to the largest; rounding of the weights themselves is allowed."""
    worst = 0.0
    for step in steps:
        update = step.after["weights"] - step.weights
        rounding = 8 * np.finfo(np.float64).eps * np.abs(step.weights).max()
        difference = np.abs(rate * _direction(rule, step) - update).max() - rounding
        worst = max(worst, float(difference / max(np.abs(update).max(), 1e-300)))
    return worst


def _direction(rule: Adam, step: Step) -> Array:
    m, v = step.after["momentum"], step.after["velocity"]
    beta1, beta2 = 0.9, 0.999
    if found := _decay(step, "momentum", 1):
        beta1 = round(found[0], 9)
    if found := _decay(step, "velocity", 2):
        beta2 = round(found[0], 9)
    if rule.rounded:
        beta1, beta2 = float(np.float32(beta1)), float(np.float32(beta2))
    correction1, correction2 = 1 - beta1**step.t, np.sqrt(1 - beta2**step.t)
    if rule.place == "keras":
        return np.asarray(-correction2 / correction1 * m / (np.sqrt(v) + rule.epsilon))
    return np.asarray(-m / correction1 / (np.sqrt(v) / correction2 + rule.epsilon))


# Validation.


def _validation(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    where = "validate"
    for reference, port in runs:
        if not reference.validated or not port.validated:
            continue
        expected, found = reference.validated[-1], port.validated[-1]
        values = max((abs(v) for v in reference.validation.values()), default=1.0) or 1.0
        before = max(
            (abs(v - port.validation.get(n, np.inf)) for n, v in reference.validation.items()),
            default=0.0,
        )
        if len(expected) != len(found) or _apart(found, expected) > BOUND:
            rows = [
                n
                for n in range(min(len(expected), len(found)))
                if _apart(found[n], expected[n]) > BOUND
            ]
            n_real = len(reference.steps[0].real)
            kind = "real" if rows and rows[0] < n_real else "other"
            yield Cause(
                "validation-data",
                where,
                before / values,
                None,
                f"{len(rows)} of its {len(found)} images are not the reference's {len(expected)}, "
                f"the first of them number {rows[0] if rows else len(expected)}, a {kind} one",
            )
            return


def _numbers(
    where: str, pairs: Iterable[tuple[Mapping[str, float], Mapping[str, float]]]
) -> Iterator[Unexplained]:
    """Scalars that differ, where no rule is known to compute them by."""
    for truth, ours in pairs:
        size = max((abs(v) for v in truth.values()), default=1.0) or 1.0
        for name, value in truth.items():
            if abs(value - ours.get(name, np.inf)) > BOUND * size:
                text = f"{name} is {ours.get(name)}, the reference's {value:.12g}"
                yield Unexplained(where, f"{text}; nothing in the catalogue reproduces it")
                return


def _largest(state: Mapping[str, Array]) -> dict[str, float]:
    return {name: float(np.abs(array).max()) for name, array in state.items()}


def _shown(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.9g}" for name, value in values.items())


def _noise_factor(given: Array, ours: Array, truth: Array) -> float | None:
    """How many times the reference's noise was added, seen where no clip bound."""
    inside = np.abs(truth) < 1
    a, b = (ours - given)[inside], (truth - given)[inside]
    if not a.size or not np.any(b):
        return None
    factor = float(a @ b / (b @ b))
    return factor if _apart(factor * b, a) <= 1e-6 and np.any(a) else None


def _worst(ours: Array, truth: Array) -> str:
    if ours.shape != truth.shape:
        return f"they have shape {ours.shape}, the reference's {truth.shape}"
    difference = np.abs(ours - truth)
    index = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
    return (
        f"they differ most at {list(index)}: reference {truth[index]:.12g}, port "
        f"{ours[index]:.12g}; nothing in the catalogue reproduces them"
    )


def _apart(ours: Any, truth: Any) -> float:
    """The largest difference, relative to the largest element; infinite for other shapes."""
    ours, truth = np.asarray(ours), np.asarray(truth)
    if ours.shape != truth.shape:
        return float("inf")
    if not truth.size:
        return 0.0
    return float(np.abs(ours - truth).max() / max(np.abs(truth).max(), 1e-300))
