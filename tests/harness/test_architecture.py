"""The page on the architecture names rooms and modules that are there."""

from __future__ import annotations

import re

import pytest

from tests.harness.ports import ROOT
from tests.harness.test_layers import ROOMS

PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAME = re.compile(r"`(?:parity/)?([a-z_]+(?:/[a-z_]+)*)(/?)(?:\.[A-Za-z_]+)*`")


def strange(text: str) -> list[str]:
    """What is written as a path of the package and is none."""
    found = []
    for path, folder in NAME.findall(text):
        if path.partition("/")[0] not in ROOMS or not (folder or "/" in path):
            continue
        full = ROOT / "parity" / path
        if not (full.is_dir() if folder else full.is_dir() or full.with_suffix(".py").is_file()):
            found.append(f"{path}{folder}")
    return found


def test_every_name_on_the_page_is_there() -> None:
    assert strange(PAGE) == []


@pytest.mark.parametrize(
    "gone", ["side/side_runner", "ask/requests", "draw/plans/", "values/cases/"]
)
def test_that_a_name_that_is_gone_would_be_seen(gone: str) -> None:
    assert strange(f"{PAGE}\nSee `{gone}`.") == [gone]


def test_every_room_is_on_the_page_in_order() -> None:
    rooms = [room for room, _ in re.findall(r"^\| `([a-z]+)(/?)` \|", PAGE, re.M)]
    assert tuple(rooms) == ROOMS
