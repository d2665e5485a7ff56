"""Weights from Keras to torch and back lose nothing, and a wrong file is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity.ask.checkpoints import convert
from parity.ask.session import Session
from parity.draw.recipes import Recipe, WeightsRecipe, make_weights
from parity.errors import BadCall
from parity.values import archive


@pytest.fixture
def canonical(parity_session: Session, tmp_path: Path) -> Path:
    """Random weights of the published model: no two elements alike, no zero biases."""
    recipe = Recipe(WeightsRecipe(seed=5))
    weights = make_weights(parity_session, parity_session.facts(None), recipe)
    archive.save(tmp_path / "start.safetensors", weights, {})
    return tmp_path / "start.safetensors"


@pytest.mark.parametrize(
    "route",
    [
        ["a.weights.h5", "b.pt", "c.safetensors"],  # a trained Keras model goes to the port
        ["a.pt", "b.weights.h5", "c.safetensors"],  # the port's weights go back to Keras
        ["a.pt", "b.keras", "c.pt", "d.safetensors"],
    ],
)
def test_a_round_trip_loses_nothing(
    route: list[str], canonical: Path, parity_session: Session, tmp_path: Path
) -> None:
    source = canonical
    for name in route:
        convert(parity_session, source, tmp_path / name)
        source = tmp_path / name
    start, end = (archive.load(path)[0] for path in (canonical, source))
    assert start.keys() == end.keys()
    assert all(np.array_equal(start[name], end[name]) for name in start)
    assert not list(tmp_path.glob(".parity-*")), "a temporary folder is left"


def test_a_port_that_flattens_channels_first_round_trips_too(
    canonical: Path, parity_session: Session, tmp_path: Path
) -> None:
    """Declared, such a port is not wrong: the first dense kernel's rows are permuted for it."""
    port = tmp_path / "port.py"
    port.write_text(
        "import dataclasses, ebm.pair\n"
        "from port_torch.energy_model import ACTIVATIONS, EnergyModel\n"
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n"
        "        for n, layer in enumerate(self.settings.convolutions, 1):\n"
        "            x = ACTIVATIONS[layer.activation](self.get_submodule(f'conv{n}')(x))\n"
        "        x = x.flatten(1)\n"
        "        for n, layer in enumerate(self.settings.dense, 1):\n"
        "            x = ACTIVATIONS[layer.activation](self.get_submodule(f'dense{n}')(x))\n"
        "        return self.get_submodule('score')(x)\n"
        "side = dataclasses.replace(ebm.pair.port, model=Port, flatten='NCHW')\n"
    )
    with parity_session.with_port(str(port)) as session:
        convert(session, canonical, tmp_path / "a.pt")
        convert(session, tmp_path / "a.pt", tmp_path / "b.safetensors")
    start, end = (archive.load(path)[0] for path in (canonical, tmp_path / "b.safetensors"))
    assert all(np.array_equal(start[name], end[name]) for name in start)


def test_weights_that_do_not_fit_are_refused_and_nothing_is_written(
    canonical: Path, parity_session: Session, tmp_path: Path
) -> None:
    arrays, about = archive.load(canonical)
    del arrays["conv2/bias"]
    archive.save(tmp_path / "less.safetensors", arrays, about)
    with pytest.raises(BadCall, match="conv2/bias is missing"):
        convert(parity_session, tmp_path / "less.safetensors", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_files_are_told_apart_by_suffix(parity_session: Session, tmp_path: Path) -> None:
    with pytest.raises(BadCall, match=r"x\.onnx has no suffix of a weights file; known: "):
        convert(parity_session, tmp_path / "x.onnx", tmp_path / "y.pt")
    with pytest.raises(BadCall, match="does not exist"):
        convert(parity_session, tmp_path / "x.pt", tmp_path / "y.safetensors")
