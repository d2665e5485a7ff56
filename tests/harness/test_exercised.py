"""Every value that a strategy enumerates is in a case of every plan, or is said not to be."""

from __future__ import annotations

import dataclasses
import enum
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from ebm.settings import ACTIVATIONS
from parity.ask.recorded import Recorded
from parity.ask.session import Session
from parity.draw.exercised import Value, choose, found_in
from parity.draw.plan import Plan, _with_a_long_one, _with_a_view, beside_golden, draw
from parity.draw.profiles import profile_named
from parity.draw.recipes import Recipe, TrainingRecipe, WeightsRecipe, make_case
from parity.entries.runner import run_checks
from parity.entries.train_step import check_training
from parity.golden import goldens
from parity.mutants.judge import LEAN
from parity.tell.messages import case_in_words
from parity.values.cases import Case
from parity.values.traces import Trace
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


@pytest.mark.few(2)
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


@pytest.mark.few(0)
@pytest.mark.parametrize("wrong", WRONG_LATE)
def test_what_is_wrong_on_views_alone_or_late_is_red(
    wrong: str, golden: tuple[Session, Plan], tmp_path: Path
) -> None:
    assert red(golden, WRONG_LATE[wrong], tmp_path)


WRONG_TRAINING = {
    "losses": "    real = real + torch.randn_like(real) * settings.noise\n",
    "validation": "    if not real.is_floating_point():\n",
}


@pytest.mark.parametrize("check", WRONG_TRAINING)
def test_training_that_is_wrong_on_views_alone_is_red_in_the_smallest_plan(
    check: str, parity_session: Session, tmp_path: Path
) -> None:
    before = WRONG_TRAINING[check]
    after = f"    if not real.is_contiguous():\n        real = real * 0\n{before}"
    plan = draw(parity_session, LEAN, 0)
    recipe = next(recipe for recipe in plan.trainings if recipe.view)
    with parity_session.with_overlay(overlay("training.py", before, after, tmp_path)) as session:
        wrong, right = (
            {o.check: o.verdict for o in check_training(session, make_case(session, each))}[check]
            for each in (recipe, dataclasses.replace(recipe, view=False))
        )
    assert not wrong.green
    assert right.green


def test_preprocessing_that_is_wrong_on_views_alone_is_red(
    parity_session: Session, tmp_path: Path
) -> None:
    before = "    images = np.asarray(images)\n"
    after = f"    images = images * images.flags.c_contiguous\n{before}"
    plan = draw(parity_session, LEAN, 0)
    with parity_session.with_overlay(overlay("images.py", before, after, tmp_path)) as session:
        (check,) = run_checks(session, plan, only=("preprocessing",))
    assert not check.verdict.green


@pytest.mark.parametrize("views", [(), (False,), (False, False), (True, False)])
def test_some_training_case_has_a_view_if_there_is_any(views: tuple[bool, ...]) -> None:
    recipes = [Recipe(WeightsRecipe(seed=n), view=view) for n, view in enumerate(views)]
    assert [recipe.view for recipe in _with_a_view(tuple(recipes))] == (
        list(views) if any(views) else [False] * (len(views) - 1) + [True] * bool(views)
    )


# What is enumerated, and what is chosen of it.


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


@st.composite
def things(draw: st.DrawFn) -> dict[str, Any]:
    """Of another kind than the energy model's: an Enum, nesting, an option, something made."""
    rate = draw(st.one_of(st.none(), st.floats(0, 1)))
    return {
        "mode": draw(st.sampled_from(Mode)).value,
        "layers": draw(st.lists(st.fixed_dictionaries({"act": st.sampled_from("abcdefghij")}))),
        "rate": rate,
        "double": draw(st.booleans()),
        "size": 10 * draw(st.sampled_from([1, 2])),
        "n": draw(st.integers(0, 1000)),
    }


def words(values: tuple[Value, ...]) -> set[str]:
    return {value.in_words() for value in values}


