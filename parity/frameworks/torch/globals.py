"""What belongs to the whole process: flags and generators that a port must leave as it found them.

Looked at before and after every entry of the port's. What was changed is told once and put back, so
that one fault does not poison the cases that follow.

Not looked at: warning filters and environment variables, which libraries change by themselves when
they are first imported, modes of ``torch.overrides`` and of the dispatcher that are left entered,
and how tensors are printed.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as _module

from parity.values import randomness

Read = Callable[[], Any]
Restore = Callable[[Any], Any]

_C = torch._C
MIXED = "mixed"
"""What a flag is said to be that torch refuses to read, as where old and new names of it differ."""

_DETERMINISTIC = "torch.are_deterministic_algorithms_enabled()"
_WARN_ONLY = "torch.is_deterministic_algorithms_warn_only_enabled()"
_ANOMALY, _CHECK_NAN = "torch.is_anomaly_enabled()", "torch.is_anomaly_check_nan_enabled()"
_DEVICES = ("cpu", "cuda")
_SUBNORMAL = [2.0**-1022]  # in a list, so that the half of it is computed and not folded


def _default_device() -> str:
    """As ``torch.get_default_device``, which takes a hundred times as long."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return "unset" if context is None else str(context.device)


def _precisions() -> dict[str, tuple[Read, Restore]]:
    """``fp32_precision`` of each backend; first those that others take theirs from."""
    places = {
        "": ("generic", "all"),
        "cudnn.": ("cuda", "all"),
        "cuda.matmul.": ("cuda", "matmul"),
        "cudnn.conv.": ("cuda", "conv"),
        "cudnn.rnn.": ("cuda", "rnn"),
        "mkldnn.": ("mkldnn", "all"),
        "mkldnn.matmul.": ("mkldnn", "matmul"),
        "mkldnn.conv.": ("mkldnn", "conv"),
        "mkldnn.rnn.": ("mkldnn", "rnn"),
    }
    return {
        f"torch.backends.{name}fp32_precision": (
            functools.partial(_C._get_fp32_precision_getter, *place),
            functools.partial(_C._set_fp32_precision_setter, *place),
        )
        for name, place in places.items()
    }


_HOOKS = {
    f"torch.nn.modules.module.register_module_{name}": f"_global_{name}s"
    for name in (
        "forward_hook",
        "forward_pre_hook",
        "backward_hook",
        "parameter_registration_hook",
        "buffer_registration_hook",
        "module_registration_hook",
    )
} | {"torch.nn.modules.module.register_module_full_backward_pre_hook": "_global_backward_pre_hooks"}
"""Hooks on every module: how they are made, and the dict that holds them. Those of a full backward
pass are in the dict of the others."""


def _hooks() -> dict[str, tuple[Read, Restore]]:
    def restore(held: dict[int, Any], before: dict[int, Any]) -> None:
        held.clear()
        held.update(before)
        if not _module._global_backward_hooks:
            _module._global_is_full_backward_hook = None

    held = {name: vars(_module)[where] for name, where in _HOOKS.items()}
    return {
        name: (functools.partial(dict, each), functools.partial(restore, each))
        for name, each in held.items()
    }


def _saved_hooks() -> Any:
    return _C._autograd._top_saved_tensors_default_hooks(True)


def _restore_saved_hooks(before: Any) -> None:
    while (top := _saved_hooks()) is not None and top != before:
        _C._autograd._pop_saved_tensors_default_hooks()
    if top != before:
        _C._autograd._push_saved_tensors_default_hooks(*before)


def _allow_saved_hooks(refusal: str | None) -> None:
    if refusal is None:
        _C._autograd._saved_tensors_hooks_enable()
    else:
        _C._autograd._saved_tensors_hooks_disable(refusal)


def _einsum(name: str) -> tuple[Read, Restore]:
    """What is set from outside lies over what ``set_flags`` sets."""
    outer: dict[str, Any] = vars(torch.backends.opt_einsum)
    inner: dict[str, Any] = vars(outer["m"])

    def restore(before: Any) -> None:
        outer.pop(name, None)
        inner[name] = before

    return lambda: outer.get(name, inner[name]), restore


