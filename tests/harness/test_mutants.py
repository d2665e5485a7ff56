"""The harness can fail: each mutant of the port is red in the right check, and named."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import pytest

from ebm.mutants import EQUIVALENT, INTERACTIONS, MUTANTS
from parity.ask.session import Session
from parity.cli import main
from parity.draw.plan import Plan, draw
from parity.entries.runner import run_checks
from parity.errors import BadCall
from parity.explain.catalogue import CATALOGUE, NOTES, Recogniser
from parity.explain.causes import Cause, Explanation, Unexplained
from parity.explain.explain import explain
from parity.mutants import campaign
from parity.mutants import judge as judging
from parity.mutants.judge import LEAN, Judged, Mask, compare
from parity.mutants.mutant import Conflict, Interaction, Mutant, edited, interacting, write
from parity.mutants.reached import Reached
from tests.harness.conftest import Inside
from tests.harness.ports import ROOT, mutant
from tests.harness.test_cli import SCHEMA


@functools.cache
def once(session: Session) -> tuple[Plan, Reached]:
    return draw(session, LEAN, 0), Reached(session.pair.port, ROOT)


def judge(
    session: Session, mutants: Sequence[Mutant], folder: Path, masks: Sequence[Mask] = ()
) -> Judged:
    """As a campaign does: one plan for all ports, and none is asked what another has answered."""
    return judging.judge(session, mutants, folder, masks, *once(session))


@pytest.mark.few(4)
@pytest.mark.parametrize("chosen", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught_and_named(
    chosen: Mutant, parity_session: Session, tmp_path: Path
) -> None:
    judged = judge(parity_session, [chosen], tmp_path)
    assert set(chosen.red) <= set(judged.red), f"{chosen.name} is not seen: {judged}"
    assert not set(chosen.green) & set(judged.red), f"blamed on the wrong check: {judged}"
    assert judged.named, judged
    assert not judged.unexplained, judged


@pytest.mark.parametrize("names", EQUIVALENT, ids=" and ".join)
def test_mutants_that_are_the_reference_again_are_green(
    names: tuple[str, ...], parity_session: Session, tmp_path: Path
) -> None:
    judged = judge(parity_session, [mutant(name) for name in names], tmp_path, [Mask(())])
    assert judged.good, judged
    assert not judged.red


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "names",
    [
        ("padding 1 everywhere", "a layer left out"),
        ("kernels with H and W swapped", "kernels flipped"),
        ("images that see their batch", "energy for score"),
        ("a float32 literal", "no flatten permutation"),
        ("energies averaged before the gradient", "gradient clipped by norm"),
        ("noise added after the update", "noise drawn and thrown away"),
        ("gradients accumulate over steps", "gradient clipped by norm"),
        ("padding k // 2", "torch's Adam", "mode left in eval"),
        ("energy for score", "images go down the gradient"),
        ("the last result carries a graph", "sign of the loss flipped"),
        # Where no network lets a sampler run, the probe tells what noise it draws.
        ("a seeded generator made in each call", "a layer left out"),
        ("a seeded generator made in each call", "a step too many"),
        ("a seeded generator made in each call", "noise drawn and thrown away"),
        ("dense kernels reshaped, not transposed", "a layer left out"),
        # What adds nothing adds the same in every call.
        ("activations cut off from the graph", "noise drawn and thrown away"),
        ("every stored step the same tensor", "a layer left out"),
        ("every stored step the same tensor", "a step too many"),
        ("a convolution without a bias", "noise drawn and thrown away"),
    ],
    ids=" and ".join,
)
def test_faults_that_come_together_are_told_apart(
    names: tuple[str, ...], parity_session: Session, tmp_path: Path
) -> None:
    """Those of all pairs that once hid one another."""
    together = [mutant(name) for name in names]
    judged = judge(parity_session, together, tmp_path)
    assert judged.good, judged


@pytest.mark.few(0)
@pytest.mark.parametrize(
    "names",
    [("padding k // 2", "torch's Adam"), ("mode left in eval", "energy for score")],
    ids=" and ".join,
)
def test_what_is_known_of_a_port_is_what_it_answers(
    names: tuple[str, ...], parity_session: Session, tmp_path: Path
) -> None:
    """Network, sampler and training in other files: of a pair, much is known from each alone."""
    together = [mutant(name) for name in names]
    plan, _ = once(parity_session)
    known = Reached(parity_session.pair.port, ROOT)
    for number, one in enumerate(together):
        judging.judge(parity_session, [one], tmp_path / str(number), (), plan, known)
    given = known.given
    told = judging.judge(parity_session, together, tmp_path / "known", (), plan, known)
    assert known.given > given, "nothing was known"
    asked = judging.judge(parity_session, together, tmp_path / "asked", (), plan)
    assert dataclasses.replace(told, seconds=0.0) == dataclasses.replace(asked, seconds=0.0)


def test_the_port_itself_is_green_and_nothing_is_named_in_it(parity_session: Session) -> None:
    plan = draw(parity_session, LEAN, 0)
    checks = run_checks(parity_session, plan)
    assert [check.name for check in checks if not check.verdict.green] == []
    assert explain(parity_session, checks, plan) == Explanation()


def test_every_fault_of_the_catalogue_has_a_mutant_a_place_and_a_source() -> None:
    # What is only ever looked up by value has its ports in tests/programs.
    mutable = {id_ for id_, fault in CATALOGUE.items() if fault.by != (Recogniser.VALUE,)}
    assert {each.fault for each in MUTANTS} == mutable
    for fault in CATALOGUE.values():
        assert fault.where, fault.id
        assert fault.by, fault.id
        assert fault.source == NOTES or re.fullmatch(r"https://[\w.-]+/\S+", fault.source), fault.id


def test_the_notes_are_the_source_of_what_is_in_them_only() -> None:
    """Padding 1 is in them too, but as what is right: its source is a thread that says more."""
    from_notes = {fault.id for fault in CATALOGUE.values() if fault.source == NOTES}
    assert from_notes == {"gradient-mean", "gradient-not-tracked", "gradient-non-leaf"}


def test_what_recognises_a_fault_is_where_the_catalogue_says() -> None:
    """Its id stands in a module of each of its recognisers, and in none of another's."""
    said: dict[str, set[str]] = {}
    for recogniser in Recogniser:
        paths = [p for pattern in recogniser.modules for p in sources(pattern)]
        assert paths, recogniser
        for path in paths:
            said.setdefault(path, set()).update(
                fault.id for fault in CATALOGUE.values() if recogniser in fault.by
            )
    for fault in CATALOGUE.values():
        for recogniser in fault.by:
            found = {p for pattern in recogniser.modules for p in sources(pattern)}
            assert any(fault.id in strings(path) for path in found), (fault.id, recogniser)
    for path in (*sources("explain/*"), "parity/frameworks/torch/state.py"):
        # The catalogue has them all, and explain.py weighs those that others found.
        if path not in ("parity/explain/catalogue.py", "parity/explain/explain.py"):
            assert strings(path) & set(CATALOGUE) <= said.get(path, set()), path


