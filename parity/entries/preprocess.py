"""From grey levels to what the network sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parity.ask.session import Session
from parity.declare import refusals
from parity.draw.plan import Plan
from parity.entries.compared import failed
from parity.entries.property import Entry, Property
from parity.errors import PortFailed
from parity.side.repeated import refuse_different
from parity.values.randomness import generator
from parity.values.traces import PRECISIONS, Trace
from parity.verdict.comparison import Answer, compare
from parity.verdict.floor import greatest
from parity.verdict.outcome import Outcome

GREY = "preprocessed"
"""What is compared of images without channels; of others their shape is said, too."""


def check_preprocessing(session: Session, images: np.ndarray) -> list[Outcome]:
    """``preprocess`` of uint8 images (B, H, W) or (B, H, W, C), which the reference takes.

    Grey levels cannot be moved by one ULP: the floor is the rounding unit of the largest element
    alone. With channels, nothing is compared that is not one image with as many for each.
    """
    arguments = _arguments(images)
    port_data = session.ask_port("preprocess", **arguments)
    answer = session.reference.ask("preprocess", **arguments, twice=True)
    found = Trace.from_bytes(answer, "the reference")
    refuse_different(found.notes, "preprocess")
    reference = found.reduced()
    truth = reference.arrays["float64"]["preprocessed"]
    if images.ndim == 4 and (truth.ndim, *truth.shape[::3]) != (4, *images.shape[::3]):
        return []
    if isinstance(port_data, PortFailed):
        return [failed("preprocessing", None, port_data)] if _held(session, images) else []
    port = Trace.from_bytes(port_data, "the port")
    ours = port.array("float64", "preprocessed")
    if not truth.size and ours is not None and ours.shape == truth.shape:
        return []  # nothing more to compare
    floors = [float(np.finfo(precision).eps * greatest(truth)) for precision in PRECISIONS]
    error32 = float(reference.errors["preprocessed"])
    comparison = compare(
        GREY if images.ndim == 3 else f"{GREY} {images.shape}",
        Answer(truth, floors[0], error32, floors[1]),
        ours,
        port.array("float32", "preprocessed"),
        same_bits=reference.same_bits(port, "preprocessed"),
    )
    return [Outcome("preprocessing", (comparison,), None)]


def _arguments(images: np.ndarray) -> dict[str, Any]:
    return {"images": images.tobytes(), "shape": list(images.shape)}


def _held(session: Session, images: np.ndarray) -> bool:
    """Whether a port that raises is at fault: no images, and channels that the model has not, are
    for those who claim to refuse alike."""
    *_, channels = session.facts(None).image_shape
    usual = len(images) > 0 and (images.ndim == 3 or images.shape[-1] == channels)
    return usual or session.claims("refusals", "preprocess")


def stimuli(session: Session) -> list[np.ndarray]:
    """Every grey level; images with the model's channels and with 2; one image, and none.

    Those that the reference takes; if it takes none, the first, of which it says why.
    """
    *_, channels = session.facts(None).image_shape
    rng = generator(0, "preprocess")
    shapes = [*((2, 9, 7, n) for n in dict.fromkeys((channels, 2))), (1, 9, 7), (0, 9, 7)]
    some = [all_grey_levels(), *(rng.integers(0, 256, shape, np.uint8) for shape in shapes)]
    return [images for images in some if _takes(session, images)] or some[:1]


def _takes(session: Session, images: np.ndarray) -> bool:
    calls = [list(refusals.PLAIN)]
    arguments = _arguments(images)
    answers = session.reference.ask("refusals", entry="preprocess", calls=calls, **arguments)
    return bool(answers[0] is None)


def all_grey_levels(size: int = 28) -> np.ndarray:
    """Two uint8 images of ``size`` x ``size`` that hold every grey level, in and out of order."""
    levels = np.resize(np.arange(256, dtype=np.uint8), size * size)
    return np.stack([levels, levels[::-1]]).reshape(2, size, size)


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Over images of every grey level, of any size and of real ones; no plan has them."""

    def preprocessings() -> Iterator[list[Outcome]]:
        for images in stimuli(session):
            yield check_preprocessing(session, images)

    yield Property("preprocessing", "preprocessing", CHECKS, ("preprocess",), preprocessings, 5)


CHECKS = ("preprocessing",)
ENTRY = Entry(CHECKS, properties)
