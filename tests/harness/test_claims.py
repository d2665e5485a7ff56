"""What is asked of a pair, and what is not: entries nobody declares, claims nobody makes, clips
that the reference does not have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

import parity
from parity.ask.session import Session
from parity.draw.plan import Plan, draw
from parity.draw.profiles import Profile
from parity.draw.recipes import Recipe, WeightsRecipe, make_case
from parity.entries.runner import run_checks
from parity.entries.sampler import clips_that_never_bound
from parity.entries.state import check_state_restored
from parity.errors import BadCall
from parity.values.cases import SamplerCall
from parity.verdict.comparison import Verdict
from parity.verdict.outcome import CheckResult, Outcome
from tests.harness.ports import ROOT
from tests.harness.small_pair import SAMPLERS, reopen, write_pair
from tests.harness.test_cli import SCHEMA
from tests.harness.test_cli import parity as run_parity

FEW = Profile("few", 0, 2, 1, 3, 3, 1, 1, 0, 1, published_steps=3)

SAMPLER = (
    "samples_teacher_forced",
    "samples_free_running",
    "draw_log",
    "noise_distribution",
    "state_restored",
)


def results(session: Session, *only: str) -> dict[str, CheckResult]:
    found = run_checks(session, draw(session, FEW, 0), only=only)
    return {check.name: check for check in found}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Two processes for all pairs of this module."""
    with Session(write_pair(tmp_path_factory.mktemp("pair"))) as session:
        yield session


@pytest.mark.few(0)
def test_a_pair_of_two_models_alone_can_be_green(tmp_path: Path) -> None:
    """Seen red: eleven checks were unchecked, for neither side declares what they are about."""
    spec = write_pair(tmp_path)
    names = ("report.json", "junit.xml", "summary.md", "report.html")
    report, junit, summary, page = (tmp_path / name for name in names)
    files = ("--json", report, "--junit", junit, "--summary", summary, "--html", page)
    run = run_parity("check", spec, *map(str, files))
    assert run.returncode == 0, run.stdout + run.stderr
    entries = ["generate_samples", "train_step", "make_optimizer"]
    entries += ["replay_buffer", "preprocess", "validate"]
    said = f"not declared: {', '.join(entries)}; not claimed: refusals, empty_batch, initialisation"
    assert run.stdout.count("not declared") == 1
    assert said in run.stdout
    found = json.loads(report.read_text())
    jsonschema.validate(found, SCHEMA)
    assert found["not_declared"] == entries
    assert found["not_claimed"] == ["refusals", "empty_batch", "initialisation"]
    checks = ["energies", "energy_gradients", "batch_independence", "activations"]
    checks.append("state_restored")  # of the process, whatever runs in it
    assert [check["name"] for check in found["checks"]] == checks
    (suite,) = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("5", "0")
    assert "not declared: generate" in summary.read_text()
    assert "not declared" in page.read_text()


@pytest.mark.few(0)
def test_checks_of_what_nobody_declares_cannot_be_asked_for_by_name(
    opened: Session, tmp_path: Path
) -> None:
    """One alone is still enough; and what one side alone lacks stays unchecked."""
    spec = write_pair(
        tmp_path, more="one = dataclasses.replace(port, generate_samples=sample_ported)"
    )
    session = reopen(opened, spec)
    assert set(results(session, "energies")) == {"energies"}
    with pytest.raises(BadCall, match="samples_teacher_forced has nothing to check: neither"):
        results(session, "energies", "samples_teacher_forced")
    with pytest.raises(BadCall, match=r"initialisation is not asked for: .*claims=\('initial"):
        results(session, "initialisation")
    with session.with_port(spec.replace(":pair", ":one")):
        assert session.not_declared[0] == "train_step"
        found = results(session, "energies", *SAMPLER)
    assert found.pop("energies").verdict.green
    assert {check.verdict for check in found.values()} == {Verdict.UNCHECKED}
    assert found["draw_log"].problem == "the reference declares no generate_samples"


@pytest.mark.few(0)
def test_a_sampler_without_clips_is_green(opened: Session, tmp_path: Path) -> None:
    """Seen unchecked: three clips never bound that this reference does not have."""
    more = "clipped = sampling(clip=lambda x: x.clamp(-1, 1))"  # is seen all the same
    spec = write_pair(tmp_path, **SAMPLERS, more=more)
    session = reopen(opened, spec)
    found = results(session, *SAMPLER)
    assert {check.verdict.green for check in found.values()} == {True}, found
    with session.with_port(spec.replace(":pair", ":clipped")):
        (check,) = results(session, "samples_teacher_forced").values()
    assert check.verdict is Verdict.DIVERGENT


@pytest.mark.few(0)
def test_images_of_another_range_are_clipped_there(opened: Session, tmp_path: Path) -> None:
    """Seen unchecked: a clip to [0, 255] never bound, for limits were looked for at 1."""
    wrong = {"none": "x", "only_low": "x.clamp(min=LOW)", "only_high": "x.clamp(max=HIGH)"}
    spec = write_pair(
        tmp_path,
        **SAMPLERS,
        low=0.0,
        high=255.0,
        clip="images = tf.clip_by_value(images, LOW, HIGH)",
        ported_clip="x.clamp(LOW, HIGH)",
        more="\n".join(f"{n} = sampling(clip=lambda x: {clip})" for n, clip in wrong.items()),
    )
    session = reopen(opened, spec)
    found = results(session)
    assert {check.verdict.green for check in found.values()} == {True}, found
    for name in wrong:
        with session.with_port(spec.replace(":pair", f":{name}")):
            (check,) = results(session, "samples_teacher_forced").values()
        assert check.verdict is Verdict.DIVERGENT, name


