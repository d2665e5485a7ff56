"""``parity explain`` on ports that raise, hang, return nonsense, or have other layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.ask.session import Session
from parity.correspond.weights import Parameter, Weight, match_partly
from parity.draw.plan import draw
from parity.entries.runner import run_checks
from parity.explain.causes import Explanation
from parity.explain.explain import explain
from parity.mutants.judge import LEAN
from tests.harness.test_cli import parity, write_side

HEAD = """
import dataclasses, torch, ebm.pair
import torch.nn as nn
import torch.nn.functional as F
from ebm.settings import PUBLISHED
from port_torch.energy_model import ACTIVATIONS, EnergyModel, energy_model
from port_torch.langevin import generate_samples

def side(**changes):
    return dataclasses.replace(ebm.pair.port, **changes)

"""

FORWARD = """
class Net(EnergyModel):
    def __init__(self):
        super().__init__(PUBLISHED)
        {init}

    def forward(self, x):
        x = F.silu(self.conv1(x))
        x = self.conv2(x)
        {middle}
        x = F.silu(self.conv3(F.silu(x)))
        x = F.silu(self.conv4(x)).permute(0, 2, 3, 1).flatten(1)
        return self.score(F.silu(self.dense1(x))){end}

side = side(model=Net)
"""


def explained(session: Session, tmp_path: Path, text: str, *only: str) -> Explanation:
    path = tmp_path / "port.py"
    path.write_text(HEAD + text)
    with session.with_port(str(path)):
        plan = draw(session, LEAN, 0)
        return explain(session, run_checks(session, plan, only=only or ("energies",)), plan)


def net(init: str = "pass", middle: str = "pass", end: str = "") -> str:
    return FORWARD.format(init=init, middle=middle, end=end)


def test_the_frame_of_these_ports_is_right(parity_session: Session, tmp_path: Path) -> None:
    assert explained(parity_session, tmp_path, net()) == Explanation()


def test_a_port_that_raises_half_way_keeps_what_was_learnt(
    parity_session: Session, tmp_path: Path
) -> None:
    text = net(middle="raise ValueError('enough')").replace(
        "F.silu(self.conv1(x))", "F.relu(self.conv1(x))"
    )
    found = explained(parity_session, tmp_path, text)
    assert [(c.id, c.where) for c in found.causes] == [("activation", "conv1, its activation")]
    (left,) = found.unexplained
    assert left.where == "after conv2"
    assert "it raises ValueError: enough" in left.evidence


def test_nan_is_located_and_not_guessed_at(parity_session: Session, tmp_path: Path) -> None:
    text = net(middle="x = torch.where(x > 0.1, x, float('nan'))")
    found = explained(parity_session, tmp_path, text)
    assert not found.causes
    assert found.unexplained[0].where == "conv3"
    assert "port nan" in found.unexplained[0].evidence


@pytest.mark.few(1)
@pytest.mark.parametrize("end", [".squeeze(1)[:, None, None]", ".expand(-1, 3)", "[:1]"])
def test_energies_of_another_rank_or_number(
    parity_session: Session, tmp_path: Path, end: str
) -> None:
    found = explained(parity_session, tmp_path, net(end=end))
    said = " ".join(f"{left.where}: {left.evidence}" for left in found.unexplained)
    if found.causes or found.unexplained:
        assert "shape" in said, found
    else:
        assert end == ".squeeze(1)[:, None, None]"  # one number an image, however it is wrapped


def test_a_layer_too_many_is_listed(parity_session: Session, tmp_path: Path) -> None:
    text = net(init="self.more = nn.Linear(1, 7)")
    found = explained(parity_session, tmp_path, text)
    (left,) = found.unexplained
    assert (
        "parameters that hold nothing of the reference's: more.weight (7, 1), more.bias (7,)"
        in (left.evidence)
    )


def test_layers_that_cannot_be_told_apart_are_candidates() -> None:
    weights = [Weight(f"{n}/{part}", shape) for n in "ab" for part, shape in KIND]
    parameters = [Parameter("fc.weight", (4, 4), "dense"), Parameter("fc.bias", (4,), None)]
    partial = match_partly(weights, parameters)
    assert partial.matches == []
    assert partial.ambiguous == ["a/kernel", "a/bias", "b/kernel", "b/bias"]
    declared = {"fc.weight": "b/kernel", "fc.bias": "b/bias"}
    told = match_partly(weights, parameters, declared)
    assert [m.weight for m in told.matches] == ["b/kernel", "b/bias"]
    assert told.missing == ["a/kernel", "a/bias"]


KIND = (("kernel", (4, 4)), ("bias", (4,)))


def test_the_rest_is_matched_around_what_is_missing() -> None:
    weights = [
        Weight("a/kernel", (3, 5)),
        Weight("a/bias", (5,)),
        Weight("b/kernel", (5, 2)),
        Weight("b/bias", (2,)),
    ]
    parameters = [
        Parameter("one.weight", (5, 3), "dense"),
        Parameter("two.weight", (2, 5), "dense"),
        Parameter("two.bias", (2,), None),
        Parameter("scale", (7,), None),
    ]
    partial = match_partly(weights, parameters)
    assert {m.parameter: m.weight for m in partial.matches} == {
        "one.weight": "a/kernel",
        "two.weight": "b/kernel",
        "two.bias": "b/bias",
    }
    assert (partial.missing, partial.ambiguous) == (["a/bias"], [])
    assert partial.extra == ["scale (7,)"]


def test_a_sampler_of_another_shape(parity_session: Session, tmp_path: Path) -> None:
    text = (
        "def sample(model, images, steps, step_size, noise):\n"
        "    return generate_samples(model, images, steps, step_size, noise)[:, :, :-1]\n"
        "side = side(generate_samples=sample)\n"
    )
    found = explained(parity_session, tmp_path, text, "samples_teacher_forced")
    assert not found.causes
    assert "its samples have shape (3, 5, 5, 1), the reference's (3, 6, 5, 1)" in (
        found.unexplained[0].evidence
    )


@pytest.mark.few(0)
def test_a_port_that_hangs_is_stopped_and_named(tmp_path: Path) -> None:
    spec = write_side(
        tmp_path,
        "def sample(model, images, steps, step_size, noise):\n    time.sleep(1000)\n"
        "entries = {'generate_samples': sample}",
    )
    options = ["--golden", "goldens", "--only", "noise_distribution", "--timeout", "12"]
    ran = parity("explain", "--port", spec, *options)
    assert ran.returncode == 1
    assert "the port did not answer 'unintercepted_samples' within 12 s" in ran.stdout
    assert "unexplained: generate_samples" in ran.stdout
    assert "the port did not answer 'probing' within 12 s: stopped" in ran.stdout
