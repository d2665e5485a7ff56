"""``parity explain`` on samplers that others wrote from scratch, right ones and wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.ask.session import Session
from parity.draw.plan import draw
from parity.entries.runner import run_checks
from parity.explain.causes import Explanation
from parity.explain.explain import explain
from parity.mutants.judge import LEAN
from parity.verdict.outcome import CheckResult

CHECKS = ("samples_teacher_forced", "samples_free_running", "draw_log", "state_restored")

HEAD = """
import dataclasses, torch, ebm.pair
from port_torch.langevin import generate_samples as right

"""
END = "\nside = dataclasses.replace(ebm.pair.port, generate_samples=sampler{more})\n"

LOOP = """
def sampler(model, images, steps, step_size, noise):
    {before}
    with torch.inference_mode(False), torch.enable_grad():
        x = images.clone()
        {first}
        for k in range(steps):
            x = (x + {z}).clamp({range}).detach().requires_grad_()
            (g,) = torch.autograd.grad(model(x).{reduce}(), x)
            g = g.clamp(-{clip}, {clip})
            x = (x + {step} * g).clamp({range}).detach()
    return x
"""

UVA = """
def sampler(model, inp_imgs, steps, step_size, noise, return_img_per_step=False):
    was_training = model.training
    model.eval()
    for p in model.parameters():
        p.requires_grad = False
    inp_imgs = inp_imgs.clone().detach()
    inp_imgs.requires_grad = True
    had = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    z = torch.{buffer}(inp_imgs.shape)
    per_step = []
    for _ in range(steps):
        z.normal_(0, noise)
        inp_imgs.data.add_(z.data)
        {first_clip}
        out = -model(inp_imgs)
        out.{reduce}().backward()
        inp_imgs.grad.data.clamp_(-0.03, 0.03)
        inp_imgs.data.add_(-{step} * inp_imgs.grad.data)
        inp_imgs.grad.detach_()
        {zero}
        inp_imgs.data.clamp_(-1.0, 1.0)
        if return_img_per_step:
            per_step.append(inp_imgs.clone().detach())
    for p in model.parameters():
        p.requires_grad = {again}
    model.train(was_training)
    torch.set_grad_enabled(had)
    return torch.stack(per_step) if return_img_per_step else inp_imgs.detach()
"""

KEEPING = """
def sampler(model, images, steps, step_size, noise, return_img_per_step=False):
    kept = []
    with torch.enable_grad():
        x = images.detach().clone()
        for _ in range(steps):
            z = torch.normal(0.0, noise, size=x.shape) if noise > 0 else 0 * torch.randn(x.shape)
            x = torch.clip(x + z, -1, 1).detach().requires_grad_(True)
            out = model(x)
            (g,) = torch.autograd.grad(out, x, grad_outputs=torch.ones_like(out))
            x = torch.clip(x + step_size * torch.clip(g, -0.03, 0.03), -1, 1){detach}
            kept.append(x.clone())
    return (torch.stack(kept) if return_img_per_step else x).detach(), out.detach()