def test_a_limit_that_never_binds_is_unchecked_and_named(opened: Session, tmp_path: Path) -> None:
    spec = write_pair(
        tmp_path,
        **SAMPLERS,
        clip="images = tf.clip_by_value(images, -1e4, 1.0)",
        ported_clip="x.clamp(max=1.0)",
    )
    (check,) = results(reopen(opened, spec), "samples_teacher_forced").values()
    assert check.verdict is Verdict.UNCHECKED
    lines = (tmp_path / "small_pair.py").read_text().splitlines()
    number = 1 + next(n for n, line in enumerate(lines) if "clip_by_value" in line)
    assert check.problem == (
        f"the lower limit of the reference's clip at small_pair.py:{number} never bound in any case"
    )


def outcome(**clips: dict[str, float]) -> Outcome:
    notes = {name: {"share": sum(each.values()), "limits": each} for name, each in clips.items()}
    return Outcome("samples_teacher_forced", notes={"clips": notes})


def test_each_limit_has_to_bind_in_some_case_and_only_where_there_is_one() -> None:
    assert clips_that_never_bound([]) == {}
    assert clips_that_never_bound([outcome(), Outcome("samples_teacher_forced")]) == {}
    once = [outcome(a={"upper": 0.1, "lower": 0.0}), outcome(a={"upper": 0.0, "lower": 0.1})]
    assert clips_that_never_bound(once) == {}
    assert "upper limit" in str(clips_that_never_bound(once[1:]))
    (said,) = clips_that_never_bound([outcome(a={"upper": 0.0, "lower": 0.0}, b={"upper": 0.0})])
    assert said == "samples_teacher_forced"


@pytest.mark.parametrize("claimed", [False, True])
def test_no_images_are_asked_for_only_where_it_is_claimed(
    opened: Session, tmp_path: Path, claimed: bool
) -> None:
    """Seen divergent though unclaimed: reshape(0, -1) raises in torch, and in a right port."""
    spec = write_pair(tmp_path, **SAMPLERS, claims=("empty_batch",) if claimed else ())
    path = tmp_path / "small_pair.py"
    path.write_text(path.read_text().replace("x.flatten(1)", "x.reshape(len(x), -1)"))
    session = reopen(opened, spec)
    recipe = Recipe(WeightsRecipe(seed=1), batch=2, sampler=SamplerCall(2, 0.1, 0.1))
    (found,) = check_state_restored(session, make_case(session, recipe))
    assert found.verdict.green != claimed
    assert [finding["id"] for finding in found.findings] == ["empty-batch"] * claimed


def test_unknown_claims_are_refused() -> None:
    sides = {"reference": parity.TensorFlowSide(), "port": parity.TorchSide()}
    with pytest.raises(BadCall, match="claims must be one of 'refusals', 'empty_batch', 'initial"):
        parity.Pair(**sides, claims=("refusal",))
    with pytest.raises(BadCall, match="claims must be a tuple of names, got 'refusals'"):
        parity.Pair(**sides, claims="refusals")  # type: ignore[arg-type]
    assert parity.Pair(**sides).claims == ()


def test_what_is_not_in_a_plan_is_not_asked(parity_session: Session) -> None:
    """The energy model claims refusals: they are in every drawn plan, and in a plan's file."""
    plan = draw(parity_session, FEW, 0)
    assert plan.refusals == ("model", "generate_samples", "train_step", "validate", "preprocess")
    assert Plan.from_dict(plan.to_dict()) == plan
    with pytest.raises(ValueError, match="refusals of 'sampler', expected some of"):
        Plan.from_dict({**plan.to_dict(), "refusals": ["sampler"]})
    with pytest.raises(ValueError, match="it has no refusals; record it again"):
        Plan.from_dict({k: v for k, v in plan.to_dict().items() if k != "refusals"})


def test_a_guard_moved_by_one_is_red_against_the_golden(tmp_path: Path) -> None:
    """Seen green: ``steps < 1`` made ``steps < 0``, for every case was a good call."""
    package = tmp_path / "overlay" / "port_torch"
    shutil.copytree(ROOT / "port_torch", package)
    path = package / "langevin.py"
    text = path.read_text()
    path.write_text(text.replace("if steps < 1:", "if steps < 0:"))
    assert path.read_text() != text
    port = tmp_path / "port.py"
    port.write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path / 'overlay')!r})\n"
        "from ebm.pair import port as side\n"
    )
    options = ("--golden", "goldens", "--port", str(port), "--only", "preprocessing,state_restored")
    run = run_parity("check", *options)
    assert run.returncode == 1, run.stdout + run.stderr
    said = "generate_samples with steps 0: the reference raises"
    assert said in run.stdout


def test_a_port_is_held_to_the_claims_of_the_functions_that_it_kept(
    parity_session: Session, tmp_path: Path
) -> None:
    """Its own have claimed nothing; the report says so."""
    assert parity_session.not_claimed == ()
    path = tmp_path / "port.py"
    path.write_text(
        "import dataclasses, ebm.pair\n"
        "def sampler(model, images, steps, step_size, noise): return images\n"
        "side = dataclasses.replace(ebm.pair.port, generate_samples=sampler)\n"
    )
    with parity_session.with_port(str(path)) as session:
        assert session.not_claimed == ("refusals of generate_samples", "empty_batch")
        assert draw(session, FEW, 0).refusals == ("model", "train_step", "validate", "preprocess")
        assert session.claims("initialisation")