def sources(pattern: str) -> list[str]:
    found = [p for p in (ROOT / "parity").glob(pattern) if p.suffix == ".py" or p.is_dir()]
    inner = [q for p in found for q in ([p] if p.is_file() else sorted(p.glob("*.py")))]
    return [str(p.relative_to(ROOT)) for p in inner]


def strings(path: str) -> set[str]:
    """The string literals of a module."""
    tree = ast.parse((ROOT / path).read_text())
    nodes = (n for n in ast.walk(tree) if isinstance(n, ast.Constant))
    return {n.value for n in nodes if isinstance(n.value, str)}


def test_a_harness_that_sees_nothing_would_be_seen(parity_session: Session, tmp_path: Path) -> None:
    """A mutant that changes nothing survives; one whose fault is another is misnamed."""
    same = Mutant(
        "nothing",
        "dtype",
        "port_torch/langevin.py",
        (("gradient_clip", "gradient_clip"),),
        (),
        where=("model",),
    )
    same = dataclasses.replace(
        same, replacements=((_line("port_torch/langevin.py"), _line("port_torch/langevin.py")),)
    )
    survivor = judge(parity_session, [same], tmp_path / "a")
    assert not survivor.caught
    assert survivor.missed == ("dtype at model",)
    other = dataclasses.replace(mutant("noise scale squared"), fault="step-size")
    misnamed = judge(parity_session, [other], tmp_path / "b")
    assert misnamed.caught
    noise = "generate_samples, the noise"
    assert misnamed.missed == (f"step-size at {noise}",)
    assert misnamed.wrong == (f"noise-scale at {noise}",)
    assert not misnamed.good
    elsewhere = dataclasses.replace(mutant("padding k // 2"), where=("conv1", "conv2", "conv5"))
    misplaced = judge(parity_session, [elsewhere], tmp_path / "c")
    assert misplaced.missed == ("padding-same at conv5",)
    assert misplaced.wrong == ("padding-same at conv3", "padding-same at conv4")


