"""A cause says which line of the port to look at: the line that a mutant edited."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from parity.ask.session import Session
from parity.draw.plan import draw
from parity.draw.recipes import make_case
from parity.entries.runner import run_checks
from parity.explain.causes import Cause, Explanation, Unexplained, placed
from parity.explain.explain import explain
from parity.mutants.judge import LEAN
from parity.mutants.mutant import write
from parity.side.sampler_probe import probe_case
from parity.side.training_probe import probe_case as training_case
from parity.values import archive
from parity.values.cases import Case
from tests.harness.ports import ROOT, mutant, write_port
from tests.harness.test_cli import SCHEMA, parity

LANGEVIN, NETWORK = ROOT / "port_torch/langevin.py", ROOT / "port_torch/energy_model.py"
TRAINING, BUFFER = ROOT / "port_torch/training.py", ROOT / "port_torch/replay_buffer.py"


def number_of(text: str, path: Path) -> int:
    """The line that begins with ``text``, which only one does."""
    lines = path.read_text().splitlines()
    (found,) = [n for n, line in enumerate(lines, start=1) if line.strip().startswith(text)]
    return found


def places_of(session: Session, case: Case) -> dict[str, str]:
    given = archive.to_bytes({}, {})
    found = session.ask_port("places", case=case, given=given, root=str(session.root))
    assert isinstance(found, dict), found
    return found


def network_case(session: Session) -> Case:
    return make_case(session, draw(session, LEAN, 0).localising[0])


# A correct port: each sub-step and each layer has its line.


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("generate_samples", "def generate_samples("),
        ("noise", "images = images + torch.randn_like(images) * noise"),
        ("noise/scale", "images = images + torch.randn_like(images) * noise"),
        ("noise clip", "images = images.clamp(-1.0, 1.0)"),
        ("gradient/point", "gradients = score_gradients(model, images)"),
        ("gradient/leaf", "images = images.detach().requires_grad_()"),
        ("gradient/mode", "scores = model(images)"),
        ("gradient/reduction", "(gradients,) = torch.autograd.grad("),
        ("gradient", "(gradients,) = torch.autograd.grad("),
        ("gradient clip", "gradients = gradients.clamp("),
        ("update", "images = images + step_size * gradients"),
        ("update/step", "images = images + step_size * gradients"),
        ("stored", "return torch.stack(images_per_step)"),
    ],
)
def test_the_sampler(parity_session: Session, part: str, text: str) -> None:
    found = places_of(parity_session, probe_case())
    lines = LANGEVIN.read_text().splitlines()
    numbers = [n for n, line in enumerate(lines, start=1) if line.strip().startswith(text)]
    path = part if part == "generate_samples" else f"generate_samples/{part}"
    assert found[path] == f"port_torch/langevin.py:{numbers[0]}"


def test_both_clips_of_the_images(parity_session: Session) -> None:
    """They are the same text, one before the gradient and one after the update."""
    found = places_of(parity_session, probe_case())
    lines = LANGEVIN.read_text().splitlines()
    clips = [n for n, line in enumerate(lines, start=1) if "images.clamp(" in line]
    names = ("generate_samples/noise clip", "generate_samples/update clip")
    assert [found[name] for name in names] == [f"port_torch/langevin.py:{n}" for n in clips]


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("model", "def forward(self, images"),
        ("model/conv1/activation", "x = ACTIVATIONS[layer.activation](x)"),
        ("model/conv3/padding", "return super().forward(F.pad("),
        ("model/conv3/stride", "conv = SameConv2d("),
        ("model/dense1/flatten", "x = x.permute("),
        ("model/dense1", 'x = self.get_submodule(f"dense{number}")(x)'),
        ("model/dense1/activation", "x = ACTIVATIONS[hidden.activation](x)"),
        ("model/score", "scores: Tensor = self.get_submodule("),
        ("initialisation/conv2/kernel", "nn.init.xavier_uniform_("),
        ("initialisation/conv2/bias", "nn.init.zeros_("),
    ],
)
def test_the_network(parity_session: Session, part: str, text: str) -> None:
    found = places_of(parity_session, network_case(parity_session))
    assert found[part] == f"port_torch/energy_model.py:{number_of(text, NETWORK)}"


@pytest.mark.parametrize(
    ("part", "text", "path"),
    [
        ("train_step/noise", "real = real + torch.randn_like(", TRAINING),
        ("train_step/clip", "real = real.clamp(", TRAINING),
        ("train_step/loss", 'losses["loss"].backward()', TRAINING),
        ("train_step/loss/split", "real_scores, fake_scores = ", TRAINING),
        ("train_step/loss/sign", "contrastive_divergence = ", TRAINING),
        ("train_step/loss/squares", "squares = ", TRAINING),
        ("train_step/loss/squares/weight", "regulariser = ", TRAINING),
        ("make_optimizer", "return KerasAdam(", TRAINING),
        ("validate", "return _losses(model, real, uniform", TRAINING),
        ("replay_buffer", "class ReplayBuffer", BUFFER),
        ("replay_buffer/starts", "torch.cat([new, old])", BUFFER),
        ("replay_buffer/kept", "self.images = torch.cat(", BUFFER),
    ],
)
def test_training(parity_session: Session, part: str, text: str, path: Path) -> None:
    settings, batch, _ = json.loads(json.dumps(_fixed_training()))
    shape = parity_session.facts(settings).image_shape
    found = places_of(parity_session, training_case(shape, settings, batch, steps=1))
    assert found[part] == f"{path.relative_to(ROOT).as_posix()}:{number_of(text, path)}"


def _fixed_training() -> tuple[object, int, int]:
    from ebm.pair import fixed_trainings

    return fixed_trainings()[0]


# Mutants: the line that was edited, or that beside which a line was taken out.


def explained(session: Session, *only: str) -> Explanation:
    plan = draw(session, LEAN, 0)
    return explain(session, run_checks(session, plan, only=only), plan)


def edited_lines(before: Path, after: Path) -> set[int]:
    """The lines of ``after`` that are not in ``before``, and those around what is gone."""
    found: set[int] = set()
    texts = (path.read_text().splitlines() for path in (before, after))
    for kind, _, _, start, end in difflib.SequenceMatcher(None, *texts, False).get_opcodes():
        if kind in ("replace", "insert"):
            found |= {n + 1 for n in range(start, end)}
        elif kind == "delete":
            found |= {start, start + 1}
    return found


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "name",
    [
        # The four traps of the notes.
        "requires_grad never set",
        "requires_grad set on a non-leaf",
        "energies averaged before the gradient",
        "padding 1 everywhere",
        # The network.
        "no flatten permutation",
        "kernels flipped",
        "a bias dropped",
        "a convolution without a bias",
        "the last stride left out",
        "energy for score",
        "images that see their batch",
        "activations cut off from the graph",
        "a float32 literal",
        "torch's initial weights",
        # The sampler, and what it leaves behind.
        "gradient of the wrong sign",
        "images go down the gradient",
        "gradients accumulate over steps",
        "gradient taken at the un-noised image",
        "noise scale squared",
        "noise added after the update",
        "the same noise at every step",
        "noise drawn and thrown away",
        "first clip dropped",
        "last clip dropped",
        "gradient clip dropped",
        "gradient clipped by norm",
        "step size halved",
        "the gradient under no_grad",
        "input tensor changed in place",
        "parameters left frozen",
        # Training.
        "real images without noise",
        "sign of the loss flipped",
        "square of the mean for mean of the squares",
        "gradients of the last step kept",
        "order of the buffer swapped",
        "oldest samples kept",
        "buffer starting in [0, 1]",
        "validation through a training buffer",
        "torch's Adam",
    ],
)
def test_the_place_is_the_line_that_a_mutant_edited(
    parity_session: Session, tmp_path: Path, name: str
) -> None:
    chosen = mutant(name)
    overlay = write([chosen], ROOT, tmp_path)
    with parity_session.with_overlay(overlay):
        found = explained(parity_session, chosen.red[0])
    causes = [cause for cause in found.causes if cause.id == chosen.fault]
    assert causes, found
    path, _, number = causes[0].place.rpartition(":")
    assert path == str((overlay / chosen.file).resolve()), "outside the project, so as it is"
    assert int(number) in edited_lines(ROOT / chosen.file, overlay / chosen.file), causes[0]


# Ports of other hands, outside the project.

HEAD = """
import dataclasses, functools, torch, ebm.pair
import torch.nn as nn
import torch.nn.functional as F
from ebm.settings import PUBLISHED
from port_torch.energy_model import EnergyModel
from port_torch.langevin import generate_samples
from port_torch.training import train_step

