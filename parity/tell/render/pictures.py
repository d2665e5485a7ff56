"""Gradient maps and sample strips: pictures of both sides and their difference, pixel by pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from markupsafe import Markup

from parity.tell.render.images import diverging, grey, packed, png
from parity.tell.render.numbers import short
from parity.tell.render.reading import Node
from parity.values.exhibits import DIFFERENCE_DIGITS, DIGITS
from parity.verdict.comparison import FLOAT64_FLOORS

MOST_IN_FULL = 1200
"""Numbers of a map; a larger one is listed by its largest differences."""

MOST_LISTED = 200
BUDGET = 70_000
"""Pixels in one page, which keeps it below 2 MB; what is left out is said."""


@dataclasses.dataclass(frozen=True)
class Channel:
    """One channel of an image: three pictures that are pointed at together.

    Attributes:
        number: which, from 0.
        reference, port, difference: pictures, as data URIs.
        low, high: the values at the ends of the scale of the two sides' pictures.
        limit: that of the difference's, on both sides of zero.
        packed: reference and difference for the page's script.
        height, width: in pixels, or in blocks of pixels.
    """

    number: int
    reference: str
    port: str
    difference: str
    low: float
    high: float
    limit: float
    packed: str
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image of both sides.

    Attributes:
        channels: one by one.
        block: pixels along the side of each block that is one pixel here.
        tables: every number, or the largest differences, with a caption each.
        after: how many steps were made, in a strip.
        finite: whether every number of both sides is.
    """

    channels: tuple[Channel, ...]
    block: int
    tables: tuple[Markup, ...]
    finite: bool
    after: int = 0

    @property
    def differs(self) -> bool:
        return any(channel.limit > 0 for channel in self.channels)


@dataclasses.dataclass(frozen=True)
class Gradient:
    """The gradient maps of the image on which the two sides differ most, in one case."""

    title: str
    image: int
    floors: float | None
    floor: float | None
    picture: Picture

    @property
    def within(self) -> bool:
        return self.floors is not None and self.floors <= FLOAT64_FLOORS


def gradients(evidence: Node) -> tuple[Gradient, ...]:
    return tuple(_gradient(node) for node in evidence.get("gradients").items())


@np.errstate(over="ignore", invalid="ignore")  # a wrong port's numbers may be of any size
def _gradient(node: Node) -> Gradient:
    reference, difference = _maps(node["maps"])
    limit = _largest(np.concatenate([reference, reference + difference]))
    floor, worst = node.get("floor").number(), _largest(difference)
    return Gradient(
        title=node["title"].text(),
        image=node.get("image").whole(0),
        floor=floor,
        floors=worst / floor if floor else (None if worst else 0.0),
        picture=_picture(node["maps"], reference, difference, -limit, limit, signed=True),
    )


