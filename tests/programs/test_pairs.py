"""Keras models and ports as people write them, compared without a declaration.

Every correct port is green, every faulty one red. The whole of it is run by
``PARITY_PAIRS=all``; without that, a few that differ most.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from parity.entries.programs.pair import ProgramPair
from tests.programs.conftest import PAIRS, Open

ALL = os.environ.get("PARITY_PAIRS") == "all"
FEW = ("facenet_residual", "highway_tf_module", "mlp_activations")

INPUTS = {
    "highway_tf_module": ("x=6:float:-2..2",),
    "preprocess_dict_io": ("image=10,9,3:float:0..255",),
}
"""What a person has to say: a ``tf.Module`` knows no inputs, nor a model its images' range."""

NAMES = sorted(path.stem for path in PAIRS.glob("*.py"))
CHOSEN = [name for name in NAMES if (ALL or name in FEW) and name != "train_vae"]


def pair(name: str) -> ModuleType:
    """The module of one of the twelve; no framework is imported."""
    spec = importlib.util.spec_from_file_location(name, PAIRS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAULTS = [(name, fault) for name in CHOSEN for fault in pair(name).FAULTS]


@pytest.mark.few(1)
@pytest.mark.parametrize("name", CHOSEN)
def test_a_correct_port_is_green_and_every_weight_has_its_parameter(
    name: str, opened: Open
) -> None:
    path = PAIRS / f"{name}.py"
    found = opened(f"{path}:reference", f"{path}:port", *INPUTS.get(name, ()))
    assert found.correspondence.missing == ()
    _assert_loaded_alike(name, found)
    checks = found.check(1)
    green = {c.name: c.verdict.green for c in checks}
    assert green == dict.fromkeys(green, True), [
        (c.name, c.verdict, c.problem, c.residual) for c in checks
    ]
    assert found.departures(checks) == []


def _assert_loaded_alike(name: str, found: ProgramPair) -> None:
    """Every parameter has what the pair's own ``load``, which a person wrote, puts there."""
    import torch

    case = found.drawn_case(1)
    net = pair(name).port()
    with torch.no_grad():
        pair(name).load([case.weights[str(n)] for n in range(len(case.weights))], net)
    truth = {n: t.numpy() for n, t in net.state_dict().items()}
    values = found.values(case)
    wrong = [
        n
        for n, value in values.items()
        if n not in found.correspondence.filled
        and not np.array_equal(value.reshape(truth[n].shape), truth[n])
    ]
    assert wrong == []
    assert set(truth) - set(values) <= {n for n in truth if n.endswith("num_batches_tracked")} | {
        "stats",
        "unit",  # constants that preprocess_dict_io keeps as buffers
    }


@pytest.mark.few(0)
@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_faulty_port_is_red(
    name: str, fault: str, opened: Open, port_file: Callable[[str, str], str]
) -> None:
    path = PAIRS / f"{name}.py"
    found = opened(f"{path}:reference", port_file(name, fault), *INPUTS.get(name, ()))
    red = [check.name for check in found.check(1) if not check.verdict.green]
    assert "outputs" in red
