"""Which joint rule for a segment reproduces what a port makes of it.

Every combination of activation, flattening, padding, stride, dilation, kernel and bias is first
looked at where it is cheap, at a few places of the output; what a rule pads *before* an axis moves
every place, and what it pads after follows from the output's size. Numbers of an activation are
solved for. What is left is computed in full, fewest departures from the reference's rule first.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from parity.explain.network.activations import (
    ACTIVATIONS,
    FAMILIES,
    TWICE,
    activation,
    of_family,
)
from parity.explain.network.rules import (
    FILLS,
    FLATTENED,
    Array,
    Layer,
    Segment,
    applied,
    compute,
    departures,
    kernel_of,
    kernels_of,
    padded,
)

MOST_DEPARTURES = 4
MOST_IN_FULL = 300  # rules with as many departures that are computed in full
PLACES = 4
MIXED = 3  # channels are looked at in this many mixtures


class Look(Protocol):
    """What rules make of a segment, apart from activation and bias, at M places.

    Attributes:
        rules: S of them, each with those that behave alike.
        target: (M,) the port's values.
        bias: (M,)
    """

    rules: list[tuple[Segment, ...]]
    target: Array
    bias: Array

    def of(self, x: Array) -> Array:
        """(S, M) of values behind an activation."""
        ...


def refit(layer: Layer, values: Array, ours: Array, bound: float) -> list[Segment]:
    """The rules with the fewest departures from the reference's that equal ``ours``."""
    if ours.ndim < 2 or ours.shape[-1] != kernel_of(layer.kernel, "as it is").shape[-1]:
        return []
    if not np.isfinite(ours).all():
        return []
    with np.errstate(all="ignore"):
        look: Look = (
            Rows(layer, values, ours) if layer.kind == "Dense" else Places(layer, values, ours)
        )
        if not look.rules:
            return []
        found = _best(_looked(look, layer, values, bound), layer, values, ours, bound)
        solved: list[Segment] = []
        if len(found) == 0 or len(departures(found[0], layer.own)) > 1:
            linear = _solved(look, layer, values, ours, bound)
            solved = _best(linear, layer, values, ours, bound)
            if not found and not solved:
                curved = _approached(look, layer, values, ours, bound)
                solved = _best(curved, layer, values, ours, bound)
        return min(
            [rules for rules in (found, solved) if rules],
            key=lambda rules: len(departures(rules[0], layer.own)),
            default=[],
        )


def _best(
    rules: Iterator[Segment], layer: Layer, values: Array, ours: Array, bound: float
) -> list[Segment]:
    by_count: dict[int, list[Segment]] = {}
    for rule in dict.fromkeys(rules):
        by_count.setdefault(len(departures(rule, layer.own)), []).append(rule)
    for count in range(MOST_DEPARTURES + 1):
        near = sorted(by_count.get(count, ()), key=_oddity)[:MOST_IN_FULL]
        on_one = [rule for rule in near if _fits(rule, layer, values[:1], ours[:1], bound)]
        if found := [rule for rule in on_one if _fits(rule, layer, values, ours, bound)]:
            return found
    return []


def _oddity(rule: Segment) -> tuple[bool, bool]:
    """What is written more often comes first: zeros, and as many before as after."""
    lopsided = not isinstance(rule.padding, str) and any(a != b for a, b in rule.padding)
    return rule.fill != "zeros", lopsided


def _fits(rule: Segment, layer: Layer, values: Array, ours: Array, bound: float) -> bool:
    y = compute(rule, layer, values)
    return y is not None and y.shape == ours.shape and bool(np.abs(ours - y).max() <= bound)


def _slack(look: Look, bound: float) -> float:
    """By how much what is looked at may differ where the whole agrees to the bound."""
    return 32 * bound + 1e-11 * float(np.abs(look.target).max())


def _biases(layer: Layer) -> list[bool]:
    return [True, False] if layer.bias is not None and np.any(layer.bias) else [True]


def _names(layer: Layer) -> list[str]:
    return list(dict.fromkeys([layer.own.activation, *ACTIVATIONS, layer.own.activation + TWICE]))


