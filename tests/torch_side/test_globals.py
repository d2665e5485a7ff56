"""What a call changes in the whole process is told once and put back, whatever it is."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from parity.frameworks.torch import globals as watched_flags
from parity.frameworks.torch.globals import MIXED, NAMES, READ, Globals, flags
from parity.values.randomness import host_generators_seeded


def hook(*_: Any) -> Any: ...


_C: Any = torch._C


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
    "torch.get_autocast_dtype('cpu')": lambda: torch.set_autocast_dtype("cpu", torch.float16),
    "torch.get_autocast_dtype('cuda')": lambda: torch.set_autocast_dtype("cuda", torch.bfloat16),
    "torch.is_autocast_cache_enabled()": lambda: torch.set_autocast_cache_enabled(False),
    "torch.sparse.check_sparse_tensor_invariants": (
        torch.sparse.check_sparse_tensor_invariants.enable
    ),
    "torch.backends.opt_einsum.enabled": lambda: setattr(
        torch.backends.opt_einsum, "enabled", False
    ),
    "torch.backends.opt_einsum.strategy": lambda: setattr(
        torch.backends.opt_einsum, "strategy", "greedy"
    ),
    "torch.autograd.graph.saved_tensors_hooks": lambda: left_open(
        torch.autograd.graph.saved_tensors_hooks(hook, hook)
    ),
    "torch.autograd.graph.disable_saved_tensors_hooks": lambda: (
        torch._C._autograd._saved_tensors_hooks_disable("no")
    ),
    **{
        f"torch.nn.modules.module.{name}": partial(getattr(nn.modules.module, name), hook)
        for name in (
            "register_module_forward_hook",
            "register_module_forward_pre_hook",
            "register_module_full_backward_pre_hook",
            "register_module_parameter_registration_hook",
            "register_module_buffer_registration_hook",
            "register_module_module_registration_hook",
        )
    },
    "torch.nn.modules.module.register_module_backward_hook": lambda: (
        nn.modules.module.register_module_full_backward_hook(hook)
    ),
    "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction": lambda: setattr(
        torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction", False
    ),
    "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction": lambda: setattr(
        torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction", False
    ),
    "torch.backends.cuda.matmul.allow_fp16_accumulation": lambda: setattr(
        torch.backends.cuda.matmul, "allow_fp16_accumulation", True
    ),
    "torch.backends.cuda.matmul.allow_tf32": lambda: setattr(
        torch.backends.cuda.matmul, "allow_tf32", True
    ),
    "torch.backends.cudnn.allow_tf32": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "torch.backends.cuda.flash_sdp_enabled()": lambda: torch.backends.cuda.enable_flash_sdp(False),
    "torch.backends.cuda.math_sdp_enabled()": lambda: torch.backends.cuda.enable_math_sdp(False),
    "torch.backends.cuda.mem_efficient_sdp_enabled()": lambda: (
        torch.backends.cuda.enable_mem_efficient_sdp(False)
    ),
    "torch.backends.cuda.cudnn_sdp_enabled()": lambda: torch.backends.cuda.enable_cudnn_sdp(False),
    "torch.backends.nnpack.set_flags": lambda: torch.backends.nnpack.set_flags(False),
    "torch.backends.mkldnn.deterministic": lambda: setattr(
        torch.backends.mkldnn, "deterministic", True
    ),
    "torch.backends.quantized.engine": lambda: setattr(
        torch.backends.quantized, "engine", "qnnpack"
    ),
    "torch.is_warn_always_enabled()": lambda: torch.set_warn_always(True),
    "torch.autograd.set_multithreading_enabled": lambda: left_open(
        torch.autograd.set_multithreading_enabled(False)
    ),
    "torch.autograd.forward_ad._set_fwd_grad_enabled": lambda: torch._C._set_fwd_grad_enabled(
        False
    ),
    "torch.autograd._force_original_view_tracking": lambda: left_open(
        torch.autograd.grad_mode._force_original_view_tracking(True)
    ),
    "torch._C._get_autograd_fallback_mode()": lambda: torch._C._set_autograd_fallback_mode(
        "nothing"
    ),
    "torch._C._get_cudnn_depthwise_kernel()": lambda: torch._C._set_cudnn_depthwise_kernel(
        "native"
    ),
    "torch._C._get_sdp_priority_order()": lambda: torch._C._set_sdp_priority_order(
        torch._C._get_sdp_priority_order()[::-1]
    ),
    "torch._C._get_torch_function_state()": lambda: _C._set_torch_function_state(
        _C._TorchFunctionState.SUBCLASSES_DISABLED
    ),
    "torch._C._get_rocm_fa_preferred_backend()": lambda: torch._C._set_rocm_fa_preferred_backend(
        torch._C._ROCmFABackend.AOTriton
    ),
    **{
        name: partial(torch._C._set_fp32_precision_setter, *place, "ieee")
        for name, place in {
            "torch.backends.fp32_precision": ("generic", "all"),
            "torch.backends.cudnn.fp32_precision": ("cuda", "all"),
            "torch.backends.cuda.matmul.fp32_precision": ("cuda", "matmul"),
            "torch.backends.cudnn.conv.fp32_precision": ("cuda", "conv"),
            "torch.backends.cudnn.rnn.fp32_precision": ("cuda", "rnn"),
            "torch.backends.mkldnn.fp32_precision": ("mkldnn", "all"),
            "torch.backends.mkldnn.matmul.fp32_precision": ("mkldnn", "matmul"),
            "torch.backends.mkldnn.conv.fp32_precision": ("mkldnn", "conv"),
            "torch.backends.mkldnn.rnn.fp32_precision": ("mkldnn", "rnn"),
        }.items()
    },
}
"""How a port sets each flag; one of ``torch._C`` that is not here is on or off, and turned over."""


ELSEWHERE = {
    "torch.backends.cuda.preferred_blas_library()",
    "torch.backends.cuda.preferred_linalg_library()",
    "torch._C._get_cpu_allow_fp16_reduced_precision_reduction()",
}
"""Which other builds and processors let a program set."""


def change(name: str) -> None:
    if name in CHANGES:
        CHANGES[name]()
    else:
        read, restore = watched_flags._WATCHED[name]
        assert isinstance(read(), bool), f"say in CHANGES how {name} is set"
        restore(not read())


def test_every_flag_that_people_know_is_watched() -> None:
    assert not set(CHANGES) - set(READ)
    assert not {
        name for name in set(READ) - set(CHANGES) - ELSEWHERE if not name.startswith("torch._C.")
    }
    assert not set(NAMES.values()) - set(READ)


def test_a_flag_that_nobody_has_listed_is_found_by_its_setter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = [False]
    monkeypatch.setattr(torch._C, "_get_newest_enabled", lambda: held[0], raising=False)
    monkeypatch.setattr(torch._C, "_set_newest_enabled", lambda on: held.append(on), raising=False)
    read, restore = watched_flags._discovered()["torch._C._get_newest_enabled()"]
    assert read() is False
    restore(True)
    assert held == [False, True]
    assert "torch._C._is_grad_layout_enforcement_enabled()" in READ
    assert not any("thread_name" in name for name in READ)


@pytest.mark.parametrize("backend", ["cuda.matmul.", "mkldnn.matmul.", "mkldnn.", "cudnn.", ""])
def test_a_flag_that_torch_refuses_to_read_is_a_value_of_its_own(backend: str) -> None:
    """As a port is imported it may set one: every call then raised, and the port was invalid."""
    name = f"torch.backends.{backend}fp32_precision"
    read, restore = watched_flags._WATCHED[name]
    before, all_before = read(), flags()
    restore("bf16" if "mkldnn" in backend else "tf32")
    try:
        mixed = flags()
        assert MIXED in mixed.values()
        watched = Globals()
        with watched.entered("train_step"):
            pass
        assert watched.take() == []
        with watched.entered("train_step"):
            restore("ieee")
            torch.set_grad_enabled(False)
        assert flags() == mixed
        assert any(f"leaves {name} at ieee" in found["message"] for found in watched.take())
    finally:
        restore(before)
    assert flags() == all_before


@pytest.mark.parametrize("name", [name for name in READ if name not in ELSEWHERE])
def test_a_flag_that_outlives_the_call_is_told_and_put_back(name: str) -> None:
    before, watched = flags(), Globals()
    for _ in range(2):
        with watched.entered("train_step"):
            change(name)
        assert flags() == before
    found = {f["message"].split(" at ")[0]: f for f in watched.take()}
    told = found[f"train_step leaves {name}"]
    assert (told["id"], told["where"]) == ("global-state", "train_step")
    assert f"which was {'none' if before[name] == {} else before[name]}" in told["message"]
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
