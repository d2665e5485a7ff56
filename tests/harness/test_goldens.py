"""A golden is whole and of this reference, or it is refused by name and never green."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.draw.plan import Plan
from parity.draw.recipes import Recipe, WeightsRecipe
from parity.errors import BadCall, GoldenRefused
from parity.golden import goldens
from parity.values import archive
from parity.values.cases import SamplerCall

PLAN = Plan(
    networks=(Recipe(WeightsRecipe(trained="trained"), batch=1),),
    trajectories=(Recipe(WeightsRecipe(seed=3), sampler=SamplerCall(2, 0.1, 0.0)),),
    initialisations=((None, (1, 2)), ({"height": 3}, (4,))),
)
TRACE = archive.to_bytes(
    {"arrays/float64/energies": np.arange(3.0), "floors/float64/energies": np.array(1e-16)},
    {"kind": "trace", "schema": 1},
)
GROUPS = {
    "session": {"open": {"layout": "NHWC", "entries": ["model"]}},
    "networks-01": {"network/1": TRACE, "weights/2": {"names": ["kernel"]}},
    "networks-02": {"network/3": TRACE},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small golden, and what it was recorded from, in a project of its own."""
    (tmp_path / "reference.py").write_text("energy = 1\n")
    write(tmp_path)
    return tmp_path / "goldens"


def write(root: Path, **changed: Any) -> None:
    content = {
        "pair": "package:pair",
        "seed": 5,
        "plan": PLAN,
        "environment": {"tensorflow": "2.21.0"},
        "sources": {"reference.py": goldens.digest_of_file(root / "reference.py")},
        "groups": GROUPS,
    }
    goldens.write(root / "goldens", **{**content, **changed})


def load(folder: Path) -> goldens.Golden:
    return goldens.load(folder, folder.parent, "package:pair")


def refused(folder: Path) -> str:
    """Why it is refused; quickly, whatever it holds."""
    start = time.process_time()
    with pytest.raises(GoldenRefused) as caught:
        load(folder)
    assert time.process_time() - start < 5
    return str(caught.value)


def test_what_was_written_comes_back(folder: Path) -> None:
    golden = load(folder)
    assert golden.plan == PLAN
    assert golden.answers == {k: v for group in GROUPS.values() for k, v in group.items()}
    assert (golden.pair, golden.seed) == ("package:pair", 5)
    assert golden.unused(["open", "network/1", "weights/2"]) == ["networks-02.safetensors"]


def test_the_same_content_gives_the_same_bytes(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write(folder.parent)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def boundaries(data: bytes) -> set[int]:
    """Where one part of a file ends and the next begins."""
    places = {0, 1, 7, 8, 9, len(data) - 1}
    if data[:1] != b"{":
        header = int.from_bytes(data[:8], "little")
        places |= {8 + header - 1, 8 + header, 8 + header + 1}
        for entry in json.loads(data[8 : 8 + header]).values():
            for offset in entry.get("data_offsets", ()):
                places |= {8 + header + offset - 1, 8 + header + offset}
    places |= {n for n, byte in enumerate(data) if byte in b'{}[]":,\n'}
    return {place for place in places if 0 <= place < len(data)}


@pytest.mark.parametrize("name", ["golden.json", "session.safetensors", "networks-01.safetensors"])
def test_any_byte_changed_or_cut_off_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    data = path.read_bytes()
    rng = random.Random(name)
    places = boundaries(data) | {rng.randrange(len(data)) for _ in range(1000)}
    for place in sorted(places):
        flipped = bytes([data[place] ^ (1 << rng.randrange(8))])
        path.write_bytes(data[:place] + flipped + data[place + 1 :])
        assert name in refused(folder), place
        path.write_bytes(data[:place])
        assert name in refused(folder), place
    path.write_bytes(data)
    load(folder)


def test_a_byte_too_many_is_refused(folder: Path) -> None:
    for name in ("golden.json", "networks-01.safetensors"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data + b" ")
        assert name in refused(folder)
        (folder / name).write_bytes(data)


def forged(folder: Path, **changed: Any) -> None:
    """A manifest whose own digest is right."""
    content = json.loads((folder / "golden.json").read_text())["content"] | changed
    (folder / "golden.json").write_bytes(goldens.sealed(content))


def test_a_newer_schema_is_named(folder: Path) -> None:
    forged(folder, schema=2)
    assert "schema 2; this version of parity reads 1" in refused(folder)


@pytest.mark.parametrize(
    "name",
    ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", "x", "a\n.safetensors"],
)
def test_names_that_are_paths_are_refused(folder: Path, name: str) -> None:
    forged(folder, files={name: {"size": 1, "digest": ""}})
    assert "which is no name of a golden's file" in refused(folder)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"schema": True}, "has schema True"),
        ({"sources": {"/dev/zero": "x"}}, "'/dev/zero', which is no name of a file in the project"),
        ({"sources": {"../../etc/hostname": "x"}}, "which is no name of a file in the project"),
        ({"sources": {"a\0b": "x"}}, "which is no name of a file in the project"),
        ({"sources": {"reference.py": 3}}, "sources is no table of texts"),
        ({"sources": {}}, "lists no sources, so it could not tell if it is stale"),
        ({"environment": [1]}, "lists no cases of ours"),
        ({"files": [1]}, "lists no files"),
        ({"plan": {}}, "lists no cases of ours"),
    ],
)
def test_a_manifest_that_means_harm_is_refused(
    folder: Path, changed: dict[str, Any], says: str
) -> None:
    """Whoever can write a manifest can also seal it."""
    forged(folder, **changed)
    assert says in refused(folder)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"batch": 10**9}, "batch is 1000000000, expected a whole number from 0 to 65536"),
        ({"batch": True}, "batch is True"),
        ({"key": -1}, "key is -1"),
        ({"images": ["x"]}, "images are ['x']"),
        ({"weights": {"trained": None, "scale": float(2**60), "seed": 0}}, "the weights' scale"),
        ({"sampler": {"steps": 10**9, "step_size": 1.0, "noise": 0.0}}, "steps is 1000000000"),
        ({"strange": 1}, "unexpected keyword argument 'strange'"),
    ],
)
def test_a_recipe_that_means_harm_is_refused(
    folder: Path, changed: dict[str, Any], says: str
) -> None:
    plan = PLAN.to_dict()
    plan["networks"] = [{**plan["networks"][0], **changed}]
    forged(folder, plan=plan)
    assert says in refused(folder)


