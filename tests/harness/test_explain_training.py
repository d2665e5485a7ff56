"""Training steps of other people: what is legal in them, and by which numbers they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from parity.ask.session import Session
from parity.draw.plan import draw
from parity.entries.runner import run_checks
from parity.explain.causes import Explanation
from parity.explain.explain import TRAINING, explain
from parity.explain.training.numbers import BOUND, nearest, same, solve
from parity.explain.training.runs import evaluated_by_loss
from parity.mutants.judge import LEAN
from parity.values.randomness import Draw, stretches
from parity.verdict.outcome import CheckResult

CHECKS = (*TRAINING, "draw_log")
STEP = """
import dataclasses, torch, ebm.pair
from ebm.settings import PUBLISHED
from port_torch.keras_adam import KerasAdam
from port_torch.replay_buffer import ReplayBuffer, uniform_images

def fit(model, opt, real, buffer, settings=PUBLISHED):
    x = {noised}
    {scores}
    cd = {divergence}
    reg = {regulariser}
    opt.zero_grad()
    (cd + reg).backward()
    {before}
    opt.step()
    return {{k: {value} for k, v in dict(loss=cd + reg, contrastive_divergence=cd, regulariser=reg,
             real_score=r.mean(), fake_score=f.mean()).items()}}

def optimizer(model, settings=PUBLISHED):
    return {optimizer}

