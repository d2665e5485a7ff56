"""Ports that leave something behind in the whole process, or draw the same in every call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity.ask.session import Session
from parity.draw.plan import draw
from parity.draw.recipes import Recipe, WeightsRecipe, make_case
from parity.entries.initialisation import _alike, check_initialisation
from parity.entries.noise import check_noise
from parity.entries.process import check_left_behind
from parity.entries.runner import run_checks
from parity.entries.state import check_state_restored
from parity.entries.train_step import check_training
from parity.explain.explain import explain
from parity.mutants.judge import LEAN
from parity.values.cases import SamplerCall
from parity.verdict.comparison import Verdict
from parity.verdict.outcome import Outcome
from tests.harness.edited import overlay
from tests.harness.test_checks import case, port

RESEEDED = """
def mine(model, images, steps, step_size, noise, return_every_step=False):
    {first}
    return generate_samples(
        model, images, steps, step_size, noise, return_every_step=return_every_step
    )
side = dataclasses.replace(ebm.pair.port, generate_samples=mine)
"""
OWN = """
def mine(model, images, steps, step_size, noise, return_every_step=False):
    own = torch.Generator().manual_seed(7)
    kept = torch.randn_like
    torch.randn_like = lambda x: torch.randn(x.shape, dtype=x.dtype, generator=own)
    try:
        return generate_samples(
            model, images, steps, step_size, noise, return_every_step=return_every_step
        )
    finally:
        torch.randn_like = kept
side = dataclasses.replace(ebm.pair.port, generate_samples=mine)
"""


def noise(session: Session) -> Outcome:
    call = SamplerCall(steps=3, step_size=0.0, noise=0.005)
    recipe = Recipe(WeightsRecipe(seed=0), batch=4, key=0, sampler=call)
    zeros = make_case(session, recipe)
    zeros.images[:] = 0
    (outcome,) = check_noise(session, zeros)
    return outcome


@pytest.mark.parametrize(
    "text",
    [RESEEDED.format(first="torch.manual_seed(0)"), OWN],
    ids=["the global generator", "one of its own"],
)
def test_every_call_with_the_same_noise_is_red_and_says_so(
    parity_session: Session, tmp_path: Path, text: str
) -> None:
    assert noise(parity_session).verdict.green
    with port(parity_session, tmp_path, text) as session:
        found = noise(session)
        (state,) = check_state_restored(session, case(session))
    assert found.verdict is Verdict.DIVERGENT
    (finding,) = found.findings
    assert finding["id"] == "noise-seeded"
    assert "two calls of generate_samples" in finding["message"]
    seeded = [f["message"] for f in state.findings]
    assert len(seeded) == (text is not OWN), "a generator of its own is no global state"
    assert all("seeds torch's global generator with 0" in message for message in seeded)


def test_training_noise_that_every_step_draws_alike_is_red_named_and_has_its_line(
    parity_session: Session, tmp_path: Path
) -> None:
    """Shared randomness serves each draw, whatever generator it names: values alone are right."""
    before = "real = real + torch.randn_like(real) * settings.noise"
    after = (
        "own = torch.Generator().manual_seed(0)\n"
        "    noise = torch.randn(real.shape, dtype=real.dtype, generator=own)\n"
        "    real = real + noise * settings.noise"
    )
    plan = draw(parity_session, LEAN, 0)
    folder = overlay("training.py", before, after, tmp_path)
    with parity_session.with_overlay(folder) as session:
        checks = run_checks(session, plan, only=("losses", "draw_log"))
        explanation = explain(session, checks, plan)
    verdicts = {check.name: check.verdict for check in checks}
    assert verdicts["losses"].green
    assert verdicts["draw_log"] is Verdict.DIVERGENT
    (cause,) = explanation.causes
    assert cause.id == "noise-seeded"
    assert not explanation.unexplained
    line = (folder / "port_torch/training.py").read_text().splitlines().index(after.split("\n")[1])
    assert f"training.py:{line + 1}" in cause.evidence


VALIDATING = "return _losses(model, real, uniform_images(len(real), settings), settings)"
OWN_FAKES = """own = torch.Generator().manual_seed(0)
    fakes = torch.rand(real.shape, dtype=real.dtype, generator=own) * 2 - 1
    return _losses(model, real, fakes, settings)"""
FORKED = """with torch.random.fork_rng():
        torch.manual_seed(0)
        fakes = uniform_images(len(real), settings)
    return _losses(model, real, fakes, settings)"""
BUFFER = "self.images = uniform_images(settings.batch_size, settings)"
OWN_IMAGES = """own = torch.Generator().manual_seed(0)
        height, width, channels = settings.image_shape
        shape = (settings.batch_size, channels, height, width)
        self.images = torch.rand(shape, generator=own) * 2 - 1"""


@pytest.mark.few(0)
@pytest.mark.parametrize(
    ("file", "before", "after", "entry"),
    [
        ("training.py", VALIDATING, OWN_FAKES, "validate"),
        ("training.py", VALIDATING, FORKED, "validate"),
        ("replay_buffer.py", BUFFER, OWN_IMAGES, "replay_buffer"),
    ],
)
def test_numbers_that_every_call_of_another_entry_draws_alike_are_red(
    parity_session: Session, tmp_path: Path, file: str, before: str, after: str, entry: str
) -> None:
    training = make_case(parity_session, draw(parity_session, LEAN, 0).trainings[0])
    assert all(outcome.verdict.green for outcome in check_training(parity_session, training))
    with parity_session.with_overlay(overlay(file, before, after, tmp_path)) as session:
        outcomes = check_training(session, training)
    (log,) = [outcome for outcome in outcomes if not outcome.verdict.green]
    assert log.check == "draw_log"
    (finding,) = log.findings
    assert finding["id"] == "noise-seeded"
    assert f"where an earlier call of {entry} found it" in finding["message"]


@pytest.mark.parametrize("first", ["np.random.seed(0)", "random.seed(0)"])
def test_seeding_the_hosts_generators_is_red(
    parity_session: Session, tmp_path: Path, first: str
) -> None:
    text = "import random\nimport numpy as np\n" + RESEEDED.format(first=first)
    with port(parity_session, tmp_path, text) as session:
        check_state_restored(session, case(session))
        other = make_case(session, Recipe(WeightsRecipe(), batch=2, key=9, sampler=CALL))
        (state,) = check_state_restored(session, other)
    assert "global generator so that it stands alike" in state.findings[0]["message"]


CALL = SamplerCall(2, 10.0, 0.05)

LEAVING = """
from port_torch import images, replay_buffer, training

