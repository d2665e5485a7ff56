"""A report as JUnit XML, which every CI server shows: one test case for each check.

The format: https://github.com/testmoapp/junitxml
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from parity.verdict.comparison import Verdict

#: What XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_xml(report: Mapping[str, Any]) -> bytes:
    """The JUnit document of a JSON report.

    A check that is not green is a failure, ``unchecked`` too; one that is waived is skipped. What
    else keeps the run from being green is a case of its own.
    """
    checks, problems = report["checks"], report.get("problems", ())
    failures = sum(_failed(check) for check in checks) + len(problems)
    skipped = sum(bool(check["accepted"]) for check in checks)
    seconds = report.get("seconds", {})
    suite = ElementTree.Element(
        "testsuite",
        name=_legal(f"parity {report['pair']}"),
        tests=str(len(checks) + len(problems)),
        failures=str(failures),
        errors="0",
        skipped=str(skipped),
        time=f"{seconds.get('total', 0.0):.3f}",
    )
    for check in checks:
        case = _case(suite, report, check["name"], seconds.get(check["name"], 0.0))
        lines = [*check.get("message", ()), *check.get("reproduction", ())]
        if check["accepted"]:
            ElementTree.SubElement(case, "skipped", message=_legal(check["accepted"]))
        elif _failed(check):
            _fail(case, check["verdict"], check.get("headline", check["name"]), lines)
    for number, problem in enumerate(problems, start=1):
        _fail(_case(suite, report, f"problem {number}", 0.0), "problem", problem, [])
    if causes := report["causes"]:
        text = "\n\n".join(
            f"{cause['id']}, {cause['where']}\nmend: {cause['fix']}\n{cause.get('evidence', '')}"
            for cause in causes
        )
        ElementTree.SubElement(suite, "system-out").text = _legal(text)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    data: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _failed(check: Mapping[str, Any]) -> bool:
    return not Verdict(check["verdict"]).green and not check["accepted"]


def _case(
    suite: ElementTree.Element, report: Mapping[str, Any], name: str, seconds: float
) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite,
        "testcase",
        classname=_legal(f"parity.{report['pair']}"),
        name=_legal(name),
        time=f"{seconds:.3f}",
    )


def _fail(case: ElementTree.Element, kind: str, message: str, lines: list[str]) -> None:
    failure = ElementTree.SubElement(case, "failure", type=kind, message=_legal(message))
    failure.text = _legal("\n".join(lines))


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