def _line(file: str) -> str:
    return (ROOT / file).read_text().splitlines()[0]


@pytest.mark.few(0)
def test_a_fault_that_nothing_shows_need_not_be_named(
    parity_session: Session, tmp_path: Path
) -> None:
    hidden, hiding = mutant("noise scale squared"), mutant("noise drawn and thrown away")
    alone = judge(parity_session, [hiding], tmp_path / "alone")
    mask = Mask((hiding,), alone.answers, alone.all_answers)
    both = judge(parity_session, [hidden, hiding], tmp_path / "both", [mask])
    assert both.visible == (hiding.name,)
    assert both.good
    unmasked = judge(parity_session, [hidden, hiding], tmp_path / "unmasked")
    assert unmasked.missed == ("noise-scale at generate_samples, the noise",)


def test_a_fault_that_only_the_probes_show_has_to_be_named(
    parity_session: Session, tmp_path: Path
) -> None:
    """Without its biases a port cannot be compared at all; its padding is seen by explanation."""
    hidden, hiding = mutant("padding 1 everywhere"), mutant("a convolution without a bias")
    alone = judge(parity_session, [hiding], tmp_path / "alone")
    mask = Mask((hiding,), alone.answers, alone.all_answers)
    both = judge(parity_session, [hidden, hiding], tmp_path / "both", [mask])
    assert both.answers == alone.answers
    assert both.masked == (hidden.name,)
    assert both.visible == both.mutants
    assert both.good
    found = campaign.Campaign((both,), (), (), {})
    assert (found.masked_share, found.invisible) == (1.0, [])


def test_readings_that_behave_alike_count_as_named() -> None:
    ids = (("gradient-mean", "step-size"),)
    cause = Cause("gradient-clip-range", "x", reading_ids=ids)
    mean, step = (
        mutant("energies averaged before the gradient"),
        mutant("the step times the batch size"),
    )
    assert compare([mean, step], [mean, step], Explanation((cause,))) == ((), ())
    assert compare([mean], [mean], Explanation((cause,))) == ((), (("step-size", ""),))


def test_what_is_left_unexplained_is_wrong_unless_it_is_allowed() -> None:
    named = Explanation(
        (Cause("padding-same", "conv1"),), (Unexplained("conv4", "nothing reproduces it"),)
    )
    one = dataclasses.replace(mutant("padding 1 everywhere"), where=("conv1",))
    assert compare([one], [one], named) == ((), (("unexplained", "conv4"),))
    allowing = dataclasses.replace(one, unexplained=(("conv4", "it has no size"),))
    assert compare([allowing], [allowing], named) == ((), ())
    together = Interaction((one.name,), "as above", unexplained=("conv4",))
    with_it = dataclasses.replace(one, interactions=(together,))
    assert compare([with_it], [with_it], named) == ((), ())
    other = dataclasses.replace(together, mutants=(one.name, "another"))
    with_it = dataclasses.replace(one, interactions=(other,))
    assert compare([with_it], [with_it], named) == ((), (("unexplained", "conv4"),))
    with pytest.raises(BadCall, match="interactions of \\['another'\\], which are no mutants"):
        interacting([one], [other])