def side(**changes):
    return dataclasses.replace(ebm.pair.port, **changes)

"""

NOTEBOOK = """
def sample(model, inp_imgs, steps, step_size, noise):
    model.eval()
    for p in model.parameters():
        p.requires_grad = False
    z = torch.empty_like(inp_imgs)
    x = inp_imgs.clone()
    x.requires_grad = True
    for _ in range(steps):
        z.normal_(0, noise)
        x.data.add_(z.data)
        x.data.clamp_(min=-1.0, max=1.0)
        out = -model(x)
        loss = out.{reduce}()
        loss.backward()
        x.grad.data.clamp_(-0.03, 0.03)
        x.data.add_(-step_size * x.grad.data)
        x.grad.detach_()
        x.grad.zero_()
        x.data.clamp_(min=-1.0, max=1.0)
    return x.detach()

side = side(generate_samples=sample)
"""

TRANSFORM = """
def sample(model, images, steps, step_size, noise):
    score = torch.func.grad(lambda x: model(x).mean())
    for _ in range(steps):
        images = (images + noise * torch.randn_like(images)).clamp(-1, 1)
        climb = score(images)
        climb = climb.clamp(-0.03, 0.03)
        images = images + step_size * climb
        images = images.clamp(-1, 1)
    return images

side = side(generate_samples=sample)
"""

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2)
        self.conv4 = nn.Conv2d(64, 64, 3, stride=2)
        self.fc = nn.Linear(256, 64)
        self.out = nn.Linear(64, 1)

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(x)
        x = self.conv2(F.pad(x, (0, 1, 0, 1)))
        x = F.silu(x)
        x = self.conv3(F.pad(x, (0, 1, 0, 1)))
        x = F.silu(x)
        {middle}
        x = self.conv4(F.pad(x, (0, 1, 0, 1)))
        x = F.silu(x)
        x = x.flatten(1)
        x = self.fc(x)
        x = F.silu(x)
        return self.out(x)

side = side(model=Net)
"""

