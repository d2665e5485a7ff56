"""What CI reads: JUnit XML, the Markdown summary, GitHub's annotations. All from a JSON report."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import jsonschema
import pytest

from parity.tell.render.github import annotations
from parity.tell.render.junit import to_xml
from parity.tell.render.summary import to_markdown
from tests.harness.small_reports import HARM, cause, check, red, report
from tests.harness.test_cli import SCHEMA


def test_the_fixtures_are_reports() -> None:
    jsonschema.validate(report(), SCHEMA)
    jsonschema.validate(red(), SCHEMA)


def suite(document: dict[str, object]) -> ElementTree.Element:
    (found,) = ElementTree.fromstring(to_xml(document))
    return found


def test_junit_has_a_case_for_each_check() -> None:
    found = suite(report(check(), check("losses")))
    assert [case.get("name") for case in found] == ["energies", "losses"]
    assert found.attrib["tests"] == "2"
    assert found.attrib["failures"] == "0"
    assert found[0].get("time") == "0.250"


def test_junit_fails_what_is_not_green_and_skips_what_is_waived() -> None:
    found = suite(red())
    assert (found.get("tests"), found.get("failures"), found.get("skipped")) == ("3", "1", "1")
    failure = found.find("testcase[@name='samples_teacher_forced']/failure")
    assert failure is not None
    assert failure.get("type") == "divergent"
    assert failure.get("message") == "samples_teacher_forced: divergent"
    assert "3 of 3 elements differ" in str(failure.text)
    assert "reproduce: parity check m:p" in str(failure.text)
    assert found.find("testcase[@name='energies']/failure") is None
    skipped = found.find("testcase[@name='losses']/skipped")
    assert skipped is not None
    assert skipped.get("message") == "known"
    assert "mend: torch.autograd.grad(scores.sum(), images)" in str(found.findtext("system-out"))


@pytest.mark.parametrize("verdict", ["unchecked", "imprecise", "divergent", "invalid"])
def test_every_verdict_that_is_not_green_fails(verdict: str) -> None:
    document = report(check(verdict=verdict), verdict=verdict)
    assert suite(document).get("failures") == "1"
    assert f"NO PARITY: {verdict}" in to_markdown(document)
    assert len(list(annotations(document))) == 1


def test_problems_fail_though_every_check_is_green() -> None:
    document = report(problems=["accept entry for energies at '' is unused: remove it"])
    assert suite(document).get("failures") == "1"
    assert "NO PARITY: rounding" in to_markdown(document)
    assert "is unused: remove it" in to_markdown(document)
    assert list(annotations(document)) == [
        "::error title=parity::accept entry for energies at '' is unused: remove it"
    ]


def test_the_summary_names_verdict_cause_place_fix_and_numbers() -> None:
    text = to_markdown(red(attribution="a regression of the port"))
    for part in (
        "## ❌ NO PARITY: divergent",
        "### Cause 1: gradient-mean, generate\\_samples, the gradient at "
        "`port_torch/langevin.py:71`",
        "Mend: `torch.autograd.grad(scores.sum(), images)`",
        "Since the golden was recorded: a regression of the port",
        "| `energies` | ✅ rounding | 3 | 1.0e-15 | 2.0e-16 | 0.50 |",
        "| `losses` | ❌ divergent (accepted) | 3 |",
        "<details><summary>samples_teacher_forced: divergent</summary>",
    ):
        assert part in text
    assert "## ✅ PARITY: rounding" in to_markdown(report())


def test_annotations_point_at_the_line_and_escape_what_github_reads() -> None:
    (line,) = annotations(red())
    assert line == (
        "::error file=port_torch/langevin.py,line=71,title=parity%3A gradient-mean%2C "
        "generate_samples%2C the gradient::mend: torch.autograd.grad(scores.sum(), images)%0A"
        "reduction: mean"
    )
    raised = check(verdict="invalid", place="port.py:3")
    (line,) = annotations(report(raised, verdict="invalid"))
    assert line.startswith("::error file=port.py,line=3,title=parity%3A energies::3 of 3 elements")
    assert list(annotations(report())) == []


def test_a_worse_margin_warns() -> None:
    margin = {"check": "energies", "recorded": 1.0, "now": 20.0, "factor": 20.0, "worse": True}
    document = report(margins=[margin])
    assert list(annotations(document)) == [
        "::warning title=parity%3A margin of energies::1 -> 20 noise floors of 64"
    ]
    assert "Margin of `energies`: 20 noise floors, 1 recorded" in to_markdown(document)
    fine = report(margins=[{**margin, "now": 2.0, "worse": False}])
    assert list(annotations(fine)) == []
    assert "Margin" not in to_markdown(fine)


def harmful() -> dict[str, object]:
    """A report whose every text means harm."""
    return report(
        check(HARM, "invalid", headline=HARM, message=[HARM], reproduction=[HARM], place=HARM),
        verdict="invalid",
        pair=HARM,
        problems=[HARM],
        causes=[cause(id=HARM, where=HARM, fix=HARM, evidence=HARM, place=HARM)],
        unexplained=[{"where": HARM, "evidence": HARM}],
        attribution=HARM,
    )


def test_text_of_a_port_stays_text() -> None:
    found = suite(harmful())
    assert "<script>alert('c')</script>" in str(found.get("name"))
    assert "\x00" not in to_xml(harmful()).decode()
    markdown = to_markdown(harmful())
    outside_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", markdown)
    assert "<script>" not in outside_code
    as_markdown = re.sub("<(pre|summary)>.*?</\\1>", "", outside_code, flags=re.DOTALL)
    assert "](x)" not in as_markdown.replace("\\]", "")
    for line in annotations(harmful()):
        assert "\n" not in line
        assert line.count("::error") == 1 + line.split("::", 2)[2].count("::error")


def test_that_test_can_fail() -> None:
    assert "<script>" in HARM
    assert "\n" in HARM
