"""Training stops, resumes and is refused as it should be, in either framework."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from ebm import train
from ebm.images import load_images
from ebm.settings import ConvLayer, Settings
from ebm.train import N_VALIDATION, TrainingRun, TrainingStopped
from parity.ask import warm
from parity.values import archive

SMALL = {
    "steps": 2,
    "batch_size": 16,
    "buffer_size": 64,
    "convolutions": (ConvLayer(3, (3, 3), (4, 4)),),
    "dense": (),
}
N_IMAGES = N_VALIDATION + 150  # ten steps an epoch, the last one short

ROLES = {"tensorflow": "reference", "torch": "port"}


def small_run(framework: str, epochs: int = 3, **changes: object) -> TrainingRun:
    settings = Settings(epochs=epochs, **{**SMALL, **changes})  # type: ignore[arg-type]
    return TrainingRun(framework, settings, load_images()[:N_IMAGES], seed=1, threads=1)


def start(framework: str, epochs: int, checkpoint: Path) -> subprocess.Popen[str]:
    words = [framework, str(epochs), str(checkpoint)]
    return subprocess.Popen(
        [*warm.interpreter(ROLES[framework]), "-m", "tests.ebm.started", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"},
    )


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=120)
    assert process.returncode == 0


def assert_same(path: Path, other: Path) -> None:
    (state, about), (wanted, wanted_about) = archive.load(path), archive.load(other)
    assert about["history"] == wanted_about["history"]
    for name, array in wanted.items():
        assert np.array_equal(state[name], array), name


@pytest.mark.few(0)
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_killed_run_resumes_to_the_same_bits(framework: str, tmp_path: Path) -> None:
    """SIGKILL and SIGINT at random moments, then resumed, against a run left alone."""
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    finish(start(framework, 6, whole))
    rng = random.Random(4)
    kills = 0
    for deadly in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        process = start(framework, 6, killed)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.05, 0.7))
        process.send_signal(deadly)
        process.communicate(timeout=60)
        kills += process.returncode != 0
    assert kills, "every run was finished before it was killed"
    finish(start(framework, 6, killed))
    assert_same(killed, whole)


@pytest.mark.few(0)
def test_training_starts_in_tensorflow_and_goes_on_in_pytorch(tmp_path: Path) -> None:
    """The checkpoint of one epoch in TensorFlow is taken up, and handed back unchanged."""
    path = tmp_path / "run.safetensors"
    finish(start("tensorflow", 1, path))
    begun, about = archive.load(path)
    run = small_run("torch", epochs=2)
    run.resume(path)
    for name, array in run._state().items():
        assert array.dtype == begun[name].dtype
        assert np.array_equal(array, begun[name]), name
    assert begun["iterations"] == 10
    run.train(path)
    state, both = archive.load(path)
    assert state["iterations"] == 20
    assert both["history"][0] == about["history"][0]
    assert len(both["history"]) == 2
    finish(start("tensorflow", 3, path))
    assert archive.load(path)[0]["iterations"] == 30


@pytest.mark.parametrize("quantity", ["loss", "fake_score"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    tmp_path: Path, quantity: str
) -> None:
    path = tmp_path / "run.safetensors"
    run = small_run("torch", epochs=1)
    run.train(path)
    kept = path.read_bytes()
    run = small_run("torch", epochs=3)
    run.resume(path)
    take, calls = run.framework.train_step, 0

    def spoilt(*arguments: object) -> dict[str, float]:
        nonlocal calls
        calls += 1
        losses: dict[str, float] = dict(take(*arguments))
        return losses if calls < 4 else losses | {quantity: float("nan")}

    run.framework.train_step = spoilt
    with pytest.raises(TrainingStopped) as stopped:
        run.train(path)
    assert str(stopped.value) == (
        f"{quantity} is nan in epoch 2, step 4; the checkpoint of epoch 1 is kept"
    )
    assert path.read_bytes() == kept


def test_a_network_that_explodes_stops_by_itself(tmp_path: Path) -> None:
    run = small_run("torch", learning_rate=1e30)
    with pytest.raises(TrainingStopped, match=r"is (inf|nan|-inf) in epoch 1, step 2"):
        run.train(tmp_path / "run.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "named"), [({"alpha": 0.2}, "alpha"), ({"steps": 3}, "steps"), ({}, "seed")]
)
def test_a_checkpoint_of_another_run_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    path = tmp_path / "run.safetensors"
    small_run("torch", epochs=1).train(path)
    other = small_run("torch", **changes)
    if named == "seed":
        other.seed = 2
    with pytest.raises(TrainingStopped, match=rf"run\.safetensors is of a run with other.*{named}"):
        other.resume(path)


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    small_run("torch", epochs=1).train(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(archive.BadFile, match=r"run\.safetensors"):
        small_run("torch").resume(path)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too few images; an interrupted run says how to go on; a checkpoint of others exits 1."""
    few = tmp_path / "few.npz"
    np.savez(few, images=load_images()[:10])
    assert train.main(["--images", str(few)]) == 2
    assert "10 images are too few: 1000 are held out" in capsys.readouterr().err
    path = tmp_path / "run.safetensors"
    small_run("torch", epochs=1).train(path)
    options = ["--framework", "torch", "--threads", "1", "--checkpoint", str(path)]
    assert train.main([*options, "--out", str(tmp_path / "out")]) == 1
    assert "is of a run with other settings" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.few(0)
def test_an_interrupted_command_says_how_to_go_on(tmp_path: Path) -> None:
    command = [
        *warm.interpreter("port"),
        "-m",
        "ebm.train",
        "--framework",
        "torch",
        "--threads",
        "1",
    ]
    checkpoint = tmp_path / "run.safetensors"
    process = subprocess.Popen(
        [*command, "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "a checkpoint after each epoch" in process.stderr.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"interrupted; start again to go on from {checkpoint}" in said
    assert not (tmp_path / "out").exists()


def test_an_interrupt_that_is_lost_in_a_callback_still_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python drops a KeyboardInterrupt that comes in a finaliser; the step after it is the last."""
    run = small_run("torch")
    step, steps = run.framework.train_step, []

    def interrupted_step(*arguments: object) -> object:
        steps.append(len(steps))
        if len(steps) == 3:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(run.framework, "train_step", interrupted_step)
    before = signal.getsignal(signal.SIGINT)
    with train.heeding_interrupts() as interrupted, pytest.raises(KeyboardInterrupt):
        run.train(tmp_path / "run.safetensors", interrupted)
    assert len(steps) == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_the_committed_weights_say_how_they_were_made() -> None:
    """The history in the file is the one that the README tells of, and it falls."""
    _, about = archive.load(Path("weights/energy_model.safetensors"))
    history = [epoch["validation_contrastive_divergence"] for epoch in about["history"]]
    assert len(history) == 20
    assert history[-1] < history[11] < history[4] < history[1] < 0
    readme = Path("weights/README.md").read_text()
    assert f"{history[-1]:.2f} (20)" in readme
    assert json.dumps(about["settings"], sort_keys=True) == json.dumps(
        Settings(epochs=20).to_dict(), sort_keys=True
    )
