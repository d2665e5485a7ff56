"""Ports that other people would write, right and wrong, against the committed golden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.harness.test_cli import SCHEMA, parity

HEAD = """
import dataclasses, time
import torch
from torch import nn
import torch.nn.functional as F
import ebm.pair


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(1, 16, 5, 2), nn.SiLU(inplace=True),
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(16, 32, 3, 2), nn.SiLU(inplace=True),
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(32, 64, 3, 2), nn.SiLU(inplace=True),
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(64, 64, 3, 2), nn.SiLU(inplace=True),
        )
        self.head = nn.Sequential(nn.Linear(256, 64), nn.SiLU(), nn.Linear(64, 1))
        for part in self.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)

    def forward(self, x):
        h = self.features(x)
        return self.head(h.permute(0, 2, 3, 1).flatten(1))


def langevin(model, inp_imgs, steps, step_size, noise, device="cpu", return_img_per_step=False):
    imgs, every = inp_imgs.detach().clone(), []
    with torch.inference_mode(False), torch.enable_grad():
        imgs = imgs.clone()
        for _ in range(steps):
            imgs = (imgs + torch.randn(imgs.shape) * noise).clamp(-1, 1).requires_grad_()
            out = model(imgs)
            out.sum().backward(inputs=[imgs])
            imgs = (imgs + step_size * imgs.grad.clamp(-0.03, 0.03)).detach().clamp(-1, 1)
            every.append(imgs)
    return torch.stack(every) if return_img_per_step else imgs


changes = {"model": Scorer, "generate_samples": langevin}
"""
TAIL = "\nside = dataclasses.replace(ebm.pair.port, **changes)\n"


def explained(
    folder: Path, text: str = "", *options: str, timeout: float = 120
) -> tuple[int, dict[str, Any], str]:
    """(exit status, JSON report, output) of explaining the port with ``text`` put into it."""
    path = folder / "port.py"
    path.write_text(HEAD + text + TAIL)
    out = folder / "report.json"
    out.unlink(missing_ok=True)
    command = ("explain", "--golden", "goldens", "--port", str(path), "--json", str(out))
    run = parity(*command, *options, timeout=timeout)
    assert out.exists(), run.stdout + run.stderr
    report = json.loads(out.read_text())
    jsonschema.validate(report, SCHEMA)
    return run.returncode, report, run.stdout


@pytest.mark.few(0)
def test_a_right_port_of_one_architecture_is_green_in_every_check(tmp_path: Path) -> None:
    status, report, out = explained(tmp_path)
    assert status == 0, out
    assert report["causes"] == report["unexplained"] == []
    assert len(report["checks"]) == 16


@pytest.mark.few(0)
def test_that_port_made_wrong_is_named_line_and_all(tmp_path: Path) -> None:
    """Three faults at once: mirrored padding, another activation, the mean."""
    text = HEAD.replace("nn.ZeroPad2d((1, 2, 1, 2))", "nn.ZeroPad2d((2, 1, 2, 1))")
    text = text.replace("nn.Linear(256, 64), nn.SiLU()", "nn.Linear(256, 64), nn.ReLU()")
    text = text.replace("out.sum().backward", "out.mean().backward")
    path = tmp_path / "port.py"
    path.write_text(text + TAIL)
    run = parity("explain", "--golden", "goldens", "--port", str(path))
    assert run.returncode == 1
    for cause in ("padding-same, features.1", "activation, ", "gradient-mean, generate_samples"):
        assert f": {cause}".replace("features.1", "conv1") in run.stdout
    number = 1 + next(n for n, line in enumerate(text.splitlines()) if "out.mean()" in line)
    assert f"gradient-mean, generate_samples, the gradient ({path}:{number})" in run.stdout


@pytest.mark.few(0)
@pytest.mark.parametrize(
    ("forward", "says"),
    [
        ("super().forward(x).mean()", "energies has shape () from the port"),
        ("super().forward(x) * float('nan')", "energies is nan"),
        ("super().forward(x)[:, None, None]", "energies has shape"),
        ("None", "NoneType"),
    ],
)
def test_what_a_network_returns_that_is_no_energies(
    tmp_path: Path, forward: str, says: str
) -> None:
    """Whatever explaining meets, what the checks found is reported."""
    status, report, out = explained(
        tmp_path,
        f"class Wrong(Scorer):\n    def forward(self, x):\n        return {forward}\n"
        "changes['model'] = Wrong\n",
    )
    assert status == 1
    assert says in out
    assert report["verdict"] == "invalid"
    texts = [left["evidence"] for left in report["unexplained"]]
    assert report["causes"] or texts
    assert not any("a fault of parity's" in text for text in texts), texts


@pytest.mark.few(0)
def test_only_a_part_is_explained_too(tmp_path: Path) -> None:
    text = "change = langevin\ndef langevin(*a, **k):\n    return change(*a, **k) * 1.001\n"
    text += "changes['generate_samples'] = lambda model, images, steps, step_size, noise: langevin("
    text += "model, images, steps, step_size, noise)\n"
    status, report, _ = explained(tmp_path, text, "--only", "samples_teacher_forced")
    assert status == 1
    assert [check["name"] for check in report["checks"]] == ["samples_teacher_forced"]
    assert report["causes"] or report["unexplained"]


@pytest.mark.few(0)
def test_a_port_that_hangs_is_bounded_and_named_with_its_line(tmp_path: Path) -> None:
    """Two questions of 8 seconds each are waited for, and no more."""
    text = (
        "class Hangs(Scorer):\n    def forward(self, x):\n        time.sleep(1000)  # here\n"
        "changes['model'] = Hangs\n"
    )
    status, report, out = explained(tmp_path, text, "--timeout", "8", timeout=90)
    assert status == 1
    lines = (tmp_path / "port.py").read_text().splitlines()
    number = 1 + next(n for n, line in enumerate(lines) if line.endswith("# here"))
    assert f"the port did not answer 'network' within 8 s: stopped; it was at {tmp_path}" in out
    assert f"port.py:{number}" in out
    assert "it was not asked again" in out
    assert report["verdict"] == "invalid"
    (check,) = [check for check in report["checks"] if check["name"] == "preprocessing"]
    assert check["verdict"] in ("identical", "invalid")


@pytest.mark.few(0)
def test_what_is_not_declared_is_unchecked_and_nothing_is_named(tmp_path: Path) -> None:
    status, report, out = explained(tmp_path, "changes['preprocess'] = None\n")
    assert status == 1
    assert report["verdict"] == "unchecked"
    assert "the port declares no preprocess" in out
    assert report["causes"] == []
