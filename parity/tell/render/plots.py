"""Charts as inline SVG: across in percent and up in pixels, so that one serves every width.

Each mark carries its values in words, as ``<title>`` and as its accessible name; the page's script
shows the same words beside it. What a mark stands for is told by its shape as well as its colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from parity.tell.render.numbers import short
from parity.verdict.comparison import FLOAT64_FLOORS, Verdict

HEIGHT, LOW_HEIGHT = 240, 160
"""Pixels, of a chart and of a small one."""

MOST_TICKS = 6
NARROW, NARROW_TRACK = 8.0, 24.0
"""Percent between labels of a chart, and of a track; closer ones would touch on a phone."""

SAME = 1e-3
"""Share of a number's size within which curves are drawn as one; a table has the difference."""

SHAPES = {
    "circle": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0",
    "small": "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0",
    "diamond": "M0-7L7 0L0 7L-7 0Z",
    "square": "M-5-5H5V5H-5Z",
    "triangle": "M0-6L6 5H-6Z",
    "cross": "M-5-5L5 5M5-5L-5 5",
}
SHAPE = {
    Verdict.IDENTICAL: "circle",
    Verdict.ROUNDING: "circle",
    Verdict.UNCHECKED: "square",
    Verdict.IMPRECISE: "triangle",
    Verdict.DIVERGENT: "diamond",
    Verdict.INVALID: "cross",
}


class LogAxis:
    """Positive numbers to percent of the axis; zero lies at its low end, infinity at its high."""

    def __init__(self, values: Iterable[float | None]) -> None:
        logs = [math.log10(v) for v in values if v is not None and v > 0 and math.isfinite(v)]
        self.low = math.floor(min(logs, default=0.0))
        self.high = max(math.ceil(max(logs, default=1.0)), self.low + 1)

    def percent(self, value: float | None) -> float:
        if value is None or math.isnan(value) or value == math.inf:
            return 100.0
        if value <= 0:
            return 0.0
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Percent and label of some powers of ten."""
        every = max(1, math.ceil((self.high - self.low) / (MOST_TICKS - 1)))
        powers = range(self.low, self.high + 1, every)
        return [(self.percent(10.0**power), short(10.0**power)) for power in powers]


class LinearAxis:
    """Numbers to percent of the axis, with a little room at both ends."""

    def __init__(self, values: Iterable[float | None]) -> None:
        found = [v for v in values if v is not None and math.isfinite(v)]
        low, high = min(found, default=0.0), max(found, default=1.0)
        least = SAME * max(abs(low), abs(high))
        room = max(0.08 * (high - low), least) or 1.0
        self.low, self.high = low - room, high + room

    def percent(self, value: float | None) -> float:
        if value is None or not math.isfinite(value):
            return 100.0
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough)
        first = math.ceil(self.low / step)
        values = [(first + i) * step for i in range(math.floor(self.high / step) - first + 1)]
        return [(self.percent(value), short(value, 6)) for value in values]


def track(value: float | None, axis: LogAxis, limit: float, verdict: Verdict, said: str) -> Markup:
    """One line of a dot chart, with what is allowed marked on it."""
    at = axis.percent(limit)
    name = SHAPE[Verdict.INVALID] if value is None else SHAPE[verdict]
    none = " none" if value is None else ""
    return Markup(
        '<svg class="track" width="100%" height="22" role="img" tabindex="-1" data-mark '
        'aria-label="{said}"><title>{said}</title>'
        '<rect class="hit" width="100%" height="22"/>'
        '<rect class="allowed" width="{at}%" height="22"/>'
        '<line class="rule" x1="0" x2="100%" y1="11" y2="11"/>'
        '<line class="limit" x1="{at}%" x2="{at}%" y1="0" y2="22"/>{mark}</svg>'
    ).format(
        said=said,
        at=at,
        mark=_shape(axis.percent(value), 11, name, f"v-{verdict}{none}"),
    )


def axis_labels(axis: LogAxis, limit: float) -> Markup:
    """The scale above a dot chart; the limit's own label is the one that is always there."""
    at = axis.percent(limit)
    ends = [(0.0, 10.0**axis.low), (100.0, 10.0**axis.high)]
    labels = [
        Markup('<text class="tick" x="{}%" y="12" text-anchor="{}">{}</text>').format(
            x, _anchor(x), short(value)
        )
        for x, value in ends
        if abs(x - at) > NARROW_TRACK
    ]
    return Markup(
        '<svg class="scale" width="100%" height="16" aria-hidden="true">{}'
        '<text class="tick allowed-label" x="{}%" y="12" text-anchor="{}">{}</text></svg>'
    ).format(Markup().join(labels), at, _anchor(at), short(limit))