NAMES = {
    "_get_blas_preferred_backend": "torch.backends.cuda.preferred_blas_library()",
    "_get_cublas_allow_bf16_reduced_precision_reduction": (
        "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction"
    ),
    "_get_cublas_allow_fp16_accumulation": "torch.backends.cuda.matmul.allow_fp16_accumulation",
    "_get_cublas_allow_fp16_reduced_precision_reduction": (
        "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction"
    ),
    "_get_cublas_allow_tf32": "torch.backends.cuda.matmul.allow_tf32",
    "_get_cudnn_allow_tf32": "torch.backends.cudnn.allow_tf32",
    "_get_cudnn_benchmark": "torch.backends.cudnn.benchmark",
    "_get_cudnn_deterministic": "torch.backends.cudnn.deterministic",
    "_get_cudnn_enabled": "torch.backends.cudnn.enabled",
    "_get_cudnn_sdp_enabled": "torch.backends.cuda.cudnn_sdp_enabled()",
    "_get_deterministic_fill_uninitialized_memory": (
        "torch.utils.deterministic.fill_uninitialized_memory"
    ),
    "_get_flash_sdp_enabled": "torch.backends.cuda.flash_sdp_enabled()",
    "_get_linalg_preferred_backend": "torch.backends.cuda.preferred_linalg_library()",
    "_get_math_sdp_enabled": "torch.backends.cuda.math_sdp_enabled()",
    "_get_mem_efficient_sdp_enabled": "torch.backends.cuda.mem_efficient_sdp_enabled()",
    "_get_mkldnn_deterministic": "torch.backends.mkldnn.deterministic",
    "_get_mkldnn_enabled": "torch.backends.mkldnn.enabled",
    "_get_nnpack_enabled": "torch.backends.nnpack.set_flags",
    "_get_qengine": "torch.backends.quantized.engine",
    "_get_warnAlways": "torch.is_warn_always_enabled()",
    "_is_fwd_grad_enabled": "torch.autograd.forward_ad._set_fwd_grad_enabled",
    "_is_multithreading_enabled": "torch.autograd.set_multithreading_enabled",
    "_is_view_replay_enabled": "torch.autograd._force_original_view_tracking",
}
"""The names that people know, where there is one, of what ``torch._C`` reads."""

NO_FLAGS = {
    "_get_deterministic_algorithms": "read by hand, for its setter takes more",
    "_get_float32_matmul_precision": "read by hand, for it cannot always be set as it reads",
    "_get_thread_name": "nothing is computed by it, and libraries name their threads",
}
"""What ``torch._C`` reads and sets that is not taken as it is, and why."""

_PLAIN = (bool, int, str, enum.Enum)


def _discovered() -> dict[str, tuple[Read, Restore]]:
    """Whatever ``torch._C`` reads without arguments and also sets: flags, also ones to come."""
    found = {}
    for name in sorted(dir(_C)):
        prefix = next((p for p in ("_get_", "_is_") if name.startswith(p)), None)
        if prefix is None or name in NO_FLAGS:
            continue
        what = name.removeprefix(prefix)
        use = what.removesuffix("_sdp_enabled")
        setters = (f"_set_{what}", f"_set_sdp_use_{use}" if use != what else "")
        setter = next((getattr(_C, each) for each in setters if hasattr(_C, each)), None)
        if setter is None:
            continue
        read = getattr(_C, name)
        try:
            value = read()
        except Exception:
            continue  # it takes arguments
        if _plain(value):
            restore = (lambda v, s=setter: s(*v)) if isinstance(value, tuple) else setter
            found[NAMES.get(name, f"torch._C.{name}()")] = (read, restore)
    return found


def _plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    return isinstance(value, _PLAIN) or hasattr(type(value), "__members__")  # pybind's enums


def _no(value: Any) -> None:
    """Put back apart, by what sets several at once."""


_PRECISIONS = _precisions()
_WATCHED: dict[str, tuple[Read, Restore]] = {
    "torch.is_inference_mode_enabled()": (torch.is_inference_mode_enabled, _no),
    "torch.is_grad_enabled()": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.get_default_dtype()": (torch.get_default_dtype, torch.set_default_dtype),
    "the default device": (
        _default_device,
        lambda name: torch.set_default_device(None if name == "unset" else name),
    ),
    "torch.get_num_threads()": (torch.get_num_threads, torch.set_num_threads),
    _DETERMINISTIC: (torch.are_deterministic_algorithms_enabled, _no),
    _WARN_ONLY: (torch.is_deterministic_algorithms_warn_only_enabled, _no),
    _ANOMALY: (torch.is_anomaly_enabled, _no),
    _CHECK_NAN: (torch.is_anomaly_check_nan_enabled, _no),
    "torch.get_float32_matmul_precision()": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    **{
        f"torch.is_autocast_enabled({device!r})": (
            functools.partial(torch.is_autocast_enabled, device),
            functools.partial(torch.set_autocast_enabled, device),
        )
        for device in _DEVICES
    },
    **{
        f"torch.get_autocast_dtype({device!r})": (
            functools.partial(torch.get_autocast_dtype, device),
            functools.partial(torch.set_autocast_dtype, device),
        )
        for device in _DEVICES
    },
    "torch.is_autocast_cache_enabled()": (
        torch.is_autocast_cache_enabled,
        torch.set_autocast_cache_enabled,
    ),
    "torch.set_flush_denormal": (lambda: _SUBNORMAL[0] / 2 == 0.0, torch.set_flush_denormal),
    "torch.sparse.check_sparse_tensor_invariants": (
        _C._check_sparse_tensor_invariants,
        _C._set_check_sparse_tensor_invariants,
    ),
    "torch.backends.opt_einsum.enabled": _einsum("enabled"),
    "torch.backends.opt_einsum.strategy": _einsum("strategy"),
    "torch.autograd.graph.saved_tensors_hooks": (_saved_hooks, _restore_saved_hooks),
    "torch.autograd.graph.disable_saved_tensors_hooks": (
        _C._autograd._saved_tensors_hooks_get_disabled_error_message,
        _allow_saved_hooks,
    ),
    **_hooks(),
    "numpy.geterr()": (np.geterr, lambda kinds: np.seterr(**kinds)),
    **_discovered(),
    **_PRECISIONS,
}
"""Each flag by the name that a person knows it by, how it is read, and how it is put back."""