class Leaving(EnergyModel):
    def __init__(self, settings=PUBLISHED):
        super().__init__(settings)
        {model}

    def forward(self, x):
        {forward}
        return super().forward(x)

def preprocess(grey):
    {preprocess}
    return images.preprocess(grey)

def make_optimizer(model, settings=PUBLISHED):
    {make_optimizer}
    return training.make_optimizer(model, settings)

def train_step(model, optimizer, real, buffer, settings=PUBLISHED):
    {train_step}
    return training.train_step(model, optimizer, real, buffer, settings)

def validate(model, real, settings=PUBLISHED):
    {validate}
    return training.validate(model, real, settings)

side = dataclasses.replace(ebm.pair.port, model=Leaving, preprocess=preprocess,
    make_optimizer=make_optimizer, train_step=train_step, validate=validate)
"""
ENTRIES = ("model", "forward", "preprocess", "make_optimizer", "train_step", "validate")


def leaving(entry: str) -> str:
    left = dict.fromkeys(ENTRIES, "pass") | {entry: "torch.use_deterministic_algorithms(True)"}
    return LEAVING.format(**left)


@pytest.mark.few(0)
def test_a_flag_left_by_any_entry_is_told_of_that_entry(
    parity_session: Session, tmp_path: Path
) -> None:
    plan = draw(parity_session, LEAN, 0)
    training = make_case(parity_session, plan.trainings[0])
    only = ("energies", "preprocessing", "state_restored")
    for entry in ENTRIES:
        with port(parity_session, tmp_path, leaving(entry)) as session:
            outcomes = check_training(session, training) if "preprocess" not in entry else []
            checks = run_checks(session, plan, only=only)
        state = next(check for check in checks if check.name == "state_restored")
        assert state.verdict is Verdict.DIVERGENT, entry
        where = {"forward": "the network"}.get(entry, entry)
        assert f"{where} leaves torch.are_deterministic" in str(state.problem), entry
        assert all(outcome.verdict.green for outcome in outcomes), "one fault poisons no other case"


HANDED = {
    "validate": ("model.eval()", "mode-not-restored", "validate leaves the model in eval mode"),
    "preprocess": (
        "given, grey = grey, grey.copy(); given *= 0",
        "input-mutated",
        "preprocess changes the caller's images",
    ),
    "forward": (
        "given, x = x, x.clone(); given.data.zero_()",
        "input-mutated",
        "the network changes the caller's images",
    ),
}


@pytest.mark.few(0)
@pytest.mark.parametrize("entry", HANDED)
def test_what_an_entry_changes_of_what_it_is_handed_is_red(
    parity_session: Session, tmp_path: Path, entry: str
) -> None:
    """Each was green, for the answers are right: but a caller uses images and model again."""
    first, id_, said = HANDED[entry]
    plan = draw(parity_session, LEAN, 0)
    left = dict.fromkeys(ENTRIES, "pass") | {entry: first}
    with port(parity_session, tmp_path, LEAVING.format(**left)) as session:
        training = make_case(session, plan.trainings[0])
        outcomes = check_training(session, training) if entry == "validate" else []
        only = ("energies", "preprocessing", "state_restored")
        *checks, state = run_checks(session, plan, only=only)
    assert state.name == "state_restored"
    verdicts = [outcome.verdict for outcome in outcomes] + [check.verdict for check in checks]
    assert all(verdict.green for verdict in verdicts), "nothing is poisoned"
    assert state.verdict is Verdict.DIVERGENT
    found = {f["id"]: f["message"] for outcome in state.outcomes for f in outcome.findings}
    assert set(found) == {id_}
    assert said in found[id_]


def test_a_batch_overwritten_in_training_is_red_and_named(
    parity_session: Session, tmp_path: Path
) -> None:
    before = (
        "real = real + torch.randn_like(real) * settings.noise\n    real = real.clamp(-1.0, 1.0)"
    )
    after = "real += torch.randn_like(real) * settings.noise\n    real.clamp_(-1.0, 1.0)"
    plan = draw(parity_session, LEAN, 0)
    with parity_session.with_overlay(overlay("training.py", before, after, tmp_path)) as session:
        checks = run_checks(session, plan, only=("losses", "training_state", "state_restored"))
        explanation = explain(session, checks, plan)
    assert {c.name for c in checks if not c.verdict.green} == {"state_restored"}
    (cause,) = explanation.causes
    assert (cause.id, cause.where) == ("input-mutated", "train_step")
    assert not explanation.unexplained


def test_a_port_that_leaves_nothing_behind_has_no_finding(
    parity_session: Session, tmp_path: Path
) -> None:
    text = leaving("model").replace("torch.use_deterministic_algorithms(True)", "pass")
    with port(parity_session, tmp_path, text) as session:
        assert noise(session).verdict.green
        (outcome,) = check_left_behind(session)
    assert outcome.verdict.green
    assert outcome.findings == ()


SEEDED = {
    "each from one seed": "torch.Generator().manual_seed(0)",
    "each from the seed that is set": "torch.Generator().manual_seed(torch.initial_seed())",
}


@pytest.mark.parametrize("seeded", SEEDED)
def test_weights_that_every_build_or_layer_draws_alike_are_red(
    seeded: str, parity_session: Session, tmp_path: Path
) -> None:
    """Seen green: each weight is distributed as it should be."""
    layers = [{"filters": 3, "kernel": [3, 3], "stride": [1, 1], "activation": "swish"}] * 3
    settings = {"height": 9, "width": 9, "channels": 3, "convolutions": layers, "dense": []}
    (right,) = check_initialisation(parity_session, settings, [0, 1])
    assert right.verdict.green
    before = "nn.init.xavier_uniform_(parameter)"
    after = f"nn.init.xavier_uniform_(parameter, generator={SEEDED[seeded]})"
    changed = overlay("energy_model.py", before, after, tmp_path)
    with parity_session.with_overlay(changed) as session:
        (wrong,) = check_initialisation(session, settings, [0, 1])
    assert not wrong.verdict.green
    told = " ".join(finding["message"] for finding in wrong.findings)
    assert ("is the same in models built from different seeds" in told) == ("(0)" in SEEDED[seeded])
    assert "kernel is that of conv" in told


def test_weights_so_few_that_chance_may_repeat_them_say_nothing() -> None:
    """An orthogonal matrix of one element is 1 or -1, in a right port too."""
    shapes = {"a": [1, 1], "b": [1, 1]}
    signs = {"a": np.array([[[1.0]], [[-1.0]]]), "b": np.array([[[-1.0]], [[1.0]]])}
    ones = {name: np.ones((2, 1, 1)) for name in shapes}
    assert [*_alike(signs, ones, shapes)] == []
    many = {name: [1, 40] for name in shapes}
    rows = np.random.default_rng(0).choice([-1.0, 1.0], (3, 1, 40))
    told = _alike({"a": rows[:2], "b": rows[1:]}, dict.fromkeys(shapes, rows[[0, 0]]), many)
    assert [name for name, _ in told] == ["a", "b", "b"]


def test_a_sampler_that_gives_a_caller_in_eval_mode_other_samples_is_red(
    parity_session: Session, tmp_path: Path
) -> None:
    """Seen green: a model came in train mode wherever samples were looked at."""
    first = "images = images if model.training else 0 * images"
    with port(parity_session, tmp_path, RESEEDED.format(first=first)) as session:
        (outcome,) = check_state_restored(session, case(session))
    assert "called with the model in eval mode" in str(outcome.findings)
