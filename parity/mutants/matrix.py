"""What became of a port's mutants: the kill matrix, fault by check, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parity.entries.registry import CHECKS
from parity.mutants.campaign import CLAIMS, Campaign
from parity.mutants.judge import Judged


def print_campaign(campaign: Campaign, console: Console, seconds: float) -> None:
    """The matrix, the counts, and everything that is not as it should be."""
    console.print(_table(campaign))
    for number, check in enumerate(CHECKS, start=1):
        console.print(f"{number:>3} {check}", style="dim")
    console.print()
    for line in counts(campaign):
        console.print(line, soft_wrap=True)
    for line in problems(campaign):
        console.print(line, style="red", markup=False, soft_wrap=True)
    word, style = ("CAUGHT AND NAMED", "bold green") if campaign.good else ("NOT ALL", "bold red")
    console.print(
        f"[{style}]{word}[/]: {len(campaign.judged)} ports, {seconds:.0f} s", soft_wrap=True
    )


def _table(campaign: Campaign) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("mutant")
    table.add_column("fault")
    for number in range(1, len(CHECKS) + 1):
        table.add_column(str(number), justify="center")
    for judged in campaign.of_size(1):
        style = "" if judged.good else "bold red"
        marks = ["x" if check in judged.red else "." for check in CHECKS]
        table.add_row(escape(judged.mutants[0]), judged.faults[0], *marks, style=style)
    return table


def counts(campaign: Campaign) -> Iterator[str]:
    """One line for each number of faults, then what was not counted."""
    sizes = sorted({len(judged.mutants) for judged in campaign.judged if judged.visible})
    for size in sizes:
        judged = campaign.of_size(size)
        caught = sum(j.caught for j in judged)
        named = sum(j.named for j in judged)
        claim = CLAIMS.get(size, f"{size} faults")
        yield (
            f"{claim}: {len(judged)}, of which {caught} caught and {named} named; "
            f"{campaign.named_share(size):.1%} of their faults named"
        )
    if campaign.masked:
        yield (
            f"{len(campaign.masked)} combinations answer every check as a smaller one does, and "
            f"only the probes of explanation show the rest: {campaign.masked_share:.1%} of these "
            "faults named"
        )
    if campaign.invisible:
        yield (
            f"{len(campaign.invisible)} combinations answer every check and every probe as a "
            "smaller one does, so that only the faults of the smaller one could be named"
        )
    if campaign.conflicts:
        yield f"{len(campaign.conflicts)} combinations edit the same text: no port can have both"
    for same in campaign.equivalent:
        yield f"the reference's program, and green: {' + '.join(same.mutants)}"


def problems(campaign: Campaign) -> Iterator[str]:
    """What is not as it should be, one line each."""
    for judged in campaign.bad:
        yield f"{' + '.join(judged.mutants)}: {_wrong(judged)}"


def _wrong(judged: Judged) -> str:
    if not judged.visible:
        return f"should be green, but {', '.join(judged.red) or ', '.join(judged.found)} is not"
    parts = [] if judged.caught else ["survives: no check is red"]
    if judged.missed:
        parts.append(f"not named: {', '.join(judged.missed)}")
    if judged.wrong:
        parts.append(f"wrongly named or left: {', '.join(judged.wrong)}")
    return "; ".join(parts)


def to_markdown(campaign: Campaign, pair: str) -> str:
    """The matrix as a page."""
    lines = [
        "# Kill matrix",
        "",
        f"Written by `parity mutants {pair} --matrix FILE`. Each mutant is the port with one fault "
        "put into it; `x` marks a check that goes red.",
        "",
        *(f"- {line}" for line in counts(campaign)),
        *(f"- **{line}**" for line in problems(campaign)),
        "",
        *(f"{number}. `{check}`" for number, check in enumerate(CHECKS, start=1)),
        "",
        "| mutant | fault named | " + " | ".join(str(n + 1) for n in range(len(CHECKS))) + " |",
        "|---|---|" + ":-:|" * len(CHECKS),
    ]
    for judged in campaign.of_size(1):
        marks = ["x" if check in judged.red else "" for check in CHECKS]
        lines.append(f"| {judged.mutants[0]} | {_named(judged)} | {' | '.join(marks)} |")
    pairs = [judged for judged in campaign.masked if len(judged.mutants) == 2]
    if pairs:
        lines += [
            "",
            "## Masked from the checks",
            "",
            "Pairs that answer every check as one of them does alone. The probes of explanation "
            "show the other too, and it has to be named.",
            "",
            "| pair | shows to the probes alone | named |",
            "|---|---|:-:|",
        ]
        lines += [
            f"| {' + '.join(judged.mutants)} | {' + '.join(judged.masked)} | "
            f"{'' if set(judged.masked) & set(judged.unnamed) else 'x'} |"
            for judged in pairs
        ]
    pairs = [judged for judged in campaign.invisible if len(judged.mutants) == 2]
    if pairs:
        lines += [
            "",
            "## Invisible",
            "",
            "Pairs that answer every check and every probe as the fault on the right does alone: "
            "noise that is thrown away has no scale, and a sampler that raises no step.",
            "",
            "| pair | what shows |",
            "|---|---|",
        ]
        lines += [
            f"| {' + '.join(judged.mutants)} | {' + '.join(judged.visible)} |" for judged in pairs
        ]
    return "\n".join(lines) + "\n"


def _named(judged: Judged) -> str:
    """Each id that was named, and where."""
    places: dict[str, list[str]] = {}
    for found in judged.found:
        id_, _, where = found.partition(" at ")
        places.setdefault(id_, []).append(where)
    return "; ".join(f"`{id_}` at {', '.join(where)}" for id_, where in places.items())