side = dataclasses.replace(ebm.pair.port, train_step=fit, make_optimizer=optimizer)
"""
TOGETHER = """xf = buffer.sample(model)
    out = model(torch.cat([x, xf])).squeeze(-1)
    n = len(out) // 2 if settings.score_split == "halves" else len(x)
    r, f = out[:n], out[n:]"""
APART = """xf = buffer.sample(model)
    r, f = model(x).squeeze(-1), model(xf).squeeze(-1)
    if settings.score_split == "halves":
        r, f = torch.cat([r, f]).chunk(2)"""
REAL_FIRST = """r = model(x).squeeze(-1)
    xf = buffer.sample(model)
    f = model(xf).squeeze(-1)
    if settings.score_split == "halves":
        r, f = torch.cat([r, f]).chunk(2)"""
SWAPPED = """xf = buffer.sample(model)
    out = model(torch.cat([xf, x])).squeeze(-1)
    out = torch.cat([out[len(xf):], out[:len(xf)]])
    r, f = out.chunk(2) if settings.score_split == "halves" else (out[:len(x)], out[len(x):])"""
RIGHT = {
    "noised": "torch.clamp(real + settings.noise * torch.randn(real.shape), -1, 1)",
    "scores": TOGETHER,
    "divergence": "f.mean() - r.mean()",
    "regulariser": "settings.alpha * ((r**2).mean() + (f**2).mean())",
    "before": "pass",
    "value": "v.detach()",
    "optimizer": "KerasAdam(model.parameters(), lr=settings.learning_rate)",
}


def step(**changes: str) -> str:
    return STEP.format(**{**RIGHT, **changes})


def run(session: Session, tmp_path: Path, text: str) -> tuple[list[CheckResult], Explanation]:
    path = tmp_path / "port.py"
    path.write_text(text)
    with session.with_port(str(path)):
        plan = draw(session, LEAN, 0)
        checks = list(run_checks(session, plan, only=CHECKS))
        return checks, explain(session, checks, plan)


def named(explanation: Explanation) -> set[tuple[str, str]]:
    return {(cause.id, cause.where) for cause in explanation.causes}


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"value": "v.item()"},
        {"value": "v.detach().numpy()"},
        {"value": "float(v)"},
        {"scores": APART},
        {"scores": REAL_FIRST},
        {"scores": SWAPPED},
    ],
    ids=["as published", "item", "NumPy", "float", "apart", "real first", "fake before real"],
)
def test_what_is_the_same_program_is_green(
    parity_session: Session, tmp_path: Path, changes: dict[str, str]
) -> None:
    checks, explanation = run(parity_session, tmp_path, step(**changes))
    assert [c.name for c in checks if not c.verdict.green] == []
    assert explanation == Explanation()


def test_a_tensor_of_another_dtype_stays_a_finding(parity_session: Session, tmp_path: Path) -> None:
    checks, _ = run(parity_session, tmp_path, step(value="v.detach().double()"))
    (losses,) = [check for check in checks if check.name == "losses"]
    assert "has dtype float64 from the port in a float32 run" in str(losses.first_bad)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("changes", "expected", "says"),
    [
        (
            {"noised": "torch.clamp(real + 3 * settings.noise * torch.randn(real.shape), -1, 1)"},
            ("noise-scale", "train_step, the real images"),
            "0.015, the reference's 0.005",
        ),
        (
            {"noised": "torch.clamp(real + settings.noise * torch.randn(real.shape), 0, 1)"},
            ("clip-range", "train_step, the real images"),
            "clipped to [0, 1], the reference's to [-1, 1]",
        ),
        (
            {"noised": "real + settings.noise * torch.randn(real.shape)"},
            ("clip-missing", "train_step, the real images"),
            "not clipped",
        ),
        (
            {"regulariser": "settings.alpha * ((r**2).mean() + 0 * f.mean())"},
            ("loss-term", "regulariser"),
            "the mean of squared fake scores is missing",
        ),
        (
            {"regulariser": "settings.alpha * (f**2).mean()"},
            ("loss-term", "regulariser"),
            "the mean of squared real scores is missing",
        ),
        (
            {"regulariser": "0.37 * settings.alpha * ((r**2).mean() + (f**2).mean())"},
            ("loss-term", "regulariser"),
            "0.37 times the reference's weight",
        ),
        (
            {"regulariser": "settings.alpha * ((r**2).sum() + (f**2).sum())"},
            ("loss-reduction", "regulariser"),
            "the sum of squares where the reference has the mean of squares",
        ),
        (
            {"regulariser": "settings.alpha * (r.mean()**2 + f.mean()**2)"},
            ("loss-reduction", "regulariser"),
            "the square of the mean where",
        ),
        (
            {"divergence": "f.mean() - 2 * r.mean()"},
            ("loss-term", "contrastive divergence"),
            "the mean score of real images has 2 times",
        ),
        (
            {"divergence": "r.mean() - f.mean()"},
            ("loss-sign", "contrastive divergence"),
            "the other sign",
        ),
        (
            {"before": "torch.nn.utils.clip_grad_norm_(model.parameters(), 0.07)"},
            ("gradient-clip-norm", "train_step, the gradients"),
            "clipped by torch norm at 0.07",
        ),
        (
            {"before": "torch.nn.utils.clip_grad_value_(model.parameters(), 0.01)"},
            ("gradient-clip-range", "train_step, the gradients"),
            "clipped by value at 0.01",
        ),
        (
            {"optimizer": "KerasAdam(model.parameters(), lr=3 * settings.learning_rate)"},
            ("optimizer-hyperparameter", "optimizer"),
            "learning rate is 0.0003, the reference's 0.0001",
        ),
        (
            {"optimizer": "torch.optim.SGD(model.parameters(), lr=0.02)"},
            ("optimizer-hyperparameter", "optimizer, its rule"),
            "gradient descent with learning rate 0.02, the reference's is Adam with 0.0001",
        ),
    ],
)
def test_one_number_that_is_another(
    parity_session: Session,
    tmp_path: Path,
    changes: dict[str, str],
    expected: tuple[str, str],
    says: str,
) -> None:
    _, explanation = run(parity_session, tmp_path, step(**changes))
    assert named(explanation) == {expected}
    assert says in explanation.causes[0].evidence
    assert not explanation.unexplained


EPSILON = ("optimizer-epsilon", "optimizer")


def hyperparameter(what: str) -> tuple[str, str]:
    return "optimizer-hyperparameter", f"optimizer, its {what}"


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("arguments", "expected", "says"),
    [
        ("AdamW(model.parameters(), lr=1e-4)", {EPSILON, hyperparameter("weight decay")}, "0.01"),
        (
            "Adam(model.parameters(), lr=1e-4, weight_decay=0.03)",
            {EPSILON, hyperparameter("weight decay")},
            "0.03 times the weights is added to the gradients",
        ),
        (
            "Adam(model.parameters(), lr=1e-4, eps=3.7e-6)",
            {EPSILON},
            "epsilon 3.7e-06 added to the corrected",
        ),
        (
            "AdamW(model.parameters(), lr=2e-4, betas=(0.0, 0.98), eps=2e-5, weight_decay=0.1)",
            {
                EPSILON,
                ("optimizer-hyperparameter", "optimizer"),
                hyperparameter("momentum"),
                hyperparameter("velocity"),
                hyperparameter("weight decay"),
            },
            "its decay is 0, the reference's 0.9",
        ),
    ],
)
def test_numbers_of_an_optimizer(
    parity_session: Session,
    tmp_path: Path,
    arguments: str,
    expected: set[tuple[str, str]],
    says: str,
) -> None:
    _, explanation = run(parity_session, tmp_path, step(optimizer=f"torch.optim.{arguments}"))
    assert named(explanation) == expected
    assert any(says in cause.evidence for cause in explanation.causes)
    assert not explanation.unexplained


def test_several_at_once(parity_session: Session, tmp_path: Path) -> None:
    """Of a training step written by someone who read the tutorial and not the reference."""
    text = step(
        noised="torch.clamp(real + 2 * settings.noise * torch.randn(real.shape), -1, 1)",
        scores=APART,
        regulariser="settings.alpha * 0.5 * ((r**2).mean() + (f**2).mean())",
        before="torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)",
        optimizer="torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.0, 0.999))",
    )
    _, explanation = run(parity_session, tmp_path, text)
    assert named(explanation) == {
        ("noise-scale", "train_step, the real images"),
        ("loss-term", "regulariser"),
        ("gradient-clip-norm", "train_step, the gradients"),
        EPSILON,
        hyperparameter("momentum"),
    }
    assert not explanation.unexplained
    json.dumps([cause.to_dict() for cause in explanation.causes], allow_nan=False)


def test_sizes_are_named_with_their_numbers(parity_session: Session, tmp_path: Path) -> None:
    text = (
        "import dataclasses, torch, ebm.pair\n"
        "from port_torch.replay_buffer import ReplayBuffer\n"
        "def buffer(settings):\n"
        "    return ReplayBuffer(dataclasses.replace(settings, buffer_size=13))\n"
        "side = dataclasses.replace(ebm.pair.port, replay_buffer=buffer)\n"
    )
    _, explanation = run(parity_session, tmp_path, text)
    (cause,) = explanation.causes
    assert (cause.id, cause.where) == ("buffer-size", "replay buffer, after a step")
    assert "it keeps 13 of 16 images after a step, the reference 16 of 16" in cause.evidence


def test_what_came_before_a_step_that_raises_is_kept(
    parity_session: Session, tmp_path: Path
) -> None:
    text = (
        "import dataclasses, torch, ebm.pair\n"
        "from port_torch.replay_buffer import ReplayBuffer\n"
        "def buffer(settings):\n"
        "    made = ReplayBuffer(settings)\n"
        "    made.images = (made.images + 1) / 2\n"
        "    return made\n"
        "def fit(model, opt, real, buffer, settings):\n"
        "    raise ValueError('no')\n"
        "side = dataclasses.replace(ebm.pair.port, replay_buffer=buffer, train_step=fit)\n"
    )
    _, explanation = run(parity_session, tmp_path, text)
    assert named(explanation) == {("initial-range", "replay buffer, its first images")}
    (left,) = explanation.unexplained
    assert "it raises ValueError: no" in left.evidence


@pytest.mark.few(0)
def test_a_declaration_of_weights_is_not_of_the_probe(
    parity_session: Session, tmp_path: Path
) -> None:
    """It names the network's parameters, and the probe has one of its own."""
    text = (
        "import dataclasses, torch, ebm.pair\n"
        "from torch import nn\n"
        "from port_torch.energy_model import energy_model\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.inner = energy_model()\n"
        "    def forward(self, x):\n"
        "        return self.inner(x)\n"
        "def opt(model, settings):\n"
        "    return torch.optim.Adam(model.parameters(), lr=settings.learning_rate)\n"
        "weights = {'inner.conv1.weight': 'conv1/kernel'}\n"
        "side = dataclasses.replace(\n"
        "    ebm.pair.port, model=Net, weights=weights, make_optimizer=opt)\n"
    )
    checks, explanation = run(parity_session, tmp_path, text)
    assert named(explanation) == {EPSILON}
    assert not explanation.unexplained
    assert all(c.verdict.green for c in checks if c.name in ("draw_log", "validation"))