class Chart:
    """A chart of steps: lines, areas and marks gathered, then written together."""

    def __init__(self, said: str, up: LogAxis | LinearAxis, height: int = HEIGHT) -> None:
        self.said, self.up, self.height = said, up, height
        self.areas: list[Markup] = []
        self.marks: list[Markup] = []

    def y(self, value: float | None) -> float:
        return round(self.height * (1 - self.up.percent(value) / 100), 1)

    def area_below(
        self, across: Sequence[float], values: Sequence[float | None], name: str
    ) -> None:
        points = self._points(across, values)
        if points:
            first, last = points[0][0], points[-1][0]
            inner = "L".join(f"{x} {y}" for x, y in points)
            self._path(f"M{first} {self.height}L{inner}L{last} {self.height}Z", name)

    def line(self, across: Sequence[float], values: Sequence[float | None], name: str) -> None:
        points = self._points(across, values)
        if len(points) > 1:
            self._path("M" + "L".join(f"{x} {y}" for x, y in points), name)

    def upright(self, x: float, name: str, label: str) -> None:
        self.marks.append(
            Markup(
                '<line class="{0}" x1="{1}%" x2="{1}%" y1="0" y2="{2}"/>'
                '<text class="tick" x="{1}%" dx="-6" y="12" text-anchor="end">{3}</text>'
            ).format(name, x, self.height, label)
        )

    def points(
        self,
        across: Sequence[float],
        values: Sequence[float | None],
        shape: str,
        name: str,
        said: Sequence[str],
    ) -> None:
        for x, value, words in zip(across, values, said, strict=True):
            drawn, named = shape, name
            if value is None or not math.isfinite(value):
                drawn, named = "cross", "missing"
            self.marks.append(
                Markup(
                    '<g class="mark" role="img" tabindex="-1" data-mark aria-label="{0}">'
                    "<title>{0}</title>{1}</g>"
                ).format(words, _shape(x, self.y(value), drawn, named, hit=True))
            )

    def _points(
        self, across: Sequence[float], values: Sequence[float | None]
    ) -> list[tuple[float, float]]:
        return [
            (x, self.y(value)) for x, value in zip(across, values, strict=True) if value is not None
        ]

    def _path(self, d: str, name: str) -> None:
        self.areas.append(Markup('<path class="{}" d="{}"/>').format(name, d))

    def svg(self, labels: Sequence[tuple[float, str]]) -> Markup:
        """Everything; ``labels`` of the steps below, as many as there is room for."""
        up = [
            Markup(
                '<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>'
                '<text class="tick" x="0" dx="-8" y="{0}" dy="4" text-anchor="end">{1}</text>'
            ).format(round(self.height * (1 - y / 100), 1), label)
            for y, label in self.up.ticks
        ]
        below = [
            Markup('<text class="tick" x="{}%" y="{}" text-anchor="middle">{}</text>').format(
                x, self.height + 20, label
            )
            for x, label in _thinned(labels)
        ]
        return Markup(
            '<svg class="chart" width="100%" height="{h}" role="group" aria-label="{said}">'
            '{up}<svg viewBox="0 0 100 {h}" width="100%" height="{h}" preserveAspectRatio="none" '
            'aria-hidden="true">{areas}</svg>{below}{marks}</svg>'
        ).format(
            h=self.height,
            said=self.said,
            up=Markup().join(up),
            areas=Markup().join(self.areas),
            below=Markup().join(below),
            marks=Markup().join(self.marks),
        )


def spread(places: Iterable[float]) -> dict[float, float]:
    """Percent across of steps counted from 1, closer together the later they are."""
    logs = {place: math.log2(max(place, 1.0)) for place in sorted(set(places))}
    low, high = min(logs.values(), default=0.0), max(logs.values(), default=0.0)
    if low == high:
        return dict.fromkeys(logs, 50.0)
    return {place: round(2 + 96 * (log - low) / (high - low), 2) for place, log in logs.items()}


def evenly(n: int) -> list[float]:
    """Percent across of n steps."""
    return [50.0] if n == 1 else [round(2 + 96 * i / (n - 1), 2) for i in range(n)]


def _thinned(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those that do not touch; the last is always among them."""
    kept = list(labels[-1:])
    for x, label in reversed(labels[:-1]):
        if kept[-1][0] - x >= NARROW:
            kept.append((x, label))
    return kept


def _anchor(x: float) -> str:
    return "start" if x < 5 else "end" if x > 95 else "middle"


def _shape(x: float, y: float, shape: str, name: str, *, hit: bool = False) -> Markup:
    """A shape of pixels at a place in percent."""
    area = Markup('<circle class="hit" r="12"/>') if hit else Markup()
    return Markup('<svg class="at" x="{}%" y="{}">{}<path class="{}" d="{}"/></svg>').format(
        x, y, area, f"shape {name}", SHAPES[shape]
    )


def bound(floor: float | None) -> float | None:
    """What a residual may be."""
    return None if floor is None else FLOAT64_FLOORS * floor