@pytest.mark.parametrize("seed", range(3))
def test_everything_that_is_enumerated_is_in_a_case(seed: int) -> None:
    chosen = choose(things(), 4, seed, plain=lambda thing: {"it": thing}, among="things", more=3)
    assert words(chosen.enumerated) == {
        'it.mode = "fast"',
        'it.mode = "slow"',
        *(f'it.layers.act = "{name}"' for name in "abcdefghij"),
        "it.layers = []",
        "it.rate = null",
        "it.rate other than null",
        "it.double = false",
        "it.double = true",
    }, "what was made of 1 and 2 stands nowhere, but both were drawn"
    found = {"things": [found_in({"it": thing}) for thing in chosen.cases]}
    assert all(value.is_among(found) for value in chosen.enumerated)
    assert 4 <= len(chosen.cases) <= 7
    again = choose(things(), 4, seed, plain=lambda thing: {"it": thing}, among="things", more=3)
    assert again == chosen


def test_what_there_is_no_room_for_is_named() -> None:
    one = choose(things(), 1, 0, plain=lambda thing: {"it": thing})
    found = {"things": [found_in({"it": thing}) for thing in one.cases]}
    left = words(tuple(value for value in one.enumerated if not value.is_among(found)))
    (mode,) = (thing["mode"] for thing in one.cases)
    assert f'it.mode = "{"slow" if mode == "fast" else "fast"}"' in left
    (size,) = (thing["size"] for thing in one.cases)
    assert f"one of 1, 2 = {2 if size == 10 else 1}" in left, "of what stands nowhere, too"


def test_what_others_had_need_not_be_had_again() -> None:
    strategy = st.fixed_dictionaries({"a": st.sampled_from("xyz")})
    had = {"things": [found_in({"a": letter}) for letter in "xy"]}
    chosen = choose(strategy, 1, 0, plain=dict, among="things", had=had)
    assert chosen.cases == ({"a": "z"},)
    chosen = choose(strategy, 1, 0, plain=dict, among="others", had=had)
    assert len(words(chosen.enumerated)) == 3


def test_the_golden_has_everything(golden: tuple[Session, Plan]) -> None:
    _, plan = golden
    assert {"leaky_relu", "softplus"} <= {
        value.value.strip('"') for value in plan.enumerated if "activation" in value.where
    }
    assert not plan.not_exercised
    assert Plan.from_dict(plan.to_dict()) == plan


def test_what_a_golden_lacks_is_named(golden: tuple[Session, Plan]) -> None:
    _, plan = golden
    fewer = dataclasses.replace(plan, trajectories=plan.trajectories[:2], networks=())
    left = words(tuple(fewer.not_exercised))
    assert "view = false" in left, "the networks'"
    assert "sampler.step_size = 40.0" in left
    assert "training.iterations = 1000" not in left


def test_a_seed_gives_one_plan_in_every_process() -> None:
    code = (
        "from ebm.pair import architectures; from parity.draw.exercised import choose; "
        "print(choose(architectures(), 4, 3, plain=lambda s: {'settings': s}, more=3))"
    )
    command = [sys.executable, "-c", code]
    seeds = {"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"}
    first, second = (
        subprocess.run(
            command, cwd=ROOT, env={**os.environ, **seed}, capture_output=True, text=True
        )
        for seed in seeds
    )
    assert first.stdout == second.stdout != "", first.stderr


def test_a_view_is_not_contiguous_and_has_the_same_values(golden: tuple[Session, Plan]) -> None:
    session, plan = golden
    (recipe, *_) = [recipe for recipe in plan.networks if recipe.view]
    case = make_case(session, recipe)
    assert Case.from_bytes(case.to_bytes()).view
    plain = dataclasses.replace(case, view=False)
    assert case.digest != plain.digest
    one, other = (
        Trace.from_bytes(session.ask_port("network", case=c), "it") for c in (case, plain)
    )
    np.testing.assert_allclose(
        one.array("float64", "energies"), other.array("float64", "energies"), rtol=1e-12
    )
    assert "a view" in case_in_words(case)
    assert "a view" not in case_in_words(plain)


@pytest.mark.parametrize("taken", [(0, 10), (10, 1000)])
def test_any_pair_that_trains_has_a_long_run_of_a_fresh_optimizer(taken: tuple[int, int]) -> None:
    recipes = [
        Recipe(WeightsRecipe(), batch=batch, training=TrainingRecipe(iterations=iterations))
        for batch, iterations in zip((3, 2), taken, strict=True)
    ]
    session: Any = SimpleNamespace(facts=lambda settings: SimpleNamespace(shapes=((3, 4),)))
    found = [r.training for r in _with_a_long_one(session, recipes, 5) if r.training is not None]
    assert len(found) == 2
    assert [t.iterations for t in found if t.steps == 5] == [0]
    assert _with_a_long_one(session, (), 5) == ()
