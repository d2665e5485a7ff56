"""The harness can fail: each mutant of the port is red in the right check, and named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest

from ebm.mutants import EQUIVALENT, MUTANTS
from parity.errors import BadCall
from parity.explain.catalogue import CATALOGUE
from parity.explain.causes import Cause, Explanation
from parity.explain.explain import explain
from parity.mutants import campaign
from parity.mutants.judge import LEAN, Judged, compare, judge
from parity.mutants.mutant import Conflict, Mutant, edited, write
from parity.plan import draw
from parity.runner import run_checks
from parity.session import Session
from tests.harness.ports import ROOT, mutant
from tests.harness.test_cli import SCHEMA, parity


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
    judged = judge(parity_session, [mutant(name) for name in names], tmp_path, [((), None)])
    assert judged.good, judged
    assert not judged.red


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
    ],
    ids=" and ".join,
)
def test_faults_that_come_together_are_told_apart(
    names: tuple[str, ...], parity_session: Session, tmp_path: Path
) -> None:
    """Those of all pairs that once hid one another."""
    judged = judge(parity_session, [mutant(name) for name in names], tmp_path)
    assert judged.good, judged


def test_the_port_itself_is_green_and_nothing_is_named_in_it(parity_session: Session) -> None:
    plan = draw(parity_session, LEAN, 0)
    checks = run_checks(parity_session, plan)
    assert [check.name for check in checks if not check.verdict.green] == []
    assert explain(parity_session, checks, plan) == Explanation()


def test_every_fault_of_the_catalogue_has_a_mutant() -> None:
    assert {each.fault for each in MUTANTS} == set(CATALOGUE)


def test_a_harness_that_sees_nothing_would_be_seen(parity_session: Session, tmp_path: Path) -> None:
    """A mutant that changes nothing survives; one whose fault is another is misnamed."""
    same = Mutant(
        "nothing", "dtype", "port_torch/langevin.py", (("gradient_clip", "gradient_clip"),), ()
    )
    same = dataclasses.replace(
        same, replacements=((_line("port_torch/langevin.py"), _line("port_torch/langevin.py")),)
    )
    survivor = judge(parity_session, [same], tmp_path / "a")
    assert not survivor.caught
    assert survivor.missed == ("dtype",)
    other = dataclasses.replace(mutant("noise scale squared"), fault="step-size")
    misnamed = judge(parity_session, [other], tmp_path / "b")
    assert misnamed.caught
    assert (misnamed.missed, misnamed.wrong) == (("step-size",), ("noise-scale",))
    assert not misnamed.good


def _line(file: str) -> str:
    return (ROOT / file).read_text().splitlines()[0]


def test_a_masked_fault_need_not_be_named(parity_session: Session, tmp_path: Path) -> None:
    hidden, hiding = mutant("noise scale squared"), mutant("noise drawn and thrown away")
    alone = judge(parity_session, [hiding], tmp_path / "alone")
    both = judge(parity_session, [hidden, hiding], tmp_path / "both", [((hiding,), alone.answers)])
    assert both.visible == (hiding.name,)
    assert both.good
    unmasked = judge(parity_session, [hidden, hiding], tmp_path / "unmasked")
    assert unmasked.missed == ("noise-scale",)


def test_readings_that_behave_alike_count_as_named() -> None:
    cause = Cause("gradient-clip-range", "x", reading_ids=(("gradient-mean", "step-size"),))
    mean, step = (
        mutant("energies averaged before the gradient"),
        mutant("the step times the batch size"),
    )
    assert compare([mean, step], [mean, step], Explanation((cause,))) == ((), ())
    assert compare([mean], [mean], Explanation((cause,))) == ((), ("step-size",))


def test_mutants_that_edit_the_same_text_are_a_conflict(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="swish to relu and swish to gelu"):
        edited([mutant("swish to relu"), mutant("swish to gelu")], ROOT)


def test_a_mutant_that_does_not_fit_its_port_is_refused_by_name(tmp_path: Path) -> None:
    lost = Mutant("lost", "dtype", "port_torch/langevin.py", (("no such text", ""),), ())
    with pytest.raises(BadCall, match=r"'lost' does not fit port_torch/langevin\.py"):
        write([lost], ROOT, tmp_path)
    with pytest.raises(BadCall, match="fault 'no-such-fault' is not in the catalogue"):
        dataclasses.replace(lost, fault="no-such-fault")
    with pytest.raises(BadCall, match=r"must be 'package/module\.py'"):
        dataclasses.replace(lost, file="langevin.py")


def test_what_counts_as_good() -> None:
    def judged(names: str, **changes: object) -> Judged:
        each = tuple(names)
        plain = Judged(each, each, each, ("energies",), each, (), (), (), "", 0.0)
        return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]

    def good(*all_judged: Judged) -> bool:
        return campaign.Campaign(all_judged, (), (), {}).good

    assert good(judged("a"), judged("ab"), judged("abc"))
    assert not good(judged("a", red=()))
    assert not good(judged("ab", missed=("b",)))
    triples = [judged("abc")] * 49
    assert good(*triples, judged("abc", missed=("b",)))
    assert not good(*triples[:10], judged("abc", missed=("b",)))
    assert not good(*triples, judged("abc", wrong=("z",)))
    assert good(judged("ab", visible=("a",)), judged("ab", visible=(), red=()))
    assert not good(judged("ab", visible=()))


def test_the_command_judges_and_reports(tmp_path: Path) -> None:
    """Three mutants of a pair of its own, and a survivor."""
    (tmp_path / "few.py").write_text(
        "import dataclasses\nfrom ebm.mutants import MUTANTS\nfrom ebm.pair import pair as whole\n"
        "FEW = tuple(MUTANTS[:3])\n"
        "BAD = (dataclasses.replace(MUTANTS[0], fault='dtype'),)\n"
        "pair = dataclasses.replace(whole, mutants='few:FEW', equivalent=None)\n"
        "bad = dataclasses.replace(whole, mutants='few:BAD', equivalent=None)\n"
    )
    report, page = tmp_path / "report.json", tmp_path / "matrix.md"
    environment = {"PYTHONPATH": str(tmp_path)}
    options = ["--json", str(report), "--matrix", str(page)]
    ran = parity("mutants", "few:pair", *options, environment=environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "single faults: 3, of which 3 caught and 3 named" in ran.stdout
    written = json.loads(report.read_text())
    jsonschema.validate(written, SCHEMA)
    first = written["mutants"][0]
    assert (first["id"], first["faults"]) == ("padding 1 everywhere", ["padding-same"])
    assert (first["caught"], first["named"]) == (True, True)
    assert "| padding 1 everywhere | `padding-same` | x |" in page.read_text()
    ran = parity("mutants", "few:bad", "--depth", "1", environment=environment)
    assert ran.returncode == 1
    assert "padding 1 everywhere: not named: dtype; wrongly named: padding-same" in ran.stdout


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
def test_a_wrong_call_of_mutants(arguments: list[str], message: str) -> None:
    ran = parity("mutants", *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
