"""What a sampler was served: streams come from a key, so what a draw log tells can be drawn again.

A rule is simulated on the port's own draws. A port that draws once too often, before its loop say,
sees other numbers at every step than the reference does, and may be right in all else.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from parity.explain.sampler.rules import Noise
from parity.values.cases import Case
from parity.values.randomness import Draw, SharedRandomness

FAMILIES = ("normal", "uniform")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Numbers for one batch of images, and how many evaluations came before they were drawn."""

    family: str
    shape: str
    position: int
    numbers: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """One way to tell which numbers a port used at which step.

    Attributes:
        family: normal or uniform.
        shape: for what a number of its own was drawn.
        noise: of each call of the probe.
        used: which batch of numbers each step has, counted from the first drawn; None for none.
    """

    family: str
    shape: str
    noise: tuple[Noise, ...]
    used: tuple[int | None, ...]

    @property
    def in_order(self) -> bool:
        """Whether nothing else was drawn of this kind before or between."""
        return all(number in (None, step) for step, number in enumerate(self.used))


def drawn_by(logs: Sequence[Sequence[Draw]], cases: Sequence[Case], steps: int) -> list[Drawn]:
    """Every way to tell, the likeliest first.

    Args:
        logs: of each call's longest run.
    """
    batches = [batches_of(log, case) for log, case in zip(logs, cases, strict=True)]
    kinds = dict.fromkeys((b.family, b.shape) for b in batches[0])
    found: dict[tuple[object, ...], Drawn] = {}
    for family, shape in kinds:
        own = [[b for b in each if (b.family, b.shape) == (family, shape)] for each in batches]
        choices = [[*_choices(each, steps)] for each in own]
        for used in choices[0]:
            if all(used in others for others in choices):
                noise = tuple(_noise(each, used) for each in own)
                found.setdefault((family, shape, used), Drawn(family, shape, noise, used))
    if found:
        return list(found.values())
    nothing = (None,) * steps
    return [Drawn("normal", "each element", (nothing,) * len(cases), nothing)]


def _choices(batches: Sequence[Batch], steps: int) -> Iterable[tuple[int | None, ...]]:
    """The last or the first of those drawn before each evaluation, or after it; or one by one."""
    for before in (0, 1):
        for pick in (-1, 0):
            at = [
                [n for n, b in enumerate(batches) if b.position == k + before] for k in range(steps)
            ]
            yield tuple(numbers[pick] if numbers else None for numbers in at)
    for first in (0, 1):
        one_by_one = range(first, first + steps)
        yield tuple(n if n < len(batches) else None for n in one_by_one)


def _noise(batches: Sequence[Batch], used: Sequence[int | None]) -> Noise:
    return tuple(None if n is None else batches[n].numbers for n in used)


def batches_of(log: Sequence[Draw], case: Case) -> list[Batch]:
    """The numbers that were served, cut into batches; draws of part of a batch are put together."""
    batch, *image = case.images.shape
    size = batch * math.prod(image)
    shapes: Mapping[int, tuple[str, tuple[int, ...]]] = {
        1: ("all", (1, 1, 1, 1)),
        math.prod(image): ("each element of one image", (1, *image)),
        batch: ("each image", (batch, 1, 1, 1)),
        size: ("each element", case.images.shape),
    }
    stream = SharedRandomness(case.key, "NHWC")
    found: list[Batch] = []
    own = [draw for draw in log if draw.family in FAMILIES and draw.served and draw.count]
    groups: dict[tuple[str, int], list[int]] = {}
    for draw in own:
        groups.setdefault((draw.family, draw.position), []).append(draw.count)
    for (family, position), counts in groups.items():
        if sum(counts) % size == 0:
            counts = [size] * (sum(counts) // size)
        for count in counts:
            serve = stream.normal if family == "normal" else stream.uniform
            numbers = serve((count,), "float64")
            if count in shapes:
                name, shape = shapes[count]
                found.append(Batch(family, name, position, numbers.reshape(shape)))
    return found


def differently(ours: Sequence[Draw], theirs: Sequence[Draw]) -> str:
    """How two logs of a call differ, in words; empty if they do not."""
    counts = [
        {
            at: sum(d.count for d in log if d.position == at and not _single(d))
            for at in {d.position for d in log}
        }
        for log in (ours, theirs)
    ]
    families = [dict.fromkeys(d.family for d in log if not _single(d)) for log in (ours, theirs)]
    if families[0] != families[1]:
        return f"it draws {_listed(families[0])}, the reference {_listed(families[1])}"
    for position in sorted({*counts[0], *counts[1]}):
        mine, other = (c.get(position, 0) for c in counts)
        if mine != other:
            when = (
                "before the network is first evaluated"
                if position == 0
                else f"after evaluation {position}"
            )
            return f"{when} it draws {mine} numbers, the reference {other}"
    return ""


def _single(draw: Draw) -> bool:
    return draw.scalar and draw.family == "integers"


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"{name} numbers" for name in names) or "nothing"