"""


def loop(**parts: str) -> str:
    plain = {
        "before": "pass",
        "first": "pass",
        "z": "noise * torch.randn_like(x)",
        "range": "-1, 1",
        "reduce": "sum",
        "clip": "0.03",
        "step": "step_size",
    }
    return LOOP.format(**(plain | parts))


def uva(**parts: str) -> str:
    plain = {
        "buffer": "empty",
        "first_clip": "inp_imgs.data.clamp_(-1.0, 1.0)",
        "reduce": "sum",
        "step": "step_size",
        "zero": "inp_imgs.grad.zero_()",
        "again": "True",
    }
    return UVA.format(**(plain | parts))


def judged(
    session: Session, tmp_path: Path, text: str, more: str = ""
) -> tuple[list[CheckResult], Explanation]:
    path = tmp_path / "port.py"
    path.write_text(HEAD + text + END.format(more=more))
    with session.with_port(str(path)):
        plan = draw(session, LEAN, 0)
        checks = run_checks(session, plan, only=CHECKS)
        return checks, explain(session, checks, plan)


def ids(explanation: Explanation) -> set[str]:
    return {cause.id for cause in explanation.causes}


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "text",
    [loop(), uva(), KEEPING.format(detach=".detach()"), loop(reduce="mean() * len(x) + 0 * x.sum")],
    ids=["plain", "in the style of UvA", "keeps detached clones", "the mean undone"],
)
def test_in_a_correct_sampler_nothing_is_named(
    parity_session: Session, tmp_path: Path, text: str
) -> None:
    checks, found = judged(parity_session, tmp_path, text)
    assert [check.name for check in checks if not check.verdict.green] == []
    assert found == Explanation()


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("text", "expected", "evidence"),
    [
        (uva(step="10"), {"step-size"}, "always 10, whatever step_size is given"),
        (loop(step="10"), {"step-size"}, "always 10, whatever step_size is given"),
        (loop(z="0.005 * torch.randn_like(x)"), {"noise-scale"}, "always 0.005, whatever noise"),
        (loop(clip="0.01"), {"gradient-clip-range"}, "the gradient clip is 0.01, the reference's"),
        (loop(range="-0.5, 0.5"), {"clip-range"}, "[-0.5, 0.5], the reference's [-1, 1]"),
        (
            uva(step="0.1", zero="pass", first_clip="pass"),
            {"step-size", "gradient-accumulated", "clip-missing"},
            "always 0.1, whatever step_size is given",
        ),
        (
            uva(buffer="randn", reduce="mean"),
            {"gradient-mean", "draw-order"},
            "before the network is first evaluated it draws 180 numbers, the reference 90",
        ),
        (uva(buffer="randn"), {"draw-order"}, "it draws 180 numbers, the reference 90"),
        (
            loop(z="torch.empty_like(x).uniform_(-noise, noise)"),
            {"noise-distribution"},
            "uniform from -1 to 1 times its scale",
        ),
        (
            loop(z="torch.randn(len(x), 1, 1, 1) * noise"),
            {"noise-distribution"},
            "a number of its own is drawn for each image",
        ),
        (
            loop(first="x = x.clamp(-1, 1)"),
            {"clip-range"},
            "before the first step images are clipped to [-1, 1]",
        ),
        (loop(before="steps = 5"), {"step-count"}, "asked for 1, 2, 3, 4 steps it makes 5, 5, 5"),
        (uva(again="False"), {"parameters-left-frozen"}, "requires_grad was True and is False"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_else(
    parity_session: Session, tmp_path: Path, text: str, expected: set[str], evidence: str
) -> None:
    _, found = judged(parity_session, tmp_path, text)
    assert ids(found) == expected
    assert not found.unexplained
    assert evidence in " ".join(cause.evidence for cause in found.causes)


def test_parameters_frozen_by_an_earlier_call_are_seen(
    parity_session: Session, tmp_path: Path
) -> None:
    """The samples are drawn on a model that is kept: by the time of this check it is frozen."""
    text = loop(before="model.requires_grad_(False)")
    _, found = judged(parity_session, tmp_path, text)
    assert ids(found) == {"parameters-left-frozen"}


def test_what_was_learnt_before_a_sampler_raises_is_kept(
    parity_session: Session, tmp_path: Path
) -> None:
    text = (
        "def sampler(model, images, steps, step_size, noise):\n"
        "    for k in range(steps):\n"
        "        if k == 2:\n"
        "            raise RuntimeError('no third step')\n"
        "        images = right(model, images, 1, step_size * 0.5, noise)\n"
        "    return images\n"
    )
    _, found = judged(parity_session, tmp_path, text)
    assert ids(found) == {"step-size"}
    (left,) = found.unexplained
    assert left.evidence.endswith("raises RuntimeError: no third step when asked for 3 steps")


IN_PLACE = """
def sampler(model, images, steps, step_size, noise):
    images = images.clone(){leaf}
    for k in range(steps):
        {inside}
        images += torch.randn_like(images) * noise
        images.clamp_(-1, 1)
        scores = model(images)
        {between}
        scores.sum().backward()
        images += step_size * images.grad.clamp(-0.03, 0.03)
        images.clamp_(-1, 1)
    return images