def test_which_evaluations_are_the_losss() -> None:
    rng = np.random.default_rng(0)
    real, fake, other = (rng.uniform(-1, 1, (4, 3, 3, 1)) for _ in range(3))
    noisy = real + 0.01 * rng.normal(size=real.shape)
    assert evaluated_by_loss([other, fake, np.concatenate([noisy, fake])], real) == (2,)
    assert evaluated_by_loss([other, fake, np.concatenate([fake, noisy])], real) == (2,)
    assert evaluated_by_loss([other, noisy, fake], real) == (1, 2)
    assert evaluated_by_loss([noisy, other, fake], real) == (0, 2)
    assert evaluated_by_loss([other, fake, noisy], real) == (2, 1)
    assert evaluated_by_loss([other, fake], real) == (1,)
    assert evaluated_by_loss([], real) == ()


def test_coefficients_are_solved_for_or_refused() -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 50))
    found = solve([1e-6 * a, b], 3 * a - 2 * b)
    assert found is not None
    np.testing.assert_allclose(found, [3e6, -2], rtol=1e-12)
    assert solve([a, b], a + BOUND * 1e3 * c) is None
    assert nearest([a, np.zeros(50)], a) is None
    assert same(1.0, 1 + 1e-9)
    assert not same(1.0, 1 + 1e-6)


def test_stretches_of_draws() -> None:
    def log(*positions: int) -> list[int]:
        draws = [Draw("normal", 1, "float32", position) for position in positions]
        return [draw.position for draw in stretches(draws)]

    assert log(0, 0, 1, 2) == log(0, 0, 1, 3) == [0, 0, 1, 2]
    assert log(1, 2, 3) != log(0, 1, 2)
    assert log(0, 1) != log(0, 0)