READ: dict[str, Read] = {name: read for name, (read, _) in _WATCHED.items()}

_MODES: list[Any] = []
"""Inference modes entered to put that back: each ends with the object that entered it."""


def flags() -> dict[str, Any]:
    """Every flag as it is now."""
    return {name: _value(read) for name, read in READ.items()}


def _value(read: Read) -> Any:
    try:
        return read()
    except Exception:  # torch raises where a flag of an older name cannot say it all
        return MIXED


def _said(value: Any) -> str:
    """Hooks by their names, for their numbers and where they lie in memory say nothing."""
    parts = tuple(value.values()) if isinstance(value, dict) else value
    if isinstance(parts, tuple) and all(map(callable, parts)):
        return ", ".join(getattr(p, "__qualname__", type(p).__name__) for p in parts) or "none"
    return str(value)


class Globals:
    """Watches over the process while the port's entries run."""

    def __init__(self) -> None:
        self._found: list[dict[str, str]] = []
        self._told: set[tuple[str, str]] = set()
        self._ends: dict[tuple[str, bytes], int] = {}
        self._looked: set[tuple[str, tuple[int, int]]] = set()
        self._seed = _own_seed(0)
        torch.manual_seed(self._seed)

    def seed(self, seed: int) -> None:
        """Seed torch's global generators, by a number that no program seeds them with itself."""
        self._seed = _own_seed(seed)
        torch.manual_seed(self._seed)

    @contextlib.contextmanager
    def entered(self, entry: str) -> Iterator[None]:
        """Around one call of the port's: what it changes is kept as findings, and put back."""
        if torch.initial_seed() != self._seed:  # by the port's modules, as they were imported
            torch.manual_seed(self._seed)
        before = flags()
        try:
            yield
        finally:
            after = flags()
            if after != before:
                self._flags(entry, before, after)
            self._generators(entry)

    def take(self) -> list[dict[str, str]]:
        """The findings so far, each once."""
        found, self._found = self._found, []
        return found

    def _flags(self, entry: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        for name, value in after.items():
            if value is not MIXED and value != before[name]:  # another has made it so, and is told
                self.tell(
                    entry,
                    name,
                    f"{entry} leaves {name} at {_said(value)}, which was {_said(before[name])}: it "
                    "holds for the "
                    "whole process, whoever calls; put it back in a finally block, or use the "
                    "context manager that does",
                )
        name = "torch.is_inference_mode_enabled()"
        if after[name] != before[name]:
            _MODES.append(torch.inference_mode(before[name]))
            _MODES[-1].__enter__()
        torch.use_deterministic_algorithms(before[_DETERMINISTIC], warn_only=before[_WARN_ONLY])
        torch.autograd.set_detect_anomaly(before[_ANOMALY], before[_CHECK_NAN])
        for name in (*_PRECISIONS, *_WATCHED):  # while those differ, others cannot be read
            read, restore = _WATCHED[name]
            if before[name] is not MIXED and _value(read) != before[name]:
                restore(before[name])

    def _generators(self, entry: str) -> None:
        """Whether the entry has seeded a generator that is not its own.

        Torch's says what it was seeded with. Python's and NumPy's do not; but they were seeded by
        the harness, from another number for each case, and where two calls that began apart end
        alike, something between has thrown that seed away.
        """
        if torch.initial_seed() != self._seed:
            self._reseeded(entry, "torch's", f"with {torch.initial_seed()}")
            torch.manual_seed(self._seed)
        seeds = randomness.host_seeds()
        if seeds is None or (entry, seeds) in self._looked:
            return  # the states of both take seven times as long to read as all flags
        self._looked.add((entry, seeds))
        ends = {
            "Python's": repr(random.getstate()[1][:8]).encode(),
            "NumPy's": np.random.get_state(legacy=False)["state"]["key"][:8].tobytes(),
        }
        for (whose, end), seed in zip(ends.items(), seeds, strict=True):
            if self._ends.setdefault((whose, end), seed) != seed:
                self._reseeded(entry, whose, "so that it stands alike after calls that began apart")

    def _reseeded(self, entry: str, whose: str, how: str) -> None:
        self.tell(
            entry,
            f"{whose} generator",
            f"{entry} seeds {whose} global generator {how}: every call then draws the same, and so "
            "does whatever else is drawn after it; leave it alone, and seed once, outside",
        )

    def tell(self, entry: str, name: str, message: str, id_: str = "global-state") -> None:
        """Keep a finding of the entry's, of each name one."""
        if (entry, name) not in self._told:
            self._told.add((entry, name))
            self._found.append({"id": id_, "message": message, "where": entry, "part": entry})


def _own_seed(seed: int) -> int:
    sha = hashlib.sha256(f"parity/{seed}".encode()).digest()
    return int.from_bytes(sha[:8], "little") >> 1
