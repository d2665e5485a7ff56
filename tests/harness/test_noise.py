"""Noise is held against the reference's own: samplers of other forms, right ones and wrong ones."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from parity.ask.session import Session
from parity.draw.plan import draw
from parity.draw.recipes import Recipe, WeightsRecipe, make_case
from parity.entries.noise import AXES, check_noise, compared_noise
from parity.entries.runner import run_checks
from parity.mutants.judge import LEAN
from parity.side.samples import added_alike
from parity.values import archive
from parity.values.cases import SamplerCall
from parity.verdict.comparison import Verdict
from tests.harness.small_pair import reopen, write_pair

MORE = """
def stepping(model, images, steps, step_size, noise, return_every_step=False):
    import tensorflow as tf

    every = []
    for step in range(steps):
        z = {theirs}
        with tf.GradientTape() as tape:
            tape.watch(images)
            scores = model(images)
        gradient = tape.gradient(scores, images)
        images = images + {rule}
        every.append(images)
    return tf.stack(every) if return_every_step else images


def stepping_ported(model, images, steps, step_size, noise, return_every_step=False):
    import torch

    every = []
    images = images.detach().clone()
    for step in range(steps):
        z = {ours}
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(model(images).sum(), images)
        images = images.detach() + {ported}
        every.append(images)
    return torch.stack(every) if return_every_step else images


reference = dataclasses.replace(reference, generate_samples=stepping)
port = dataclasses.replace(port, generate_samples=stepping_ported)
pair = dataclasses.replace(pair, reference=reference, port=port)
"""

LANGEVIN = "step_size * gradient + (2 * step_size) ** 0.5 * noise * z"
PLAIN = "noise * z + step_size * gradient"
NORMAL = (
    "tf.random.normal(tf.shape(images), dtype=images.dtype)",
    "torch.randn_like(images)",
)
UNIFORM = (
    "2 * tf.random.uniform(tf.shape(images), dtype=images.dtype) - 1",
    "2 * torch.rand_like(images) - 1",
)
FOR_EACH_IMAGE = (
    "tf.random.normal((len(images), 1, 1, 1), dtype=images.dtype)",
    "torch.randn(len(images), 1, 1, 1, dtype=images.dtype)",
)
STATELESS = (
    "tf.random.stateless_normal(tf.shape(images), (1, 2), dtype=images.dtype)",
    "torch.randn(images.shape, dtype=images.dtype, generator=torch.Generator().manual_seed(1))",
)
FIRST = (
    "torch.randn(images.shape, dtype=images.dtype, "
    "generator=None if step else torch.Generator().manual_seed(0))"
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("small")
    with Session(write(folder, PLAIN, PLAIN, *NORMAL), root=folder) as session:
        yield session


def write(folder: Path, rule: str, ported: str, theirs: str, ours: str) -> str:
    folder.mkdir(exist_ok=True)
    return write_pair(folder, more=MORE.format(rule=rule, ported=ported, theirs=theirs, ours=ours))


def red(session: Session, spec: str) -> dict[str, str]:
    """The sampler's red checks, and what the first finding of each is."""
    session = reopen(session, spec)
    only = ("samples_teacher_forced", "draw_log", "noise_distribution")
    checks = run_checks(session, draw(session, LEAN, 0), only=only)
    return {check.name: str(check.problem) for check in checks if not check.verdict.green}


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("rule", "drawn"),
    [(LANGEVIN, NORMAL), (PLAIN, UNIFORM), (LANGEVIN, UNIFORM), (PLAIN, FOR_EACH_IMAGE)],
    ids=["Langevin", "uniform", "Langevin, uniform", "one for each image"],
)
def test_noise_of_another_form_is_green_if_it_is_the_references(
    opened: Session, tmp_path: Path, rule: str, drawn: tuple[str, str]
) -> None:
    assert red(opened, write(tmp_path, rule, rule, *drawn)) == {}


@pytest.mark.few(0)
@pytest.mark.parametrize(
    ("rule", "drawn"), [(LANGEVIN, NORMAL), (PLAIN, UNIFORM)], ids=["Langevin", "uniform"]
)
def test_and_red_if_it_is_not(
    opened: Session, tmp_path: Path, rule: str, drawn: tuple[str, str]
) -> None:
    a_little = rule.replace("noise", "1.02 * noise")
    assert set(red(opened, write(tmp_path, rule, a_little, *drawn))) == {"samples_teacher_forced"}
    more = rule.replace("noise", "1.5 * noise")
    more = red(opened, write(tmp_path / "more", rule, more, *drawn))
    assert "distributed unlike the reference's" in more["noise_distribution"]


def test_the_first_steps_noise_alone_the_same_in_every_call(
    opened: Session, tmp_path: Path
) -> None:
    found = red(opened, write(tmp_path, PLAIN, PLAIN, NORMAL[0], FIRST))
    assert set(found) == {"noise_distribution"}
    assert "draw the same noise in step 0; the reference's two differ" in str(found)


def test_what_was_added_alike() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, 4, 4, 1)).astype(np.float32)
    steps = (0.01 * rng.standard_normal((2, 3, *images.shape))).astype(np.float32)
    steps[1, 1:] = steps[0, 1:]
    one, other = (images + np.cumsum(added, axis=0, dtype=np.float32) for added in steps)
    assert added_alike(images, one, other) == [1, 2]
    assert added_alike(images, one, one) == [0, 1, 2]


NOISE = 0.1 * np.random.default_rng(0).standard_normal((2, 4, 8, 16, 16, 2))


@pytest.mark.parametrize("axis", range(5))
def test_neighbours_alike_are_told_unless_the_references_are(axis: int) -> None:
    alike = [np.repeat(np.take(n, [0], axis), n.shape[axis], axis) for n in NOISE]
    assert compared_noise(*NOISE, 0.1)[0] == []
    assert compared_noise(*alike, 0.1)[0] == []
    told = " ".join(compared_noise(NOISE[0], alike[1], 0.1)[0])
    assert f"the noise of neighbouring {AXES[axis]} is correlated (1.000)" in told


@pytest.mark.few(0)
def test_noise_that_the_reference_repeats_too_is_green(opened: Session, tmp_path: Path) -> None:
    assert red(opened, write(tmp_path, PLAIN, PLAIN, *STATELESS)) == {}
    alone = red(opened, write(tmp_path / "alone", PLAIN, PLAIN, NORMAL[0], STATELESS[1]))
    assert set(alone) == {"draw_log", "noise_distribution"}
    assert "and the reference's own differ" in alone["draw_log"]


def test_a_reference_whose_noise_is_no_number_proves_nothing(parity_session: Session) -> None:
    call = SamplerCall(steps=3, step_size=0.0, noise=0.005)
    case = make_case(parity_session, Recipe(WeightsRecipe(), batch=2, sampler=call))
    samples = np.full((3, *case.images.shape), np.nan, np.float32)
    answer = archive.to_bytes({"samples": samples}, {"repeated": []})
    asked = types.SimpleNamespace(
        ask_reference=lambda *_, **__: answer, ask_port=lambda *_, **__: answer
    )
    (outcome,) = check_noise(cast(Session, asked), case)
    assert outcome.verdict is Verdict.UNCHECKED
