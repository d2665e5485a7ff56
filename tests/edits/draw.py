"""Which edits are judged: a number of them, drawn from a seed over all files of the port."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.edits.sites import Edit, digest, is_another_program, sites

PORT = "port_torch"
SEED = 0

SHARES = {
    "constant": 100,
    "operator": 60,
    "argument": 55,
    "comparison": 30,
    "boolean": 15,
    "string": 20,
    "name": 20,
}
"""How many of each kind. A name of another type or an argument too few mostly raises at once, and
there are ten of those for each number that could be slightly wrong: these come first here."""

COUNT = sum(SHARES.values())


def drawn(root: Path, seed: int = SEED) -> list[Edit]:
    """Edits of the port, by file and line; of each kind one for each place before any has two.

    An edit's place in the draw is decided by what it says and not by how many there are, so that
    a line that is added to the port changes few of them.
    """
    files = sorted((root / PORT).glob("*.py"))
    sources = {path.relative_to(root).as_posix(): path.read_text() for path in files}
    places = [p for name, source in sources.items() for p in sites(name, source, seed)]
    places.sort(key=lambda place: digest(seed, "place", place[0].name))
    edits: list[Edit] = []
    for kind, share in SHARES.items():
        rounds = itertools.zip_longest(*(place for place in places if place[0].kind == kind))
        some = (edit for each in rounds for edit in each if edit is not None)
        others = (edit for edit in some if is_another_program(edit, sources[edit.file]))
        edits += itertools.islice(others, share)
    return sorted(edits, key=lambda edit: (edit.file, edit.start, edit.end, edit.new))