"""


def test_a_leaf_that_is_changed_in_place(parity_session: Session, tmp_path: Path) -> None:
    text = IN_PLACE.format(leaf=".requires_grad_()", inside="pass", between="pass")
    _, found = judged(parity_session, tmp_path, text)
    assert ids(found) == {"gradient-non-leaf"}
    (cause,) = found.causes
    assert "a leaf Variable that requires grad is being used in an in-place" in cause.evidence
    assert "a new tensor at each change" in cause.fix


def test_a_change_between_evaluation_and_gradient_is_no_graph_that_was_kept(
    parity_session: Session, tmp_path: Path
) -> None:
    text = (
        "def sampler(model, images, steps, step_size, noise):\n"
        "    for k in range(steps):\n"
        "        leaf = images.detach().clone().requires_grad_()\n"
        "        x = leaf + torch.randn_like(images) * noise\n"
        "        scores = model(x)\n"
        "        x.clamp_(-1, 1)\n"
        "        (g,) = torch.autograd.grad((scores * x.sum()).sum(), leaf)\n"
        "        images = (x + step_size * g).detach()\n"
        "    return images\n"
    )
    _, found = judged(parity_session, tmp_path, text)
    assert "state-not-detached" not in ids(found)
    said = " ".join(left.evidence for left in found.unexplained)
    assert "changed in place between the evaluation and its gradient" in said


def test_a_graph_that_grows_is_named(parity_session: Session, tmp_path: Path) -> None:
    _, found = judged(parity_session, tmp_path, KEEPING.format(detach=""))
    # x is detached at the next step, but every step's graph is kept alive in the list.
    assert "state-not-detached" in ids(found)
    (cause,) = [c for c in found.causes if c.id == "state-not-detached"]
    assert "and the graph with it" in cause.evidence


def test_inference_mode_is_asked_for_only_where_it_is_claimed(
    parity_session: Session, tmp_path: Path
) -> None:
    claim = ", caller_modes=('grad', 'no_grad', 'inference_mode')"
    _, found = judged(parity_session, tmp_path, uva(), claim)
    cause, *others = sorted(found.causes, key=lambda each: each.id != "no-grad-context")
    assert cause.id == "no-grad-context"
    assert [each.id for each in others] in ([], ["global-state"]), "what it leaves as it raises"
    assert cause.fix.startswith("with torch.inference_mode(False), torch.enable_grad():")


def test_our_own_sampler_may_claim_every_mode(parity_session: Session, tmp_path: Path) -> None:
    text = "sampler = right\n"
    claim = ", caller_modes=('grad', 'no_grad', 'inference_mode')"
    checks, found = judged(parity_session, tmp_path, text, claim)
    assert [check.name for check in checks if not check.verdict.green] == []
    assert found == Explanation()


def test_a_red_check_that_the_probe_cannot_explain_is_said_to_be_open(
    parity_session: Session, tmp_path: Path
) -> None:
    """Right on the probe, whose images are small, and wrong on the network's; it also leaves the
    caller's images changed, which explains nothing of that."""
    text = (
        "def sampler(model, images, steps, step_size, noise):\n"
        "    out = right(model, images, steps, step_size, noise)\n"
        "    images.add_(0.5)\n"
        "    return out if images.shape[-1] < 8 else out * 0.75\n"
    )
    _, found = judged(parity_session, tmp_path, text)
    assert ids(found) == {"input-mutated"}
    (left,) = found.unexplained
    assert left.where == "samples_teacher_forced"
    assert left.evidence.startswith("on the probe energy the sampler is the reference's; first at")


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("update", "says"),
    [
        ("x + step_size * g / (g.norm() + 1e-8)", "step 1 on, first at the gradient or the update"),
        ("(x + step_size * g) + 0.01 * x.abs().clamp(0.9)", "first at the gradient or the update"),
    ],
)
def test_a_step_that_no_rule_has_is_told_by_its_part(
    parity_session: Session, tmp_path: Path, update: str, says: str
) -> None:
    text = loop().replace("x + step_size * g", update)
    _, found = judged(parity_session, tmp_path, text)
    assert not found.causes
    (left,) = found.unexplained
    assert says in left.evidence
    assert "no rule that is known does the same" in left.evidence
