"""``parity explain`` on ports that were not made from ours: other names, styles, several faults."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from parity.ask.session import Session
from parity.draw.plan import draw
from parity.entries.runner import run_checks
from parity.explain.causes import Cause, Explanation, verified
from parity.explain.explain import explain
from parity.explain.network.activations import ACTIVATIONS
from parity.explain.network.refit import refit
from parity.explain.network.rules import Layer, Segment, compute
from parity.mutants.judge import LEAN
from parity.tell.render.terminal import cause_lines
from tests.harness.ports import write_port
from tests.harness.test_cli import SCHEMA, parity

SAMPLES = "samples_teacher_forced"
CHECKS = ("energies", "activations", "samples_teacher_forced", "state_restored")

HEAD = """
import dataclasses, torch, ebm.pair
import torch.nn as nn
import torch.nn.functional as F
from port_torch.langevin import generate_samples

def side(**changes):
    return dataclasses.replace(ebm.pair.port, **changes)

"""

SEQUENTIAL = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        act = nn.{activation}(inplace=True)  # one object, used five times
        self.features = nn.Sequential(
            nn.ZeroPad2d({first}), nn.Conv2d(1, 16, 5, 2), act,
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(16, 32, 3, 2), act,
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(32, 64, 3, 2), act,
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(64, 64, 3, 2), act,
        )
        self.head = nn.Sequential(nn.Linear(256, 64), act, nn.Linear(64, 1))

    def forward(self, x):
        x = self.features(x)
        return self.head({flatten})

side = side(model=Net)
"""

FUNCTIONAL = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        shapes = [(16, 1, 5, 5), (32, 16, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3)]
        self.w = nn.ParameterList()
        for shape in shapes:
            self.w += [nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape[0]))]
        for shape in ((64, 256), (1, 64)):
            self.w += [nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape[0]))]

    def forward(self, x):
        for n in range(4):
            x = F.conv2d(x, self.w[2 * n], self.w[2 * n + 1], stride=2, padding={padding})
            x = x * torch.sigmoid(x)
        x = x.permute(0, 2, 3, 1).reshape(len(x), 256)
        x = F.linear(x, self.w[8], self.w[9])
        return {sign}F.linear(F.silu(x), self.w[10], self.w[11])

side = side(model=Net)
"""

SAMPLER = """
def langevin(net, x_init, *, lr, sigma, n_steps, device="cpu", return_all=False):
    x, states = x_init.detach().clone(), []
    for _ in range(n_steps):
        x = x.detach().requires_grad_(True)
        net(x).{reduce}().backward()
        g = x.grad.data.clamp(-0.03, 0.03)
        x = x.detach() + lr * g
        x = x + torch.randn_like(x) * sigma
        {clip}
        if return_all:
            states.append(x)
    net.zero_grad()
    return (torch.stack(states) if return_all else x.detach()), g

