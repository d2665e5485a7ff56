"""What a call changes in the whole process is told once and put back, whatever it is."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from parity.randomness import host_generators_seeded
from parity.torch_side.globals import READ, Globals

OPEN: list[Any] = []  # a context that is collected is left


def left_open(context: Any) -> None:
    context.__enter__()
    OPEN.append(context)


CHANGES: dict[str, Callable[[], Any]] = {
    "torch.is_inference_mode_enabled()": lambda: left_open(torch.inference_mode()),
    "torch.is_grad_enabled()": lambda: torch.set_grad_enabled(False),
    "torch.get_default_dtype()": lambda: torch.set_default_dtype(torch.float64),
    "the default device": lambda: torch.set_default_device("meta"),
    "torch.get_num_threads()": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch.are_deterministic_algorithms_enabled()": lambda: torch.use_deterministic_algorithms(
        True
    ),
    "torch.is_deterministic_algorithms_warn_only_enabled()": (
        lambda: torch.use_deterministic_algorithms(True, warn_only=True)
    ),
    "torch.utils.deterministic.fill_uninitialized_memory": lambda: setattr(
        torch.utils.deterministic, "fill_uninitialized_memory", False
    ),
    "torch.is_anomaly_enabled()": lambda: torch.autograd.set_detect_anomaly(True),
    "torch.is_anomaly_check_nan_enabled()": lambda: torch.autograd.set_detect_anomaly(True, False),
    "torch.get_float32_matmul_precision()": lambda: torch.set_float32_matmul_precision("medium"),
    "torch.backends.cudnn.enabled": lambda: setattr(torch.backends.cudnn, "enabled", False),
    "torch.backends.cudnn.benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "torch.backends.cudnn.deterministic": lambda: setattr(
        torch.backends.cudnn, "deterministic", True
    ),
    "torch.backends.mkldnn.enabled": lambda: torch._C._set_mkldnn_enabled(False),
    "torch.is_autocast_enabled('cpu')": lambda: left_open(torch.autocast("cpu")),
    "torch.is_autocast_enabled('cuda')": lambda: torch.set_autocast_enabled("cuda", True),
    "torch.set_flush_denormal": lambda: torch.set_flush_denormal(True),
    "numpy.geterr()": lambda: np.seterr(all="raise"),
}


def flags() -> dict[str, Any]:
    return {name: read() for name, read in READ.items()}


def test_every_flag_has_a_change_here() -> None:
    assert set(CHANGES) == set(READ)


@pytest.mark.parametrize("name", READ)
def test_a_flag_that_outlives_the_call_is_told_and_put_back(name: str) -> None:
    before, watched = flags(), Globals()
    for _ in range(2):
        with watched.entered("train_step"):
            CHANGES[name]()
        assert flags() == before
    found = {f["message"].split(" at ")[0]: f for f in watched.take()}
    told = found[f"train_step leaves {name}"]
    assert (told["id"], told["where"]) == ("global-state", "train_step")
    assert f"which was {before[name]}" in told["message"]
    assert watched.take() == [], "once"


def test_a_call_that_raises_is_watched_too() -> None:
    watched = Globals()

    def called() -> None:
        with watched.entered("validate"):
            torch.set_grad_enabled(False)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        called()
    assert torch.is_grad_enabled()
    assert len(watched.take()) == 1


def test_what_is_put_back_and_drawn_is_no_finding() -> None:
    watched = Globals()
    for key in range(3):
        with host_generators_seeded(key), watched.entered("generate_samples"):
            with torch.no_grad():
                torch.randn(5)
            random.random()
            np.random.rand(2000 * key)
            torch.Generator().manual_seed(0)
            np.random.default_rng(0).normal()
    assert watched.take() == []


@pytest.mark.parametrize("seed", [0, 1234])
def test_seeding_torchs_generator_is_told_whatever_it_was_before(seed: int) -> None:
    """``torch.initial_seed()`` says nothing if an earlier call has set the same: it was green."""
    torch.manual_seed(seed)
    watched = Globals()
    watched.seed(seed)
    for _ in range(2):
        with watched.entered("generate_samples"):
            torch.manual_seed(seed)
    (found,) = watched.take()
    assert f"generate_samples seeds torch's global generator with {seed}" in found["message"]
    torch.manual_seed(seed)  # as a module does while it is imported
    with watched.entered("preprocess"):
        torch.manual_seed(seed)
    assert watched.take()


@pytest.mark.parametrize(
    ("whose", "seeding"),
    [("NumPy's", lambda: np.random.seed(3)), ("Python's", lambda: random.seed(3))],
)
def test_seeding_the_hosts_generators_shows_where_calls_began_apart(
    whose: str, seeding: Callable[[], None]
) -> None:
    watched = Globals()
    for key in (1, 1, 2):
        assert watched.take() == [], "so far they began alike"
        with host_generators_seeded(key), watched.entered("train_step"):
            seeding()
            np.random.rand(3)
    (found,) = watched.take()
    assert f"train_step seeds {whose} global generator" in found["message"]