def _with(look: Look, which: Array, name: str, bias: bool) -> Iterator[Segment]:
    for index in np.flatnonzero(which):
        for rule in look.rules[index]:
            yield dataclasses.replace(rule, activation=name, bias=bias)


def _looked(look: Look, layer: Layer, values: Array, bound: float) -> Iterator[Segment]:
    """Rules with a plain activation that hold where they are looked at."""
    slack = _slack(look, bound)
    for name in _names(layer):
        y = look.of(activation(name)(values))
        for bias in _biases(layer):
            wrong = np.abs(y + bias * look.bias - look.target).max(axis=1)
            yield from _with(look, wrong <= slack, name, bias)


def _solved(
    look: Look, layer: Layer, values: Array, ours: Array, bound: float
) -> Iterator[Segment]:
    """Rules with an activation in whose number its values are linear."""
    slack = _slack(look, bound)
    for name, family in FAMILIES.items():
        if family.grid:
            continue
        base = look.of(family.of(values, 0.0))
        part = look.of(family.of(values, 1.0)) - base
        size = (part**2).sum(axis=1)
        for bias in _biases(layer):
            rest = look.target - bias * look.bias - base
            number = (rest * part).sum(axis=1) / np.where(size > 0, size, np.inf)
            wrong = np.abs(rest - number[:, np.newaxis] * part).max(axis=1)
            for rule in _with(look, wrong <= 1e3 * slack, "linear", bias):
                ends = [applied(rule, layer, family.of(values, n)) for n in (0.0, 1.0)]
                if ends[0] is None or ends[1] is None or ends[0].shape != ours.shape:
                    continue
                part_, rest_ = ends[1] - ends[0], ours - ends[0]
                if size_ := float(np.vdot(part_, part_)):
                    exact = float(np.vdot(part_, rest_)) / size_
                    yield from _shortest(name, exact, rule, layer, values, ours, bound)


def _approached(
    look: Look, layer: Layer, values: Array, ours: Array, bound: float
) -> Iterator[Segment]:
    """Rules with an activation whose number has to be approached, from the nearest of a grid."""
    for name, family in FAMILIES.items():
        if not family.grid:
            continue
        on_grid = np.stack([look.of(family.of(values, number)) for number in family.grid])
        near = []
        for bias in _biases(layer):
            wrong = np.abs(on_grid + bias * look.bias - look.target).max(axis=2)  # (grid, S)
            best = wrong.min(axis=0)
            for index in np.argsort(best)[:3]:
                near.append((best[index], int(index), bias, int(wrong[:, index].argmin())))
        for _, index, bias, start in sorted(near)[:3]:
            rule = dataclasses.replace(look.rules[index][0], bias=bias)
            number = _newton(name, family.grid[start], rule, layer, values[:1], ours[:1])
            if number is not None:
                for each in look.rules[index]:
                    each = dataclasses.replace(each, bias=bias)
                    yield from _shortest(name, number, each, layer, values, ours, bound)


def _newton(
    name: str, number: float, rule: Segment, layer: Layer, values: Array, ours: Array
) -> float | None:
    """The number with which the rule makes ``ours``, by Gauss and Newton; None if it gets lost."""
    of = FAMILIES[name].of
    first = last = np.inf
    for count in range(12):
        step = 1e-5 * number
        three = [
            applied(rule, layer, of(values, n)) for n in (number - step, number, number + step)
        ]
        if any(y is None or y.shape != ours.shape for y in three):
            return None
        low, mid, high = (np.asarray(y) for y in three)
        slope, rest = (high - low) / (2 * step), ours - mid
        size, wrong = float(np.vdot(slope, slope)), float(np.abs(rest).max())
        if wrong <= 1e-13 * (1 + float(np.abs(ours).max())):
            return number
        first = wrong if count == 0 else first
        if size == 0 or not wrong < 4 * last or (count == 3 and wrong > 0.01 * first):
            return None
        last = min(last, wrong)
        moved = number + float(np.vdot(slope, rest)) / size
        number = min(max(moved, number / 3), number * 3)
    return number