side = side(generate_samples=langevin)
"""


def explained(session: Session, tmp_path: Path, text: str) -> Explanation:
    path = tmp_path / "port.py"
    path.write_text(HEAD + text)
    with session.with_port(str(path)):
        plan = draw(session, LEAN, 0)
        return explain(session, run_checks(session, plan, only=CHECKS), plan)


def named(explanation: Explanation) -> set[tuple[str, str]]:
    return {(cause.id, cause.where.partition(",")[0]) for cause in explanation.causes}


def test_a_sequential_port_with_three_faults(parity_session: Session, tmp_path: Path) -> None:
    """A mirrored padding, ReLU for swish everywhere, in place, and channels flattened first."""
    text = SEQUENTIAL.format(activation="ReLU", first="(2, 1, 2, 1)", flatten="x.flatten(1)")
    found = explained(parity_session, tmp_path, text)
    layers = ("conv1", "conv2", "conv3", "conv4", "dense1")
    assert named(found) >= {
        ("padding-same", "conv1"),
        ("flatten-order", "dense1"),
        *(("activation", layer) for layer in layers),
    }
    assert {id_ for id_, _ in named(found)} <= {"padding-same", "flatten-order", "activation"}
    assert not found.unexplained


def test_a_sequential_port_with_one_fault_says_nothing_else(
    parity_session: Session, tmp_path: Path
) -> None:
    flatten = "x.permute(0, 2, 3, 1).flatten(1)"
    text = SEQUENTIAL.format(activation="SiLU", first="(2, 1, 2, 1)", flatten=flatten)
    found = explained(parity_session, tmp_path, text)
    assert named(found) == {("padding-same", "conv1")}
    (cause,) = found.causes
    assert cause.fix.startswith("x = F.pad(x, (1, 2, 1, 2)) before conv1")
    assert cause.residual_before is not None
    assert cause.residual_after is not None
    assert verified(cause.residual_before, cause.residual_after, 1e-13)


def test_functional_weights_of_another_size_and_sign(
    parity_session: Session, tmp_path: Path
) -> None:
    """Padding 1 makes 15 of 32; no module hook would see these layers."""
    found = explained(parity_session, tmp_path, FUNCTIONAL.format(padding=1, sign="-"))
    layers = {("padding-same", f"conv{n}") for n in range(1, 5)}
    assert named(found) == {*layers, ("energy-sign", "the score")}
    assert not found.unexplained


@pytest.mark.few(0)
@pytest.mark.parametrize(
    ("reduce", "clip", "ids"),
    [
        ("sum", "x = x.clamp(-1, 1)", {"noise-after-update", "clip-missing"}),
        ("mean", "pass", {"noise-after-update", "clip-missing", "gradient-mean"}),
    ],
)
def test_a_sampler_of_another_hand_with_several_faults(
    parity_session: Session, tmp_path: Path, reduce: str, clip: str, ids: set[str]
) -> None:
    text = SAMPLER.format(reduce=reduce, clip=clip)
    found = explained(parity_session, tmp_path, text)
    caller = {"no-grad-context", "gradient-accumulated"}  # backward() needs and leaves these
    assert {cause.id for cause in found.causes} - caller == ids
    assert not found.unexplained


def test_a_layer_that_nothing_reproduces_is_not_guessed_at(
    parity_session: Session, tmp_path: Path
) -> None:
    flatten = "x.permute(0, 2, 3, 1).flatten(1) * 1.001"
    text = SEQUENTIAL.format(activation="SiLU", first="(1, 2, 1, 2)", flatten=flatten)
    found = explained(parity_session, tmp_path, text)
    assert not found.causes
    (left,) = found.unexplained
    assert left.where == "dense1"
    assert "nothing in the catalogue reproduces it" in left.evidence
    assert "fed with the reference's values it differs most at" in left.evidence


def test_the_network_and_the_sampler_are_told_apart(
    parity_session: Session, tmp_path: Path
) -> None:
    flatten = "x.permute(0, 2, 3, 1).flatten(1)"
    network = SEQUENTIAL.format(activation="SiLU", first="(2, 1, 2, 1)", flatten=flatten)
    sampler = SAMPLER.format(reduce="mean", clip="x = x.clamp(-1, 1)")
    both = (
        network.replace("side = side(model=Net)", "")
        + sampler.replace("side = side(generate_samples=langevin)", "")
        + "\nside = side(model=Net, generate_samples=langevin)\n"
    )
    found = explained(parity_session, tmp_path, both)
    assert named(found) >= {
        ("padding-same", "conv1"),
        ("gradient-mean", "generate_samples"),
        ("noise-after-update", "generate_samples"),
    }


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("trap", "check", "id_", "mend"),
    [
        ("requires_grad never set", SAMPLES, "gradient-not-tracked", "requires_grad_(True)"),
        ("requires_grad set on a non-leaf", SAMPLES, "gradient-non-leaf", "images.detach()"),
        ("energies averaged before the gradient", SAMPLES, "gradient-mean", "scores.sum()"),
        ("padding 1 everywhere", "energies", "padding-same", "F.pad(x, (1, 2, 1, 2)) before conv1"),
    ],
)
def test_traps_of_the_notes_on_the_command_line(
    tmp_path: Path, trap: str, check: str, id_: str, mend: str
) -> None:
    path = tmp_path / "out.json"
    ran = parity(
        "explain",
        "--golden",
        "goldens",
        "--port",
        write_port([trap], tmp_path),
        "--only",
        check,
        "--json",
        str(path),
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    said = ran.stdout
    assert f"cause 1: {id_}" in said
    assert mend in said[said.index(f"cause 1: {id_}") :]
    report = json.loads(path.read_text())
    jsonschema.validate(report, SCHEMA)
    assert id_ in [cause["id"] for cause in report["causes"]]


def test_what_a_cause_says_and_in_which_order() -> None:
    cause = Cause(
        "gradient-mean", "generate_samples", 0.78, 1.4e-16, "it was seen", reading="step / B"
    )
    assert cause_lines(cause) == [
        "energies are averaged over the batch before the gradient, not summed",
        "mend: torch.autograd.grad(scores.sum(), images): the mean divides each gradient by B",
        "undone, the residual falls from 0.78 to 1.4e-16",
        "evidence: it was seen",
        "or, which behaves alike here: step / B",
        "source: the notes this project comes from",
    ]


def test_non_leaf_as_the_notes_met_it(parity_session: Session, tmp_path: Path) -> None:
    """Set on the images themselves, step after step, in code that leaves gradients on."""
    text = (
        "def sample(model, images, steps, step_size, noise):\n"
        "    for _ in range(steps):\n"
        "        images = (images + torch.randn_like(images) * noise).clamp(-1, 1)\n"
        "        images.requires_grad = True\n"
        "        model(images).sum().backward()\n"
        "        images = (images + step_size * images.grad.clamp(-0.03, 0.03)).clamp(-1, 1)\n"
        "    return images\n"
        "side = side(generate_samples=sample)\n"
    )
    found = explained(parity_session, tmp_path, text)
    (cause,) = [c for c in found.causes if c.id == "gradient-non-leaf"]
    assert "only change requires_grad flags of leaf variables" in cause.evidence
    assert cause.fix.startswith("images = images.detach().requires_grad_(True)")


def test_a_green_port_has_nothing_to_explain() -> None:
    ran = parity("explain", "--golden", "goldens", "--only", "preprocessing")
    assert ran.returncode == 0
    assert "cause" not in ran.stdout


def test_a_cause_must_be_in_the_catalogue_and_must_mend() -> None:
    with pytest.raises(KeyError, match="'no-such-fault' is not in the catalogue"):
        Cause("no-such-fault", "conv1")
    assert verified(1.0, 1e-16, 1e-14)
    assert verified(1.0, 1e-7, 1e-14)
    assert not verified(1.0, 1e-3, 1e-14)
    assert not verified(1e-15, 0.0, 1e-14), "there was nothing to mend"


@pytest.mark.parametrize("activation", [n for n in ACTIVATIONS if n != "swish"])
def test_every_activation_is_found_again(activation: str) -> None:
    rng = np.random.default_rng(0)
    layer = Layer(
        "dense1", "Dense", rng.normal(size=(6, 3)), rng.normal(size=3), Segment("swish"), None
    )
    values = rng.normal(size=(4, 6)) * 15
    ours = compute(Segment(activation), layer, values)
    assert ours is not None
    found = refit(layer, values, ours, 1e-12)
    assert Segment(activation) in found


def test_joint_faults_of_a_convolution_are_found_again() -> None:
    rng = np.random.default_rng(1)
    own = Segment("swish", padding="same", strides=(2, 2))
    layer = Layer("conv", "Conv2D", rng.normal(size=(3, 2, 2, 4)), rng.normal(size=4), own, None)
    values = rng.normal(size=(2, 7, 8, 2)) * 5  # beyond 6, where relu6 is another activation
    wrong = Segment("relu", padding=((1, 1), (1, 1)), strides=(2, 2), kernel="flipped", bias=False)
    ours = compute(wrong, layer, values)
    assert ours is not None
    assert refit(layer, values, ours, 1e-12) == [wrong]
