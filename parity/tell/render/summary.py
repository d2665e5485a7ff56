"""A report as a few lines of Markdown, for the summary of a CI job."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from parity.tell.messages import not_asked, not_exercised_lines
from parity.verdict.comparison import Verdict

MOST_FAILURES = 3


def to_markdown(report: Mapping[str, Any]) -> str:
    """Verdict, causes with their fixes, the table of checks, and the first failures."""
    return "\n".join(_lines(report)) + "\n\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    problems = report.get("problems", ())
    good = Verdict(report["verdict"]).green and not problems
    word = "PARITY" if good else "NO PARITY"
    yield f"## {'✅' if good else '❌'} {word}: {report['verdict']}"
    yield ""
    yield _subject(report)
    for problem in problems:
        yield f"\n**{_plain(problem)}**"
    said = not_asked(report.get("not_declared", ()), report.get("not_claimed", ()))
    for remark in (*said, *report.get("remarks", ())):
        yield f"\n{_plain(remark)}"
    for line in not_exercised_lines(report.get("not_exercised", ())):
        yield f"\n{_plain(line)}"
    for number, cause in enumerate(report["causes"], start=1):
        place = f" at {_code(cause['place'])}" if cause.get("place") else ""
        yield f"\n### Cause {number}: {_plain(cause['id'])}, {_plain(cause['where'])}{place}\n"
        yield f"Mend: {_code(cause['fix'])}"
        if cause.get("evidence"):
            yield f"\n{_plain(cause['evidence'])}"
    for left in report.get("unexplained", ()):
        yield f"\n### Unexplained: {_plain(left['where'])}\n\n{_plain(left['evidence'])}"
    if not good and report.get("attribution"):
        yield f"\nSince the golden was recorded: {_plain(report['attribution'])}"
    for margin in report.get("margins", ()):
        if margin["worse"]:
            yield (
                f"\nMargin of {_code(margin['check'])}: {margin['now']:.3g} noise floors, "
                f"{margin['recorded']:.3g} recorded; 64 are allowed"
            )
    yield "\n| check | verdict | cases | residual | floor | error ratio |"
    yield "|---|---|--:|--:|--:|--:|"
    for check in report["checks"]:
        sign = _sign(Verdict(check["verdict"]))
        verdict = f"{check['verdict']} (accepted)" if check["accepted"] else check["verdict"]
        numbers = [_number(check[name]) for name in ("residual", "floor")]
        if check["worst"] is None:
            numbers = ["-", "-"]
        ratio = "-" if check["error_ratio"] is None else _number(check["error_ratio"], ".2f")
        cells = [_code(check["name"]), f"{sign} {verdict}", str(check["cases"]), *numbers, ratio]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    red = [c for c in report["checks"] if not Verdict(c["verdict"]).green and not c["accepted"]]
    red.sort(key=lambda check: check["verdict"] == Verdict.UNCHECKED)
    for check in red[:MOST_FAILURES]:
        lines = [*check.get("message", ()), *check.get("reproduction", ())]
        title = html.escape(" ".join(str(check.get("headline") or check["name"]).split()))
        yield f"\n<details><summary>{title}</summary>\n\n<pre>"
        yield html.escape("\n".join(lines))
        yield "</pre>\n</details>"
    if len(red) > MOST_FAILURES:
        yield f"\nand {len(red) - MOST_FAILURES} more"


def _sign(verdict: Verdict) -> str:
    return "✅" if verdict.green else "⚠️" if verdict is Verdict.UNCHECKED else "❌"


def _subject(report: Mapping[str, Any]) -> str:
    parts = [_code(report["pair"])]
    parts += [f"port {_code(report['port'])}"] if report.get("port") else []
    if report.get("golden"):
        parts.append(f"against the golden {_code(report['golden'])}")
    parts.append(f"profile {report.get('profile')}, seed {report.get('seed')}")
    if report.get("narrowed"):
        parts.append(f"only {', '.join(report['narrowed'])}")
    parts.append(f"{report.get('seconds', {}).get('total', 0.0):.1f} s")
    return ", ".join(parts)


def _plain(text: str) -> str:
    """Text that neither Markdown nor HTML takes for anything else, on one line."""
    escaped = re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", html.escape(text, quote=False))
    return " ".join(escaped.split())


def _code(text: str) -> str:
    """Text as code; fenced by more back-quotes than it holds in a row."""
    text = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _number(value: float | str, form: str = ".1e") -> str:
    return value if isinstance(value, str) else format(value, form)
