"""Charts of a report's evidence: arrays against the floor, trajectories, training curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

from parity.tell.render import plots
from parity.tell.render.numbers import short
from parity.tell.render.pictures import BUDGET, Gradient, Picture, pixels, strip
from parity.tell.render.reading import Node
from parity.verdict.comparison import FLOAT64_FLOORS, SINGLE_RATIO, Verdict


@dataclasses.dataclass(frozen=True)
class ArrayRow:
    """One array of one check, at its worst over all cases and steps."""

    name: str
    verdict: Verdict
    compared: int
    residual: float | None
    floor: float | None
    floors: float | None
    error_ratio: float | None
    problem: str
    float64: Markup | None = None
    float32: Markup | None = None


@dataclasses.dataclass(frozen=True)
class ArrayGroup:
    """The arrays of one check, in order of computation, with their charts' scales."""

    check: str
    rows: tuple[ArrayRow, ...]
    scale64: Markup
    scale32: Markup

    @property
    def verdict(self) -> Verdict:
        return Verdict.worst(r.verdict for r in self.rows if r.verdict is not Verdict.UNCHECKED)

    @property
    def size(self) -> int:
        return len(self.rows)

    @property
    def worst(self) -> ArrayRow:
        return max(self.rows, key=lambda row: (row.verdict.green is False, row.floors or 0.0))


def arrays(evidence: Node) -> tuple[ArrayGroup, ...]:
    found: dict[str, list[ArrayRow]] = {}
    for node in evidence.get("arrays").items():
        row = ArrayRow(
            name=node["array"].text(),
            verdict=node["verdict"].verdict(),
            compared=node.get("compared").whole(0),
            residual=node.get("residual").number(),
            floor=node.get("floor").number(),
            floors=node.get("floors").number(),
            error_ratio=node.get("error_ratio").number(),
            problem=node.get("problem").text(""),
        )
        found.setdefault(node["check"].text(), []).append(row)
    rows = [row for group in found.values() for row in group]
    axis64 = plots.LogAxis([0.1, 1e4, *(max(row.floors or 0, 0.01) for row in rows)])
    axis32 = plots.LogAxis([0.1, 1e3, *(max(row.error_ratio or 0, 0.01) for row in rows)])
    return tuple(
        ArrayGroup(
            check,
            tuple(_drawn(row, check, axis64, axis32) for row in group),
            plots.axis_labels(axis64, FLOAT64_FLOORS),
            plots.axis_labels(axis32, SINGLE_RATIO),
        )
        for check, group in found.items()
    )


def _drawn(row: ArrayRow, check: str, axis64: plots.LogAxis, axis32: plots.LogAxis) -> ArrayRow:
    name = row.name.removeprefix(f"{check}/")
    of64 = "no finite number" if row.floors is None else f"{short(row.floors)} noise floors"
    said64 = f"{name}: {row.verdict}, residual {of64}, {FLOAT64_FLOORS:g} allowed"
    agrees = Verdict.ROUNDING if row.verdict is Verdict.IMPRECISE else row.verdict
    float64 = plots.track(row.floors, axis64, FLOAT64_FLOORS, agrees, said64)
    float32 = None
    if row.error_ratio is not None:
        wrong = row.error_ratio > SINGLE_RATIO
        said32 = f"{name}: float32 error ratio {short(row.error_ratio)}, {SINGLE_RATIO:g} allowed"
        seen = row.verdict if wrong or row.verdict.green else Verdict.ROUNDING
        float32 = plots.track(row.error_ratio, axis32, SINGLE_RATIO, seen, said32)
    return dataclasses.replace(row, name=name, float64=float64, float32=float32)


@dataclasses.dataclass(frozen=True)
class Series:
    """A trajectory's residuals by step, run in one of the two ways.

    ``places`` counts how many steps were made; ``horizon`` is None for teacher-forced steps, each
    of which counts.
    """

    places: tuple[int, ...]
    residuals: tuple[float | None, ...]
    floors: tuple[float | None, ...]
    horizon: int | None

    @property
    def bounds(self) -> list[float | None]:
        return [plots.bound(floor) for floor in self.floors]

    def rows(self) -> list[tuple[int, float | None, float | None, float | None, str]]:
        """Steps made, residual, floor, bound, and what that comes to in words."""
        return [
            (place, residual, floor, bound, self._judged(place, residual, bound))
            for place, residual, floor, bound in zip(
                self.places, self.residuals, self.floors, self.bounds, strict=True
            )
        ]

    def _judged(self, place: int, residual: float | None, bound: float | None) -> str:
        if self.horizon is not None and place > self.horizon:
            return "beyond the horizon"
        if residual is None or bound is None:
            return "not finite"
        return "inside" if residual <= bound else "outside"

    def said(self, kind: str) -> list[str]:
        return [
            f"step {place}, {kind}: residual {short(residual)}, {short(bound)} allowed, "
            f"floor {short(floor)}: {judged}"
            for place, residual, floor, bound, judged in self.rows()
        ]