def _shortest(
    name: str, number: float, rule: Segment, layer: Layer, values: Array, ours: Array, bound: float
) -> Iterator[Segment]:
    """The rule with the number in as few digits as hold."""
    for digits in range(1, 18):
        short = float(f"{number:.{digits}g}")
        if abs(short - number) <= 1e-6 * abs(number):
            exact = dataclasses.replace(rule, activation=of_family(name, short))
            if _fits(exact, layer, values, ours, bound):
                yield exact
                return


class Rows:
    """A dense layer, looked at whole: that is cheap."""

    def __init__(self, layer: Layer, values: Array, ours: Array) -> None:
        orders = list(FLATTENED) if layer.own.flatten else [""]
        self.layer = layer
        self.rules: list[tuple[Segment, ...]] = []
        self.target = ours.ravel()
        bias = np.zeros(ours.shape[-1]) if layer.bias is None else layer.bias
        self.bias = np.broadcast_to(bias, ours.shape).ravel()
        for flatten, kernel in itertools.product(orders, kernels_of(layer)):
            rule = dataclasses.replace(layer.own, flatten=flatten, kernel=kernel, bias=False)
            y = applied(rule, layer, values)
            if y is not None and y.shape == ours.shape:
                self.rules.append((rule,))

    def of(self, x: Array) -> Array:
        made = [applied(rule, self.layer, x) for (rule,) in self.rules]
        return np.stack([np.asarray(y).ravel() for y in made])


@dataclasses.dataclass(frozen=True)
class _Axis:
    """Where a kernel lies along one axis: what is padded before, and after by what is told."""

    before: int
    after: tuple[int, ...]


