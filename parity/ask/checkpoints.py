"""Weights from one kind of file to another: Keras's, torch's, or canonical safetensors.

``parity convert trained.weights.h5 port.pt`` is what a person does first after writing a port. Each
framework's files are read and written in that framework's own process; what passes between is
canonical.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from parity.ask.session import Session
from parity.correspond.weights import check_weights
from parity.errors import BadCall
from parity.values import archive

KERAS = (".weights.h5", ".h5", ".keras")
TORCH = (".pt", ".pth")
CANONICAL = (".safetensors",)


def kind_of(path: Path) -> str:
    """ "keras", "torch" or "canonical", by the file's suffix.

    Raises:
        BadCall: none of them; lists those there are.
    """
    for kind, suffixes in (("keras", KERAS), ("torch", TORCH), ("canonical", CANONICAL)):
        if path.name.endswith(suffixes):
            return kind
    known = ", ".join((*KERAS, *TORCH, *CANONICAL))
    raise BadCall(f"{path} has no suffix of a weights file; known: {known}")


def refuse_missing(source: Path) -> None:
    """Refuse a file that is not there.

    Raises:
        BadCall: names it.
    """
    if not source.is_file():
        raise BadCall(f"{source} does not exist")


def convert(session: Session, source: Path, target: Path) -> None:
    """Read ``source``, write ``target``; the target appears whole or not at all.

    Raises:
        BadCall: a suffix is unknown, the source is missing, or its weights are not the model's;
            names of missing, extra and misshapen weights are listed.
    """
    kind, target_kind = kind_of(source), kind_of(target)
    refuse_missing(source)
    facts = session.facts(None)
    shapes = dict(zip(facts.names, facts.shapes, strict=True))
    plain_shapes = {name: list(shape) for name, shape in shapes.items()}
    feature_maps = {name: list(shape) for name, shape in facts.feature_maps.items()}
    if kind == "canonical":
        weights, about = archive.load(source)
    else:
        worker = session.reference if kind == "keras" else session.port
        assert worker is not None
        data = worker.ask(
            "read_weights", path=str(source), shapes=plain_shapes, feature_maps=feature_maps
        )
        weights, about = archive.from_bytes(data, str(source))
    check_weights({name: array.shape for name, array in weights.items()}, shapes, str(source))
    if target_kind == "canonical":
        archive.save(target, weights, about)
        return
    worker = session.reference if target_kind == "keras" else session.port
    assert worker is not None
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".parity-") as folder:
        written = Path(folder) / target.name
        worker.ask(
            "write_weights",
            path=str(written),
            weights=archive.to_bytes(weights, {}),
            names=list(facts.names),
            feature_maps=feature_maps,
        )
        os.replace(written, target)
