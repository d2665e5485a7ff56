"""One process for each side, for all pairs: programs take their places in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parity.declare.inputs import InputSpec
from parity.entries.programs.pair import ProgramPair

PAIRS = Path(__file__).parent / "pairs"

Open = Callable[..., ProgramPair]


@pytest.fixture(scope="session")
def opened() -> Iterator[Open]:
    """``opened(reference, port, *inputs)`` is that pair of SPECs, aligned."""
    kept: list[ProgramPair] = []

    def open_(reference: str, port: str, *inputs: str) -> ProgramPair:
        said = [InputSpec.parse(text) for text in inputs]
        if not kept:
            kept.append(ProgramPair(reference, port, said).__enter__())
        else:
            kept[0].said_inputs = said
            kept[0].reopen(reference=reference, port=port)
        kept[0].align()
        return kept[0]

    yield open_
    for pair in kept:
        pair.close()


@pytest.fixture
def port_file(tmp_path: Path) -> Callable[[str, str], str]:
    """``port_file(pair, fault)``: SPEC of a faulty port of one of the twelve."""

    def write(pair: str, fault: str) -> str:
        path = tmp_path / f"{pair}_{fault}.py"
        path.write_text(
            "import sys\n"
            f"sys.path.insert(0, {str(PAIRS)!r})\n"
            f"import {pair}\n"
            f"model = {pair}.FAULTS[{fault!r}][0]\n"
        )
        return f"{path}:model"

    return write
