"""What a page says before its evidence: the verdict, causes, checks and failures, as views."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from parity.explain.catalogue import CATALOGUE
from parity.tell.render import numbers
from parity.tell.render.reading import Node
from parity.verdict.comparison import Verdict


@dataclasses.dataclass(frozen=True)
class Banner:
    """What a reader sees first."""

    green: bool
    verdict: Verdict
    pair: str
    sentence: str
    facts: tuple[tuple[str, str], ...]
    narrowed: tuple[str, ...]
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class CauseView:
    """A named cause; ``title`` and ``source`` are the catalogue's."""

    id: str
    title: str
    source: str
    where: str
    place: str
    fix: str
    evidence: str
    reading: str
    before: float | None
    after: float | None


@dataclasses.dataclass(frozen=True)
class Passage:
    """Lines of a message: prose, or what can be copied and run."""

    code: bool
    text: str


@dataclasses.dataclass(frozen=True)
class CheckView:
    name: str
    verdict: Verdict
    accepted: str
    cases: int
    residual: float | None
    floor: float | None
    error_ratio: float | None
    measured: bool
    headline: str
    message: tuple[str, ...]
    reproduction: tuple[Passage, ...]
    accept: tuple[Passage, ...]
    notes: tuple[str, ...]


def banner(report: Node, checks: Sequence[CheckView], causes: Sequence[CauseView]) -> Banner:
    verdict, problems = report["verdict"].verdict(), report.get("problems").texts()
    total = report["seconds"].get("total").number()
    seed = report.get("seed")
    facts = [
        ("pair", report["pair"].text()),
        ("port", report.get("port").text("")),
        ("reference", report.get("reference").text("")),
        ("golden", report.get("golden").text("")),
        ("profile", report.get("profile").text("")),
        ("seed", "" if seed.value is None else str(seed.whole())),
        ("not declared", ", ".join(report.get("not_declared").texts())),
        ("not claimed", ", ".join(report.get("not_claimed").texts())),
        ("took", "" if total is None else f"{numbers.short(total)} s"),
    ]
    return Banner(
        green=verdict.green and not problems,
        verdict=verdict,
        pair=report["pair"].text(),
        sentence=_sentence(checks, causes),
        facts=tuple((name, value) for name, value in facts if value),
        narrowed=tuple(report.get("narrowed").texts()),
        problems=tuple(problems),
    )


def _sentence(checks: Sequence[CheckView], causes: Sequence[CauseView]) -> str:
    """How many checks are green, which is the first that is not, and how many causes are known."""
    red = [check for check in checks if not check.verdict.green and not check.accepted]
    accepted = sum(bool(check.accepted) for check in checks)
    if not checks:
        return "No check was run."
    if not red and accepted:
        return f"{_counted(len(checks), 'check')}: {accepted} accepted, the others green."
    if not red:
        return f"{_counted(len(checks), 'check')}, each of them green."
    found = (
        f"{len(red)} of {_counted(len(checks), 'check')} "
        f"{'is' if len(red) == 1 else 'are'} not green; the first is {red[0].name}."
    )
    if causes:
        found += f" {_counted(len(causes), 'cause')} found."
    return found


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _capital(title: str) -> str:
    """As a heading; a name of the code keeps its own letters."""
    return title[:1].upper() + title[1:] if title.split()[0].isalpha() else title


def cause(node: Node) -> CauseView:
    fault = CATALOGUE.get(node["id"].text())
    return CauseView(
        id=node["id"].text(),
        title=node["id"].text() if fault is None else _capital(fault.title),
        source="" if fault is None else fault.source,
        where=node["where"].text(),
        place=node.get("place").text(""),
        fix=node["fix"].text(),
        evidence=node.get("evidence").text(""),
        reading=node.get("reading").text(""),
        before=node["residual_before"].number(),
        after=node["residual_after"].number(),
    )


def check(node: Node) -> CheckView:
    name, verdict = node["name"].text(), node["verdict"].verdict()
    return CheckView(
        name=name,
        verdict=verdict,
        accepted=node.get("accepted").text(""),
        cases=node["cases"].whole(),
        residual=node["residual"].number(),
        floor=node["floor"].number(),
        error_ratio=node["error_ratio"].number(),
        measured=bool(node.get("worst")),
        headline=node.get("headline").text("") or f"{name}: {verdict}",
        message=tuple(node.get("message").texts() or _fallback(node)),
        reproduction=tuple(_passages(node.get("reproduction").texts())),
        accept=tuple(_passages(node.get("accept").texts())),
        notes=tuple(_notes(node.get("notes"))),
    )


def _fallback(node: Node) -> Iterator[str]:
    """What an older report, which holds no message, says of a failure."""
    if node.get("problem"):
        yield node.get("problem").text()
    first = node.get("first_divergence")
    if first and first.get("array"):
        yield f"first at {first['array'].text()}"
    if first and first.get("size"):
        yield (
            f"{first['mismatched'].whole()} of {first['size'].whole()} elements differ by more "
            "than the bound"
        )
    worst = node.get("worst")
    if worst:
        place = ", ".join(str(index.whole()) for index in worst["index"].items())
        reference, port = worst["reference"].number(), worst["port"].number()
        yield (
            f"worst at [{place}]: reference {numbers.short(reference, 17)}, "
            f"port {numbers.short(port, 17)}"
        )


def _passages(lines: Iterable[str]) -> Iterator[Passage]:
    """Commands and indented code, apart from the words around them."""
    code: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("    "):
            code.append(line)
            continue
        if code:
            yield Passage(True, textwrap.dedent("\n".join(code)))
            code = []
        label, _, rest = line.partition(": ")
        if rest and " " not in label:
            yield Passage(False, label)
            yield Passage(True, rest)
        elif line:
            yield Passage(False, line)


def _notes(notes: Node) -> Iterator[str]:
    """The horizon of free-running trajectories, and what each clip changed."""
    if not notes:
        return
    if notes.get("longest_horizon"):
        yield (
            f"{notes['steps_within_horizon'].whole()} of {notes['steps'].whole()} steps lie within "
            f"the horizon, the longest is {notes['longest_horizon'].whole()} steps"
        )
    clips = [
        f"{clip} {(share.number() or 0.0):.1%}" for clip, share in notes.get("clips").entries()
    ]
    if clips:
        yield f"most elements changed by each clip in one case: {', '.join(clips)}"


def said(node: Node) -> str:
    return numbers.NOTHING if node.value is None else str(node.value)
