"""The replay buffer: its first images, where chains start, and what it keeps after a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from parity.explain.causes import Cause, Unexplained
from parity.explain.training.numbers import BOUND, SAME_IMAGE, Array, apart, worst
from parity.explain.training.runs import Run, Step


def initial_buffer(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """How many images a buffer starts with, and their range."""
    where, part = "replay buffer, its first images", "replay_buffer/images"
    for reference, port in runs:
        truth, ours = reference.initial_buffer, port.initial_buffer
        if truth is None or ours is None:
            continue
        wrong = truth.shape != ours.shape
        if wrong:
            text = f"it starts with {len(ours)} images, the reference's with {len(truth)}"
            yield Cause("buffer-size", where, evidence=text, part=part)
            # Both are drawn image by image, so that the first ones can still be compared.
            n = min(len(truth), len(ours)) if truth.shape[1:] == ours.shape[1:] else 0
            truth, ours = truth[:n], ours[:n]
        before = apart(ours, truth)
        if before > BOUND and len(truth):
            slope, offset = np.polyfit(truth.ravel(), ours.ravel(), 1)
            after = apart(slope * truth + offset, ours)
            low, high = (float(slope * end + offset) for end in (-1, 1))
            text = f"they are uniform on [{low:.4g}, {high:.4g}], the reference's on [-1, 1]"
            if after <= BOUND:
                yield Cause("initial-range", where, before, after, text, part=part)
            else:
                yield Unexplained(where, worst(ours, truth), part)
        if wrong or before > BOUND:
            return


def starts(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """Which images the chains of a step start from: new ones, or which of the buffer's."""
    where, part = "replay buffer, where chains start", "replay_buffer/starts"
    resized = False
    for reference, port in runs:
        truth, ours = reference.steps[0], port.steps[0]
        if not truth.sampled or not ours.sampled or truth.buffer is None or ours.buffer is None:
            continue
        if not len(truth.buffer) or not len(ours.buffer):
            continue
        expected = _sources(truth.sampled[0], truth.buffer)
        if len(truth.sampled[0]) != len(ours.sampled[0]):
            found = _sources(ours.sampled[0], ours.buffer)
            text = f"a step samples {len(found)} images, the reference's {len(expected)}"
            if not resized:
                yield Cause("batch-size", where, evidence=text, part=part)
            resized = True
            if {_new_ones(expected), _new_ones(found)} == {"first", "last"}:
                text = f"new images come {_new_ones(found)}, the reference's {_new_ones(expected)}"
                yield Cause(
                    "buffer-order", where, 1.0, 0.0, text, "torch.cat([new, old])", part=part
                )
                return
            continue
        if resized:
            continue
        found = _sources(ours.sampled[0], ours.buffer, expected)
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
                part=part,
            )
        else:
            text = f"from {found}, the reference's from {expected} (-1 is new)"
            yield Unexplained(where, text, part)
        return


def _new_ones(sources: Sequence[int]) -> str:
    """Whether new images come "first" or "last", or neither can be said."""
    new = [source == -1 for source in sources]
    if all(new) or not any(new):
        return ""
    return {(True, False): "first", (False, True): "last"}.get((new[0], new[-1]), "")


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


@dataclasses.dataclass(frozen=True)
class Kept:
    """One way for a buffer to take up samples; the defaults are published.

    ``order`` is of what a step sampled among what was there before, ``dropped`` the end that is cut
    off where there is too much.
    """

    order: str = "samples first"
    dropped: str = "the tail"


RULES = tuple(
    Kept(order, dropped)
    for order in ("samples first", "samples last")
    for dropped in ("the tail", "the head")
)


def kept(runs: Sequence[tuple[Run, Run]]) -> Iterator[Cause | Unexplained]:
    """What is in the buffer after a step, from the step's own samples and its buffer before."""
    where, part = "replay buffer, after a step", "replay_buffer/kept"
    pairs = [
        (truth, ours)
        for reference, port in runs
        for truth, ours in zip(reference.steps, port.steps, strict=True)
    ]
    if any(s.buffer is None or s.buffer_after is None for pair in pairs for s in pair):
        return
    base = [rule for rule in RULES if all(_follows(rule, truth) for truth, _ in pairs)]
    found = [rule for rule in RULES if all(_follows(rule, ours) for _, ours in pairs)]
    wrong = max(_unlike(truth, ours) for truth, ours in pairs)
    if not base:
        text = "the reference's own buffer follows none of the known rules"
        yield Unexplained(where, text, part)
        return
    if not found:
        text = "no known order or cut of its own samples and images gives what it holds"
        yield Unexplained(where, text, part)
        return
    if not set(base) & set(found):
        own, rule = min(
            ((b, f) for b in base for f in found),
            key=lambda pair: (
                (pair[0].order != pair[1].order) + (pair[0].dropped != pair[1].dropped)
            ),
        )
        text = (
            f"it keeps {rule.order} and drops {rule.dropped}; the reference keeps {own.order} and "
            f"drops {own.dropped}"
        )
        if rule.order != own.order:
            yield Cause("buffer-order", where, wrong, 0.0, text, part=part)
        if rule.dropped != own.dropped:
            yield Cause("buffer-size", where, wrong, 0.0, text, part=part)
            return
    for truth, ours in pairs:
        (had, size), (has, length) = _sizes(truth), _sizes(ours)
        full = size < had  # so the reference's capacity is known
        if length != (min(has, size) if full else has):
            text = f"it keeps {length} of {has} images after a step, the reference {size} of {had}"
            yield Cause("buffer-size", where, wrong, 0.0, text, part=part)
            return


def _sizes(step: Step) -> tuple[int, int]:
    """How many images there were to keep, and how many are kept."""
    assert step.buffer is not None
    assert step.buffer_after is not None
    return len(step.fake) + len(step.buffer), len(step.buffer_after)


def _follows(rule: Kept, step: Step) -> bool:
    """Whether the rule gives the step's buffer to the bit, at the size it has."""
    assert step.buffer is not None
    assert step.buffer_after is not None
    parts = [step.fake, step.buffer]
    images = np.concatenate(parts if rule.order == "samples first" else parts[::-1])
    size = len(step.buffer_after)
    images = images[:size] if rule.dropped == "the tail" else images[len(images) - size :]
    return np.array_equal(images, step.buffer_after)


def _unlike(truth: Step, ours: Step) -> float:
    """Which part of a buffer's places holds another image."""
    a, b = truth.buffer_after, ours.buffer_after
    assert a is not None
    assert b is not None
    n = min(len(a), len(b))
    wrong = int((np.abs(a[:n] - b[:n]) > BOUND).any(axis=(1, 2, 3)).sum())
    return (wrong + max(len(a), len(b)) - n) / max(len(a), len(b), 1)
