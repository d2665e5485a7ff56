"""Bad calls, put to the port and to copies of it with one token changed in a guard."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ebm.pair import fixed_trainings, pair, port
from parity.declare import refusals
from parity.entries.preprocess import all_grey_levels
from parity.entries.refusals import findings
from parity.frameworks.torch.side import TorchRunner
from parity.side.refusing import refused
from parity.side.sampler_probe import probe_case
from parity.side.training_probe import probe_case as training_case
from tests.harness.ports import ROOT

SETTINGS, BATCH, _ = fixed_trainings()[0]
GIVEN = {
    "generate_samples": probe_case(),
    "preprocess": all_grey_levels(),
    "train_step": training_case((32, 32, 1), SETTINGS, BATCH, steps=1),
    "validate": training_case((32, 32, 1), SETTINGS, BATCH, steps=1),
}
FILES = {
    "generate_samples": "langevin.py",
    "preprocess": "images.py",
    "train_step": "training.py",
    "validate": "training.py",
}
NUMBER = itertools.count()
NOISED = "real = real + torch.randn_like(real)"


def changed(file: str, old: str, new: str, folder: Path) -> ModuleType:
    """A module of the port, with one place of its source changed."""
    source = (ROOT / "port_torch" / file).read_text()
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {file}"
    name = f"changed_{next(NUMBER)}"
    path = folder / f"{name}.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(entry: str, functions: Mapping[str, object]) -> list[str | None]:
    runner = TorchRunner(dataclasses.replace(port, **functions), pair)
    return refused(runner, entry, refusals.calls_of(entry), GIVEN[entry])


@pytest.fixture(scope="module")
def right() -> dict[str, list[str | None]]:
    """The port's own answers, which are the reference's (``parity check`` compares them)."""
    return {entry: answers(entry, {}) for entry in GIVEN}


@pytest.mark.few(20)
@pytest.mark.parametrize(
    ("entry", "old", "new"),
    [
        ("generate_samples", "images.ndim != 4", "images.ndim < 4"),
        ("generate_samples", "images.ndim != 4", "images.ndim > 4"),
        ("generate_samples", "images.ndim != 4", "images.ndim == 4"),
        ("generate_samples", "images.ndim != 4", "images.ndim != 3"),
        ("generate_samples", "images.ndim != 4", "False"),
        ("generate_samples", "not images.is_floating_point()", "images.is_floating_point()"),
        ("generate_samples", "not torch.isfinite(images).all()", "torch.isfinite(images).all()"),
        ("generate_samples", "torch.isfinite(images).all()", "torch.isfinite(images).any()"),
        ("generate_samples", "torch.isfinite(images).all()", "torch.isfinite(images[:1]).all()"),
        ("generate_samples", "torch.isfinite(images).all()", "torch.isfinite(images[1:]).all()"),
        ("generate_samples", "not torch.isfinite(images).all()", "images.isnan().any()"),
        ("generate_samples", "not torch.isfinite(images).all()", "images.isinf().any()"),
        ("generate_samples", "not torch.isfinite(images).all()", "images.isposinf().any()"),
        ("generate_samples", "not torch.isfinite(images).all()", "(images.abs() > 1e6).any()"),
        ("generate_samples", "steps < 1", "steps <= 1"),
        ("generate_samples", "steps < 1", "steps < 0"),
        ("generate_samples", "steps < 1", "steps < 2"),
        ("generate_samples", "steps < 1", "steps > 1"),
        ("generate_samples", "steps < 1", "steps == 1"),
        ("generate_samples", "steps < 1", "steps != 1"),
        ("generate_samples", "steps < 1", "steps == 0"),
        ("generate_samples", "steps < 1", "False"),
        ("generate_samples", "not math.isfinite(step_size)", "math.isfinite(step_size)"),
        ("generate_samples", "not math.isfinite(step_size)", "math.isnan(step_size)"),
        ("generate_samples", "not math.isfinite(step_size)", "math.isinf(step_size)"),
        ("generate_samples", "not math.isfinite(step_size)", "not step_size > 0"),
        ("generate_samples", "not math.isfinite(step_size)", "not step_size >= 0"),
        ("generate_samples", "not math.isfinite(step_size)", "not step_size"),
        ("generate_samples", "not (math.isfinite(noise)", "(math.isfinite(noise)"),
        ("generate_samples", "math.isfinite(noise) and", "math.isfinite(noise) or"),
        ("generate_samples", "noise >= 0", "noise > 0"),
        ("generate_samples", "noise >= 0", "noise <= 0"),
        ("generate_samples", "noise >= 0", "noise == 0"),
        ("generate_samples", "noise >= 0", "noise >= -1"),
        ("generate_samples", "noise >= 0", "noise >= -1e-9"),
        ("generate_samples", "noise >= 0", "noise >= 1"),
        ("generate_samples", "(math.isfinite(noise) and noise >= 0)", "noise >= 0"),
        ("generate_samples", "(math.isfinite(noise) and noise >= 0)", "math.isfinite(noise)"),
        ("generate_samples", "not gradient_clip > 0", "gradient_clip > 0"),
        ("generate_samples", "not gradient_clip > 0", "not gradient_clip >= 0"),
        ("generate_samples", "not gradient_clip > 0", "gradient_clip <= 0"),  # NaN
        ("generate_samples", "not gradient_clip > 0", "not gradient_clip > 1"),
        ("generate_samples", "not gradient_clip > 0", "not gradient_clip > 1e-9"),
        ("generate_samples", "not gradient_clip > 0", "not gradient_clip < 0"),
        ("generate_samples", "not gradient_clip > 0", "not gradient_clip != 0"),
        ("generate_samples", "not gradient_clip > 0", "not 0 < gradient_clip < math.inf"),
        ("generate_samples", "not gradient_clip > 0", "False"),
        ("preprocess", "images.dtype != np.uint8", "images.dtype == np.uint8"),
        ("preprocess", "images.dtype != np.uint8", "images.dtype == np.float32"),
        ("preprocess", "images.dtype != np.uint8", "images.dtype.itemsize != 1"),
        ("preprocess", "images.dtype != np.uint8", "images.dtype.kind != 'u'"),
        ("preprocess", "images.dtype != np.uint8", "False"),
        ("preprocess", "images.ndim == 3", "images.ndim != 3"),
        ("preprocess", "images.ndim == 3", "False"),
        ("preprocess", "images.ndim == 3", "images.ndim >= 3"),
        ("preprocess", "images.ndim != 4", "images.ndim == 4"),
        ("preprocess", "images.ndim != 4", "images.ndim >= 4"),
        ("preprocess", "images.ndim != 4", "images.shape[-1] != 1"),
        ("train_step", '== "halves" and len(scores) % 2:', '!= "halves" and len(scores) % 2:'),
        ("train_step", '== "halves" and len(scores) % 2:', '== "halves" or len(scores) % 2:'),
        ("train_step", "len(scores) % 2:", "len(scores) % 3:"),
        ("train_step", "len(scores) % 2:", "len(scores) % 1:"),
        ("train_step", "len(scores) % 2:", "not len(scores) % 2:"),
        ("train_step", "len(scores) % 2:", "len(scores) // 2:"),
        ("validate", "not real.is_floating_point()", "real.is_floating_point()"),
        ("validate", "not real.is_floating_point()", "False"),
        ("validate", '== "halves" and len(scores) % 2:', '== "halves" or len(scores) % 2:'),
        ("validate", "not real.is_floating_point()", "not real.isfinite().all()"),
        ("validate", "not real.is_floating_point()", "real.isposinf().any()"),
        ("validate", "not real.is_floating_point()", "real.isneginf().any()"),
        ("train_step", NOISED, f"assert real.isfinite().all()\n    {NOISED}"),
        ("train_step", NOISED, f"assert not real[-1].isnan().any()\n    {NOISED}"),
        ("train_step", NOISED, f"assert not real.isneginf().any()\n    {NOISED}"),
        ("train_step", NOISED, f"real = real.reshape(-1, 1, 32, 32)\n    {NOISED}"),
    ],
)
def test_one_changed_token_of_a_guard_is_seen(
    entry: str, old: str, new: str, tmp_path: Path, right: dict[str, list[str | None]]
) -> None:
    module = changed(FILES[entry], old, new, tmp_path)
    found = answers(entry, {entry: getattr(module, entry)})
    calls = refusals.calls_of(entry)
    assert findings(entry, list(zip(calls, right[entry], found, strict=True)))


@pytest.mark.parametrize("entry", GIVEN)
def test_the_port_itself_agrees_with_itself(entry: str, right: dict[str, list[str | None]]) -> None:
    again = answers(entry, {})
    calls = refusals.calls_of(entry)
    assert not findings(entry, list(zip(calls, right[entry], again, strict=True)))
    assert again == right[entry]  # word for word: what is recorded is the same in each run
    assert again[0] is None
    assert any(again)


@pytest.mark.parametrize("entry", GIVEN)
def test_no_call_changes_what_the_next_is_given(
    entry: str, right: dict[str, list[str | None]]
) -> None:
    given = GIVEN[entry]
    images = given if isinstance(given, np.ndarray) else given.images
    before = images.copy()
    answers(entry, {})
    assert np.array_equal(images, before)
