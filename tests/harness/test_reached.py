"""A question is asked once of the same files, and again where one that it reaches is another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ebm.pair import pair
from parity.declare.declarations import TorchSide
from parity.declare.refusals import REFUSING
from parity.mutants import reached
from parity.mutants.reached import ENTRIES_OF, Reached
from tests.harness.ports import ROOT

SIDE = TorchSide(model="own.network:Net", generate_samples="own.sampling:sample")
FILES = {
    "__init__": "",
    "network": "import math\nfrom own import layers\n",
    "layers": "import torch\n",
    "sampling": "def sample():\n    from . import noise as n\n    return list(n.net.modules())\n",
    "noise": "import own.layers as l\n",
    "unused": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    for name, text in FILES.items():
        (tmp_path / "own" / f"{name}.py").write_text(text)
    return tmp_path


def keys(root: Path) -> dict[str, str | None]:
    known = Reached(SIDE, root)
    return {method: known.key(method, {"case": b"1"}) for method in ("network", "probing")}


def changed(root: Path, file: str, text: str) -> set[str]:
    """Questions that are asked anew of a port with this in a file."""
    before = keys(root)
    (root / "own" / f"{file}.py").write_text(text)
    return {method for method, key in keys(root).items() if key != before[method]}


@pytest.mark.parametrize(
    ("file", "questions"),
    [
        ("network", {"network"}),
        ("layers", {"network", "probing"}),
        ("sampling", {"probing"}),
        ("noise", {"probing"}),
        ("unused", set()),
        ("__init__", {"network", "probing"}),
    ],
)
def test_a_question_reaches_what_its_entries_import(
    root: Path, file: str, questions: set[str]
) -> None:
    assert changed(root, file, FILES[file] + "x = 1\n") == questions


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\n",
        "from importlib import import_module as f\n",
        "import sys\nsys.modules['own.unused']\n",
        "exec(text)\n",
        "def (",
    ],
)
def test_what_cannot_be_followed_may_reach_everything(root: Path, text: str) -> None:
    assert None not in keys(root).values()
    (root / "own" / "layers.py").write_text(text)
    assert set(keys(root).values()) == {None}


def test_what_is_not_known_is_asked(root: Path) -> None:
    known = Reached(SIDE, root)
    assert known.key("places", {}) is None
    assert known.key("preprocess", {}) is None, "the side has none"
    assert Reached(TorchSide(model=object), root).key("network", {}) is None
    assert Reached(TorchSide(model="port.py:Net"), root).key("network", {}) is None
    assert known.get(None) is None
    known.keep(None, b"answer")
    assert known.get(known.key("network", {})) is None
    assert known.key("network", {"case": b"1"}) != known.key("network", {"case": b"2"})


def test_an_overlay_takes_the_place_of_its_packages(root: Path, tmp_path: Path) -> None:
    known, over = Reached(SIDE, root), tmp_path / "over"
    before = known.key("network", {})
    (over / "own").mkdir(parents=True)
    for name, text in FILES.items():
        (over / "own" / f"{name}.py").write_text(text)
    known.lay_over(over)
    assert known.key("network", {}) == before, "the same files"
    (over / "own" / "layers.py").write_text("import torch  # another\n")
    known.lay_over(over)
    assert known.key("network", {}) != before
    known.lay_over(None)
    assert known.key("network", {}) == before


def test_answers_that_were_not_used_for_longest_go_first(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reached, "MOST_BYTES", 100)
    known = Reached(SIDE, root)
    known.keep("a", b"0" * 40)
    known.keep("b", b"1" * 40)
    assert known.get("a") == b"0" * 40
    known.keep("c", b"2" * 40)
    assert [name for name in "abc" if known.get(name) is not None] == ["a", "c"]


def asked_of_a_port() -> set[str]:
    """Every question, read off the sources: no framework is imported here."""
    files = ("side/requests.py", "frameworks/torch/requests.py")
    trees = [ast.parse((ROOT / "parity" / file).read_text()) for file in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_question_is_one_and_the_projects_port_is_followed() -> None:
    questions = [question.split() for question in ENTRIES_OF]
    assert [method for method, *_ in questions if method not in asked_of_a_port()] == []
    known = Reached(pair.port, ROOT)
    asked = [(method, {"entry": entry[0]} if entry else {}) for method, *entry in questions]
    assert None not in [known.key(*question) for question in asked]
    assert {entry[0] for method, *entry in questions if method == "refusals"} == set(REFUSING)
    assert known.key("refusals", {"entry": "another"}) is None
    network = known.files(["port_torch.energy_model"])
    assert network is not None
    assert {"port_torch.energy_model", "ebm.settings"} <= set(network)
    assert not {"port_torch.langevin", "port_torch.training"} & set(network)