Port = Callable[[str], Path]


@pytest.fixture
def port(parity_session: Session, tmp_path: Path) -> Port:
    def written(text: str) -> Path:
        path = tmp_path / "port.py"
        path.write_text(HEAD + text)
        return path

    return written


def test_a_sampler_that_works_in_place(parity_session: Session, port: Port) -> None:
    """As in the notebook that many start from: ``.data``, ``.grad`` and methods that end in _."""
    path = port(NOTEBOOK.format(reduce="mean"))
    with parity_session.with_port(str(path)):
        found = places_of(parity_session, probe_case())
        causes = explained(parity_session, "samples_teacher_forced").causes
    expected = {
        "noise": "z.normal_(0, noise)",
        "noise clip": "x.data.clamp_(min=-1.0, max=1.0)",
        "gradient": "loss.backward()",
        "gradient/reduction": "loss = out.mean()",
        "gradient/point": "out = -model(x)",
        "gradient clip": "x.grad.data.clamp_(-0.03, 0.03)",
        "update": "x.data.add_(-step_size * x.grad.data)",
        "parameters": "p.requires_grad = False",
        "mode": "model.eval()",
    }
    lines = path.read_text().splitlines()
    for part, text in expected.items():
        number = int(found[f"generate_samples/{part}"].rpartition(":")[2])
        assert lines[number - 1].strip() == text, part
    (mean,) = [cause for cause in causes if cause.id == "gradient-mean"]
    assert mean.place == f"{path}:{number_of('loss = out.mean()', path)}"


def test_a_sampler_that_transforms_its_model(parity_session: Session, port: Port) -> None:
    path = port(TRANSFORM)
    with parity_session.with_port(str(path)):
        found = places_of(parity_session, probe_case())
        causes = explained(parity_session, "samples_teacher_forced").causes
    for part, text in (
        ("gradient/reduction", "score = torch.func.grad(lambda x: model(x).mean())"),
        ("gradient clip", "climb = climb.clamp("),
        ("update", "images = images + step_size * climb"),
    ):
        assert found[f"generate_samples/{part}"] == f"{path}:{number_of(text, path)}"
    (mean,) = [cause for cause in causes if cause.id == "gradient-mean"]
    assert mean.place == f"{path}:{number_of('score = torch.func.grad(', path)}"


def test_a_network_written_out(parity_session: Session, port: Port) -> None:
    path = port(NET.format(middle="pass"))
    with parity_session.with_port(str(path)):
        causes = explained(parity_session, "energies").causes
    found = {(cause.id, cause.where.partition(",")[0]): cause.place for cause in causes}
    assert found == {
        (id_, layer): f"{path}:{number_of(text, path)}"
        for id_, layer, text in (
            ("padding-same", "conv1", "self.conv1 = nn.Conv2d("),
            ("activation", "conv1", "x = F.relu(x)"),
            ("flatten-order", "dense1", "x = x.flatten(1)"),
        )
    }


def test_a_network_that_raises(parity_session: Session, port: Port) -> None:
    """What it does before has its place, and so has the line that raises."""
    path = port(NET.format(middle="raise ValueError('enough')"))
    with parity_session.with_port(str(path)):
        found = explained(parity_session, "energies")
    (left,) = found.unexplained
    assert left.place == f"{path}:{number_of('raise ValueError', path)}"
    (relu,) = [cause for cause in found.causes if cause.id == "activation"]
    assert relu.place == f"{path}:{number_of('x = F.relu(x)', path)}"