class Places:
    """A convolution, looked at in a few places of a few images, and in mixtures of its channels."""

    def __init__(self, layer: Layer, values: Array, ours: Array) -> None:
        self.rules: list[tuple[Segment, ...]] = []
        self._groups: list[tuple[str, Array, Array, Array]] = []  # fill, rows, columns, kernels
        self.target = self.bias = np.zeros(0)
        if values.ndim != 4 or ours.ndim != 4:
            return
        channels = ours.shape[-1]
        rng = np.random.default_rng(0)
        mix = np.eye(channels) if channels <= MIXED else rng.normal(size=(channels, MIXED))
        height, width = ours.shape[1:3]
        spots = [(height // 2, width // 2), (0, 0), (height - 1, width - 1), (0, width - 1)]
        spots = (spots * PLACES)[:PLACES]
        self._images = [number % len(values) for number in range(PLACES)]
        self.target = np.concatenate(
            [ours[n, i, j] @ mix for n, (i, j) in zip(self._images, spots, strict=True)]
        )
        bias = np.zeros(channels) if layer.bias is None else layer.bias
        self.bias = np.tile(bias @ mix, PLACES)
        self._layer, self._size, self._spots = layer, values.shape[1:3], spots
        shapes: dict[tuple[int, ...], list[str]] = {}
        for how in kernels_of(layer):
            shapes.setdefault(kernel_of(layer.kernel, how).shape[:2], []).append(how)
        self._margin = max(
            _reach(k, d) for k in layer.kernel.shape[:2] for d in (1, *self._dilations_of(0))
        )
        for shape, ways in shapes.items():
            kernels = [kernel_of(layer.kernel, how) for how in ways]
            mixed = np.stack([k.reshape(-1, channels) @ mix for k in kernels])  # (V, kh kw C, m)
            for fill, strides, dilation in self._settings():
                self._add(shape, ways, mixed, fill, strides, dilation, ours.shape[1:3])

    def _dilations_of(self, axis: int) -> list[int]:
        return [n for pair in self._dilations() for n in pair]

    def _dilations(self) -> list[tuple[int, int]]:
        own = self._layer.own.dilation or (1, 1)
        return list(dict.fromkeys([(own[0], own[1]), (1, 1), (2, 2), (3, 3)]))

    def _settings(self) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
        own = (self._layer.own.strides[0], self._layer.own.strides[1])
        all_strides = dict.fromkeys([own, (1, 1), (2, 2), (3, 3), (4, 4), own[::-1]])
        dilations = self._dilations()
        for strides, dilation in itertools.product(all_strides, dilations):
            yield "zeros", strides, dilation
        for fill in FILLS:
            if fill != "zeros":
                yield fill, own, dilations[0]

    def _add(
        self,
        shape: tuple[int, ...],
        ways: Sequence[str],
        mixed: Array,
        fill: str,
        strides: tuple[int, int],
        dilation: tuple[int, int],
        out: Sequence[int],
    ) -> None:
        own = padded(
            dataclasses.replace(self._layer.own, strides=strides, dilation=dilation),
            self._size,
            shape,
        )
        axes = [
            list(
                _along(
                    self._size[n], shape[n], strides[n], dilation[n], out[n], sum(own[n]), own[n]
                )
            )
            for n in range(2)
        ]
        placed = list(itertools.product(*axes))
        rules = []
        keep = []
        for number, (top, left) in enumerate(placed):
            paddings = _paddings(top, left, own)
            if fill != "zeros":
                paddings = [p for p in paddings if any(map(any, p))]
            if paddings:
                keep.append(number)
                rules.append(paddings)
        if not keep:
            return
        placed = [placed[number] for number in keep]
        for how in ways:
            for paddings in rules:
                self.rules.append(
                    tuple(
                        self._rule(how, fill, strides, dilation, padding, own)
                        for padding in paddings
                    )
                )
        rows, columns = (
            np.array(
                [
                    [
                        spot[n] * strides[n] - place[n].before + dilation[n] * np.arange(shape[n])
                        for spot in self._spots
                    ]
                    for place in placed
                ]
            )
            for n in range(2)
        )  # (N, places, k)
        self._groups.append((fill, rows + self._margin, columns + self._margin, mixed))

    def _rule(
        self,
        how: str,
        fill: str,
        strides: tuple[int, int],
        dilation: tuple[int, int],
        padding: tuple[Any, ...],
        own: tuple[Any, ...],
    ) -> Segment:
        wanted = self._layer.own
        return dataclasses.replace(
            wanted,
            kernel=how,
            fill=fill,
            strides=strides,
            dilation=() if dilation == (1, 1) else dilation,
            padding=wanted.padding if padding == own and fill == wanted.fill else padding,
            bias=False,
        )

    def of(self, x: Array) -> Array:
        margin = ((0, 0), (self._margin,) * 2, (self._margin,) * 2, (0, 0))
        x = x[: max(self._images) + 1]
        images = {
            fill: np.pad(x, margin, mode=FILLS[fill])  # type: ignore[call-overload]
            for fill in dict.fromkeys(group[0] for group in self._groups)
        }
        which = np.array(self._images)[np.newaxis, :, np.newaxis, np.newaxis]
        parts = []
        for fill, rows, columns, mixed in self._groups:
            windows = images[fill][which, rows[..., np.newaxis], columns[..., np.newaxis, :]]
            flat = windows.reshape(*windows.shape[:2], -1)  # (N, places, kh kw C)
            y = np.matmul(flat.reshape(1, -1, flat.shape[-1]), mixed)  # (V, N places, m)
            parts.append(y.reshape(len(mixed) * len(flat), -1))
        return np.concatenate(parts)


def _reach(kernel: int, dilation: int) -> int:
    return max((kernel - 1) * dilation + 1, kernel)


def _along(
    size: int, kernel: int, stride: int, dilation: int, out: int, total: int, own: tuple[int, int]
) -> Iterator[_Axis]:
    """Every padding of up to the kernel's own length on either side that gives the size."""
    span = (kernel - 1) * dilation + 1
    most = max(span, *own)
    for before in range(most + 1):
        least = (out - 1) * stride + span - size - before
        after = [n for n in range(max(least, 0), least + stride) if n <= most]
        if after:
            yield _Axis(before, tuple(after))


def _paddings(top: _Axis, left: _Axis, own: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """((top, bottom), (left, right)) that behave alike: what is likely to be written, and others
    that have a name, as the mirror image of the reference's."""
    likely, mirrored = [], []
    for axis, (before, after) in zip((top, left), own, strict=True):
        if axis.before == before and after in axis.after:
            first = after
        else:
            first = axis.before if axis.before in axis.after else axis.after[0]
        likely.append((axis.before, first))
        mirror = axis.before == after and before in axis.after
        mirrored.append((axis.before, before if mirror else first))
    return list(dict.fromkeys([tuple(likely), tuple(mirrored)]))