def test_headers_that_claim_huge_sizes_are_refused(folder: Path) -> None:
    path = folder / "networks-01.safetensors"
    data = path.read_bytes()
    header = {"0": {"dtype": "F64", "shape": [1 << 40], "data_offsets": [0, 1 << 43]}}
    body = json.dumps(header).encode()
    hostile = [
        (1 << 62).to_bytes(8, "little") + data[8:],
        len(body).to_bytes(8, "little") + body,
        (1 << 20).to_bytes(8, "little") + b"[" * (1 << 20),
    ]
    for bad in hostile:
        path.write_bytes(bad)
        files = json.loads((folder / "golden.json").read_text())["content"]["files"]
        files[path.name] = {"size": len(bad), "digest": goldens.digest_of_file(path)}
        forged(folder, files=files)
        assert path.name in refused(folder)


def test_what_is_no_file_is_not_opened(folder: Path) -> None:
    path = folder / "networks-01.safetensors"
    path.unlink()
    os.mkfifo(path)
    assert "is not an ordinary file" in refused(folder)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "is not an ordinary file" in refused(folder)


def test_a_manifest_of_any_size_is_not_read(folder: Path) -> None:
    with (folder / "golden.json").open("r+b") as file:
        file.truncate(1 << 34)
    assert "at most 4194304 are read" in refused(folder)
    (folder / "golden.json").write_text("[" * 100_000)
    assert "golden.json cannot be read (RecursionError" in refused(folder)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "networks-02.safetensors").unlink()
    assert "networks-02.safetensors is missing" in refused(folder)
    shutil.rmtree(folder)
    assert "there is no golden at" in refused(folder)


def test_files_that_do_not_belong_to_it_are_named(folder: Path) -> None:
    shutil.copy(folder / "networks-02.safetensors", folder / "networks-03.safetensors")
    assert "networks-03.safetensors is not part of this golden" in refused(folder)


def test_another_reference_makes_it_stale(folder: Path) -> None:
    source = folder.parent / "reference.py"
    source.write_text("energy = 2\n")
    assert "is stale: reference.py changed since it was recorded" in refused(folder)
    source.unlink()
    assert "is stale: reference.py is gone" in refused(folder)


def test_another_pair_is_refused(folder: Path) -> None:
    with pytest.raises(GoldenRefused, match="recorded for the pair 'package:pair', not 'other:p'"):
        goldens.load(folder, folder.parent, "other:p")


def test_a_folder_with_anything_else_in_it_is_left_alone(folder: Path) -> None:
    (folder / "thesis.tex").write_text("all of it")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadCall, match=r"thesis\.tex, which no golden has"):
        write(folder.parent)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_cannot_be_written_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadCall, match="No space left on device"):
        write(folder.parent, seed=6)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_changes_say_what_and_by_how_much(folder: Path) -> None:
    before = goldens.read(folder)
    moved = archive.to_bytes(
        {
            "arrays/float64/energies": np.array([0.0, 1.5, 2.0]),
            "floors/float64/energies": np.array(1e-16),
        },
        {"kind": "trace", "schema": 1},
    )
    groups = {**GROUPS, "networks-02": {"network/3": moved}, "networks-03": {"network/4": TRACE}}
    del groups["networks-01"]
    write(folder.parent, groups=groups)
    assert goldens.changes(before, goldens.read(folder)) == [
        "networks-01.safetensors: gone",
        "networks-02.safetensors: arrays/float64/energies by up to 0.25 of its largest element",
        "networks-03.safetensors: new",
    ]
    assert goldens.changes(before, before) == []