@pytest.mark.parametrize(
    ("text", "check", "line"),
    [
        (
            "def sample(model, images, steps, step_size, noise):\n"
            "    score = model(images)\n"
            "    raise OSError('no such disk')\n"
            "side = side(generate_samples=sample)\n",
            "samples_teacher_forced",
            "raise OSError",
        ),
        (
            "def step(model, optimizer, real, buffer, settings):\n"
            "    losses = train_step(model, optimizer, real, buffer, settings=settings)\n"
            "    return {'loss': losses['los']}\n"
            "side = side(train_step=step)\n",
            "losses",
            "return {'loss'",
        ),
    ],
)
def test_an_entry_that_raises(
    parity_session: Session, port: Port, text: str, check: str, line: str
) -> None:
    path = port(text)
    with parity_session.with_port(str(path)):
        (left,) = explained(parity_session, check).unexplained
    assert left.place == f"{path}:{number_of(line, path)}"


@pytest.mark.parametrize(
    "entry",
    [
        "functools.partial(sample, device='cpu')",
        "parity.Call(sample, keywords={'device': 'cpu'})",
        "torch.no_grad()(functools.partial(sample, device='cpu'))",
        "lambda model, images, steps, step_size, noise: "
        "sample(model, images, steps, step_size, noise, 'cpu')",
    ],
)
def test_an_entry_that_is_wrapped(parity_session: Session, port: Port, entry: str) -> None:
    """No step is known where all is done in NumPy, but where the function begins is."""
    path = port(
        "import parity\n"
        "def sample(model, images, steps, step_size, noise, device):\n"
        "    return torch.from_numpy(images.numpy() * 0.5)\n"
        f"entry = {entry}\n"
        "side = side(generate_samples=entry)\n"
    )
    with parity_session.with_port(str(path)):
        (left,) = explained(parity_session, "samples_teacher_forced").unexplained
    begins = "entry = " if "lambda" in entry else "def sample("
    assert left.place == f"{path}:{number_of(begins, path)}"


def test_entries_that_are_not_the_ports_own_have_no_line(
    parity_session: Session, port: Port
) -> None:
    with parity_session.with_port(str(port("side = side(make_optimizer=torch.optim.Adam)\n"))):
        found = places_of(parity_session, probe_case())
    assert "make_optimizer" not in found
    assert "train_step" in found


# What is told, and what is not asked.


def test_a_part_without_a_line_has_that_of_what_it_is_part_of() -> None:
    places = {"model": "a.py:1", "model/conv1": "a.py:2"}
    causes = [Cause("activation", "x", part=p) for p in ("model/conv1/padding", "model/conv2", "")]
    assert [cause.place for cause in placed(causes, places)] == ["a.py:2", "a.py:1", ""]
    assert causes[0].to_dict()["place"] is None
    (left,) = placed([Unexplained("x", "y", "model/conv1")], places)
    assert left.to_dict() == {"where": "x", "place": "a.py:2", "evidence": "y"}


def test_lines_are_asked_for_only_if_something_is_found(
    parity_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = parity_session.ask_port
    monkeypatch.setattr(
        parity_session, "ask_port", lambda method, **a: (asked.append(method), ask(method, **a))[1]
    )
    assert explained(parity_session, "state_restored") == Explanation()
    assert "places" not in asked
    overlay = write([mutant("parameters left frozen")], ROOT, tmp_path)
    with parity_session.with_overlay(overlay):
        assert explained(parity_session, "state_restored").causes
    assert asked.count("places") == 1


@pytest.mark.few(0)
def test_the_command_shows_the_place_and_the_report_holds_it(tmp_path: Path) -> None:
    """Against the recorded reference, which needs none of this."""
    report = tmp_path / "report.json"
    spec = write_port(["energies averaged before the gradient"], tmp_path)
    ran = parity("explain", "--golden", "goldens", "--port", spec, "--json", str(report))
    assert ran.returncode == 1, ran.stdout + ran.stderr
    path = tmp_path / "overlay/port_torch/langevin.py"
    place = f"{path}:{number_of('(gradients,) = torch.autograd.grad(scores.mean(', path)}"
    assert f"cause 1: gradient-mean, generate_samples, the gradient ({place})\n" in ran.stdout
    written = json.loads(report.read_text())
    jsonschema.validate(written, SCHEMA)
    assert [cause["place"] for cause in written["causes"]] == [place]