def test_what_mutants_show_together_is_declared_with_a_reason() -> None:
    names = {each.name for each in MUTANTS}
    for each in INTERACTIONS:
        assert set(each.mutants) <= names, each
        assert each.why.strip(), each
        their_own = {named for name in each.mutants for named in mutant(name).named}
        assert set(each.gone) <= their_own, each


def test_mutants_that_edit_the_same_text_are_a_conflict(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="swish to relu and swish to gelu"):
        edited([mutant("swish to relu"), mutant("swish to gelu")], ROOT)


def test_a_mutant_that_does_not_fit_its_port_is_refused_by_name(tmp_path: Path) -> None:
    edit = (("no such text", ""),)
    lost = Mutant("lost", "dtype", "port_torch/langevin.py", edit, (), where=("model",))
    with pytest.raises(BadCall, match=r"'lost' does not fit port_torch/langevin\.py"):
        write([lost], ROOT, tmp_path)
    with pytest.raises(BadCall, match="fault 'no-such-fault' is not in the catalogue"):
        dataclasses.replace(lost, fault="no-such-fault")
    with pytest.raises(BadCall, match=r"must be 'package/module\.py'"):
        dataclasses.replace(lost, file="langevin.py")
    with pytest.raises(BadCall, match="say where its fault must be named"):
        dataclasses.replace(lost, where=())


def test_what_counts_as_good() -> None:
    def judged(names: str, **changes: object) -> Judged:
        each = tuple(names)
        plain = Judged(each, each, each, ("energies",), each)
        return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]

    def good(*all_judged: Judged) -> bool:
        return campaign.Campaign(all_judged, (), (), {}).good

    assert good(judged("a"), judged("ab"), judged("abc"))
    assert not good(judged("a", red=()))
    assert not good(judged("ab", missed=("b",)))
    triples = [judged("abc")] * 49
    missing = judged("abc", missed=("b",), unnamed=("b",))
    assert good(*triples, missing)
    assert not good(*triples[:10], missing)
    assert not good(*triples, judged("abc", wrong=("z",)))
    assert good(judged("ab", visible=("a",)), judged("ab", visible=(), red=()))
    assert not good(judged("ab", visible=()))


@pytest.fixture
def recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pairs here have the project's reference: what it answers is recorded for that one."""
    record = functools.cache(campaign.record)
    monkeypatch.setattr(campaign, "record", lambda _, *options: record("ebm.pair:pair", *options))


@pytest.mark.few(0)
@pytest.mark.usefixtures("recorded_once")
def test_the_command_judges_and_reports(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three mutants of a pair of its own, and a survivor."""
    monkeypatch.chdir(ROOT)
    report, page = tmp_path / "report.json", tmp_path / "matrix.md"
    options = ["--jobs", "1", "--json", str(report), "--matrix", str(page)]
    assert main(["mutants", "tests.harness.few_mutants:pair", *options]) == 0
    assert "single faults: 3, of which 3 caught and 3 named" in capfd.readouterr().out
    written = json.loads(report.read_text())
    jsonschema.validate(written, SCHEMA)
    first = written["mutants"][0]
    assert (first["id"], first["faults"]) == ("padding 1 everywhere", ["padding-same"])
    assert (first["caught"], first["named"]) == (True, True)
    places = "conv1, conv2, conv3, conv4"
    assert f"| padding 1 everywhere | `padding-same` at {places} | x |" in page.read_text()
    assert main(["mutants", "tests.harness.few_mutants:bad", "--depth", "1", "--jobs", "1"]) == 1
    said = capfd.readouterr().out
    assert "padding 1 everywhere: not named: dtype at conv1, dtype at conv2" in said
    assert "wrongly named or left: padding-same at conv1, padding-same at conv2" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["--sample", "0"], "--sample must be at least 1, got 0"),
        (["--depth", "4"], "invalid choice: 4"),
        (["ebm.settings:PUBLISHED"], "declares no mutants"),
        (["--matrix", "no/such/folder/x.md"], "the folder no/such/folder does not exist"),
    ],
)
def test_a_wrong_call_of_mutants(arguments: list[str], message: str, parity_inside: Inside) -> None:
    ran = parity_inside("mutants", *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