@np.errstate(over="ignore", invalid="ignore")
def strip(trajectory: Node, budget: int) -> tuple[tuple[Picture, ...], int]:
    """The frames of a trajectory that there is room for, the last among them, and how many not."""
    nodes = trajectory.get("frames").items()
    maps = [_maps(node["maps"]) for node in nodes]
    if not maps:
        return (), 0
    for node, (reference, _) in zip(nodes, maps, strict=True):
        if reference.shape != maps[0][0].shape:
            node["maps"]["reference"].refuse(f"an image of the first's shape, {maps[0][0].shape}")
    n = max(2, min(len(maps), budget // max(reference.size for reference, _ in maps)))
    places = sorted({round(place) for place in np.linspace(0, len(maps) - 1, n)})
    values = np.concatenate([np.ravel([r, r + d]) for r, d in maps])
    values = values[np.isfinite(values)]
    low, high = float(values.min(initial=-1.0)), float(values.max(initial=1.0))
    pictures = (
        _picture(
            nodes[place]["maps"],
            maps[place][0],
            maps[place][1],
            low,
            high,
            signed=False,
            after=nodes[place]["after"].whole(),
        )
        for place in places
    )
    return tuple(pictures), len(maps) - len(places)


def pixels(picture: Picture) -> int:
    return sum(channel.height * channel.width for channel in picture.channels)


def _maps(maps: Node) -> tuple[np.ndarray, np.ndarray]:
    reference, difference = maps["reference"].image(), maps["difference"].image()
    if reference.shape != difference.shape:
        maps["difference"].refuse(f"an image of the shape of the reference's, {reference.shape}")
    return reference, difference


def _picture(
    maps: Node,
    reference: np.ndarray,
    difference: np.ndarray,
    low: float,
    high: float,
    *,
    signed: bool,
    after: int = 0,
) -> Picture:
    port = reference + difference
    limit = _largest(difference)
    channels = []
    for c in range(reference.shape[2]):
        sides = [
            png(diverging(side[..., c], high) if signed else grey(side[..., c], low, high))
            for side in (reference, port)
        ]
        channels.append(
            Channel(
                number=c,
                reference=sides[0],
                port=sides[1],
                difference=png(diverging(difference[..., c], limit)),
                low=low,
                high=high,
                limit=limit,
                packed=packed(reference[..., c], difference[..., c]),
                height=reference.shape[0],
                width=reference.shape[1],
            )
        )
    return Picture(
        tuple(channels),
        maps.get("block").whole(1),
        tuple(_tables(reference, difference)),
        bool(np.isfinite(port).all()),
        after,
    )


def _largest(array: np.ndarray) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _tables(reference: np.ndarray, difference: np.ndarray) -> Iterator[Markup]:
    if reference.size > MOST_IN_FULL:
        yield _largest_differences(reference, difference)
        return
    for c in range(reference.shape[2]):
        of = f", channel {c}" if reference.shape[2] > 1 else ""
        yield _grid(reference[..., c], f"Reference{of}", DIGITS)
        if difference[..., c].any():
            caption = f"Difference{of}; the port is the sum of the two"
            yield _grid(difference[..., c], caption, DIFFERENCE_DIGITS)
        else:
            yield Markup("<p>The port{} is the same in every pixel.</p>").format(of)


def _grid(values: np.ndarray, caption: str, digits: int) -> Markup:
    """Rows and columns as in the image. Nothing but numbers is in it."""
    columns = "".join(f'<th scope="col">{i}' for i in range(values.shape[1]))
    rows = "".join(
        f'<tr><th scope="row">{i}' + "".join(f"<td>{short(value, digits)}" for value in row)
        for i, row in enumerate(values.tolist())
    )
    return Markup(
        '<table class="grid"><caption>{}</caption>'
        '<thead><tr><th scope="col">row{}</thead><tbody>{}</tbody></table>'
    ).format(caption, Markup(columns), Markup(rows))


def _largest_differences(reference: np.ndarray, difference: np.ndarray) -> Markup:
    size = np.nan_to_num(np.abs(difference), nan=np.inf).ravel()
    order = [int(i) for i in np.argsort(-size, kind="stable")[:MOST_LISTED] if size[i] > 0]
    if not order:
        return Markup("<p>The port is the same in each of {} numbers.</p>").format(size.size)
    rows = []
    for place in order:
        row, column, channel = np.unravel_index(place, reference.shape)
        truth, apart = float(reference.ravel()[place]), float(difference.ravel()[place])
        cells = (short(truth, DIGITS), short(truth + apart, DIGITS), short(apart))
        rows.append(
            f'<tr><th scope="row">{row}, {column}, {channel}'
            + "".join(f"<td>{cell}" for cell in cells)
        )
    return Markup(
        "<table><caption>The {} largest of {} differences</caption>"
        '<thead><tr><th scope="col">row, column, channel<th scope="col">reference'
        '<th scope="col">port<th scope="col">difference</thead><tbody>{}</tbody></table>'
    ).format(len(rows), size.size, Markup("".join(rows)))
