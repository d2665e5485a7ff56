"""Every value that a strategy enumerates is in a case of every plan, or is said not to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebm.settings import ACTIVATIONS
from parity import goldens
from parity.plan import Plan, beside_golden
from parity.profiles import profile_named
from parity.recorded import Recorded
from parity.runner import run_checks
from parity.session import Session
from tests.harness.edited import overlay
from tests.harness.ports import ROOT

PAIR = "ebm.pair:pair"


@pytest.fixture(scope="module")
def golden() -> Iterator[tuple[Session, Plan]]:
    """A session against the golden, and its plan."""
    read = goldens.load(ROOT / "goldens", ROOT, PAIR)
    with Session(PAIR, recorded=Recorded(read.answers, "the golden"), root=ROOT) as session:
        yield session, beside_golden(session, read.plan, profile_named("quick"), 0)


def red(
    golden: tuple[Session, Plan], edit: tuple[str, str, str], folder: Path, *only: str
) -> set[str]:
    """The checks that are red on the port with one edit."""
    session, plan = golden
    with session.with_overlay(overlay(*edit, folder)):
        return {c.name for c in run_checks(session, plan, only=only) if not c.verdict.green}


NETWORK = ("energies", "energy_gradients")

OTHERWISE = {
    "elu": ("F.elu(x, inplace=True)", "F.elu(x, alpha=1.0 + 1e-6)"),
    "gelu": ("ROOT_OF_HALF),", "ROOT_OF_HALF) * (1 + 1e-6),"),
    "leaky_relu": (
        "LEAKY_SLOPE = torch.tensor(0.2, dtype=torch.float32).item()",
        "LEAKY_SLOPE = 0.01",
    ),
    "linear": ('"linear": lambda x: x', '"linear": lambda x: x * (1 + 1e-6)'),
    "relu": ("F.relu,", "lambda x: F.leaky_relu(x, 1e-6),"),
    "sigmoid": ("torch.sigmoid,", "lambda x: torch.sigmoid(x * (1 + 1e-6)),"),
    "softplus": ("SOFTPLUS_THRESHOLD = 34.0", "SOFTPLUS_THRESHOLD = 0.5"),
    "swish": ("F.silu,", "lambda x: x * torch.sigmoid(x * (1 + 1e-6)),"),
    "tanh": ("torch.tanh,", "lambda x: torch.tanh(x * (1 + 1e-6)),"),
}
"""Each activation a little wrong, on one side of its kink where it has one."""


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_that_is_wrong_is_red(
    activation: str, golden: tuple[Session, Plan], tmp_path: Path
) -> None:
    edit = ("energy_model.py", *OTHERWISE[activation])
    assert red(golden, edit, tmp_path, *NETWORK)


WRONG_LATE = {
    "a network on what is not contiguous": (
        "energy_model.py",
        "        x = images\n",
        "        x = images if images.is_contiguous() else 1.001 * images\n",
    ),
    "a sampler on what is not contiguous": (
        "langevin.py",
        "images = images.clone()",
        "images = images.clone() * (1.0 if images.is_contiguous() else 0.999)",
    ),
    "a sampler from its 61st step on": (
        "langevin.py",
        "        for _ in range(steps):\n",
        "        for step in range(steps):\n"
        "            noise = noise if step < 60 else 1.001 * noise\n",
    ),
    "an optimizer at its fourth step": (
        "keras_adam.py",
        '        state["step"] += 1\n',
        '        state["step"] += 1\n'
        '        group = group | ({"lr": 1.001 * group["lr"]} if state["step"] == 4 else {})\n',
    ),
}


@pytest.mark.parametrize("wrong", WRONG_LATE)
def test_what_is_wrong_on_views_alone_or_late_is_red(
    wrong: str, golden: tuple[Session, Plan], tmp_path: Path
) -> None:
    assert red(golden, WRONG_LATE[wrong], tmp_path)