@dataclasses.dataclass(frozen=True)
class TrajectoryView:
    title: str
    free: Series
    forced: Series | None
    chart: Markup
    image: int
    frames: tuple[Picture, ...]
    left_out: int


def trajectories(evidence: Node, gradients: Sequence[Gradient]) -> tuple[TrajectoryView, ...]:
    """What pictures the gradients leave room for is shared evenly."""
    nodes = evidence.get("trajectories").items()
    room = BUDGET - sum(pixels(gradient.picture) for gradient in gradients)
    return tuple(_trajectory(node, room // len(nodes)) for node in nodes)


def _trajectory(node: Node, room: int) -> TrajectoryView:
    free = _series(node["free_running"])
    forced = node.get("teacher_forced")
    teacher = _series(forced) if forced else None
    frames, left_out = strip(node["free_running"], room)
    return TrajectoryView(
        title=node["title"].text(),
        free=free,
        forced=teacher,
        chart=_trajectory_chart(node["title"].text(), free, teacher),
        image=node["free_running"].get("image").whole(0),
        frames=frames,
        left_out=left_out,
    )


def _series(node: Node) -> Series:
    steps = [step.whole() for step in node["steps"].items()]
    residuals, floors = node["residuals"].numbers(), node["floors"].numbers()
    for name, values in (("residuals", residuals), ("floors", floors)):
        if len(values) != len(steps):
            node[name].refuse(f"one number for each of {len(steps)} steps")
    horizon = node.get("horizon")
    return Series(
        tuple(step + 1 for step in steps),
        tuple(residuals),
        tuple(floors),
        None if horizon.value is None else horizon.whole(),
    )


def _trajectory_chart(title: str, free: Series, forced: Series | None) -> Markup:
    runs = [free] if forced is None else [free, forced]
    across = plots.spread(place for run in runs for place in run.places)
    up = plots.LogAxis(v for run in runs for v in (*run.residuals, *run.floors, *run.bounds))
    chart = plots.Chart(f"Residual by step, logarithmic: {title}", up)
    x = [across[place] for place in free.places]
    chart.area_below(x, free.bounds, "envelope")
    chart.line(x, free.bounds, "bound")
    chart.line(x, free.floors, "floor")
    last = max(free.places, default=0)
    if free.horizon is not None and free.horizon < last:
        inside = max((across[p] for p in free.places if p <= free.horizon), default=0.0)
        beyond = min(across[p] for p in free.places if p > free.horizon)
        chart.upright((inside + beyond) / 2, "horizon", "horizon")
    if forced is not None:
        at = [across[place] for place in forced.places]
        chart.line(at, forced.bounds, "bound forced")
        chart.line(at, forced.residuals, "line forced")
        chart.points(at, forced.residuals, "square", "forced", forced.said("teacher-forced"))
    chart.line(x, free.residuals, "line free")
    chart.points(x, free.residuals, "circle", "free", free.said("free-running"))
    return chart.svg([(at, str(place)) for place, at in zip(free.places, x, strict=True)])


@dataclasses.dataclass(frozen=True)
class Curve:
    """What each training step returned under one name."""

    name: str
    reference: tuple[float | None, ...]
    port: tuple[float | None, ...]
    chart: Markup

    def rows(self) -> list[tuple[int, float | None, float | None, float | None]]:
        n = max(len(self.reference), len(self.port))
        sides = [(*side, *[None] * (n - len(side))) for side in (self.reference, self.port)]
        return [
            (i + 1, r, p, None if r is None or p is None else p - r)
            for i, (r, p) in enumerate(zip(*sides, strict=True))
        ]


@dataclasses.dataclass(frozen=True)
class Training:
    title: str
    curves: tuple[Curve, ...]


def training(evidence: Node) -> tuple[Training, ...]:
    return tuple(
        Training(
            node["title"].text(),
            tuple(_curve(name, curve) for name, curve in node["curves"].entries()),
        )
        for node in evidence.get("training").items()
    )


def _curve(name: str, node: Node) -> Curve:
    reference, port = node["reference"].numbers(), node["port"].numbers()
    chart = plots.Chart(
        f"{name} by training step", plots.LinearAxis([*reference, *port]), plots.LOW_HEIGHT
    )
    across = plots.evenly(max(len(reference), len(port)))
    for side, values, shape in (("reference", reference, "circle"), ("port", port, "small")):
        x = across[: len(values)]
        said = [f"step {i}, {side}: {name} {short(v, 17)}" for i, v in enumerate(values, start=1)]
        chart.line(x, values, f"line {side}")
        chart.points(x, values, shape, side, said)
    labels = [(x, str(i)) for i, x in enumerate(across, start=1)]
    return Curve(name, tuple(reference), tuple(port), chart.svg(labels))
