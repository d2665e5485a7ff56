"""From grey levels to what the network sees."""

from __future__ import annotations

import numpy as np

from parity.checks.network import failed
from parity.comparison import Answer, compare
from parity.errors import PortFailed
from parity.floor import greatest
from parity.outcome import Outcome
from parity.repeated import refuse_different
from parity.session import Session
from parity.traces import PRECISIONS, Trace


def check_preprocessing(session: Session, images: np.ndarray) -> list[Outcome]:
    """``preprocess`` of uint8 images (B, H, W); grey levels cannot be moved by one ULP.

    The floor is the rounding unit of the largest element alone.
    """
    arguments = {"images": images.tobytes(), "shape": list(images.shape)}
    port_data = session.ask_port("preprocess", **arguments)
    answer = session.reference.ask("preprocess", **arguments, twice=True)
    found = Trace.from_bytes(answer, "the reference")
    refuse_different(found.notes, "preprocess")
    reference = found.reduced()
    if isinstance(port_data, PortFailed):
        return [failed("preprocessing", None, port_data)]
    port = Trace.from_bytes(port_data, "the port")
    truth = reference.arrays["float64"]["preprocessed"]
    floors = [float(np.finfo(precision).eps * greatest(truth)) for precision in PRECISIONS]
    error32 = float(reference.errors["preprocessed"])
    comparison = compare(
        "preprocessed",
        Answer(truth, floors[0], error32, floors[1]),
        port.array("float64", "preprocessed"),
        port.array("float32", "preprocessed"),
        same_bits=reference.same_bits(port, "preprocessed"),
    )
    return [Outcome("preprocessing", (comparison,), None)]


def all_grey_levels(size: int = 28) -> np.ndarray:
    """Two uint8 images of ``size`` x ``size`` that hold every grey level, in and out of order."""
    levels = np.resize(np.arange(256, dtype=np.uint8), size * size)
    return np.stack([levels, levels[::-1]]).reshape(2, size, size)
