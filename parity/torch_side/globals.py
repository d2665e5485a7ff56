"""What belongs to the whole process: flags and generators that a port must leave as it found them.

Looked at before and after every entry of the port's. What was changed is told once and put back, so
that one fault does not poison the cases that follow.

Not looked at: warning filters and environment variables, which libraries change by themselves when
they are first imported, and how tensors are printed.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from parity import randomness

_C = torch._C
_DETERMINISTIC = "torch.are_deterministic_algorithms_enabled()"
_WARN_ONLY = "torch.is_deterministic_algorithms_warn_only_enabled()"
_ANOMALY, _CHECK_NAN = "torch.is_anomaly_enabled()", "torch.is_anomaly_check_nan_enabled()"
_SUBNORMAL = [2.0**-1022]  # in a list, so that the half of it is computed and not folded


def _default_device() -> str:
    """As ``torch.get_default_device``, which takes a hundred times as long."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return "unset" if context is None else str(context.device)


READ: dict[str, Callable[[], Any]] = {
    "torch.is_inference_mode_enabled()": torch.is_inference_mode_enabled,
    "torch.is_grad_enabled()": torch.is_grad_enabled,
    "torch.get_default_dtype()": torch.get_default_dtype,
    "the default device": _default_device,
    "torch.get_num_threads()": torch.get_num_threads,
    _DETERMINISTIC: torch.are_deterministic_algorithms_enabled,
    _WARN_ONLY: torch.is_deterministic_algorithms_warn_only_enabled,
    "torch.utils.deterministic.fill_uninitialized_memory": (
        _C._get_deterministic_fill_uninitialized_memory
    ),
    _ANOMALY: torch.is_anomaly_enabled,
    _CHECK_NAN: torch.is_anomaly_check_nan_enabled,
    "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision,
    "torch.backends.cudnn.enabled": _C._get_cudnn_enabled,
    "torch.backends.cudnn.benchmark": _C._get_cudnn_benchmark,
    "torch.backends.cudnn.deterministic": _C._get_cudnn_deterministic,
    "torch.backends.mkldnn.enabled": _C._get_mkldnn_enabled,
    "torch.is_autocast_enabled('cpu')": lambda: torch.is_autocast_enabled("cpu"),
    "torch.is_autocast_enabled('cuda')": lambda: torch.is_autocast_enabled("cuda"),
    "torch.set_flush_denormal": lambda: _SUBNORMAL[0] / 2 == 0.0,
    "numpy.geterr()": np.geterr,
}
"""Each flag by the name that a person knows it by, and how it is read."""

_RESTORE: dict[str, Callable[[Any], Any]] = {
    "torch.is_grad_enabled()": torch.set_grad_enabled,
    "torch.get_default_dtype()": torch.set_default_dtype,
    "the default device": lambda name: torch.set_default_device(None if name == "unset" else name),
    "torch.get_num_threads()": torch.set_num_threads,
    "torch.utils.deterministic.fill_uninitialized_memory": (
        _C._set_deterministic_fill_uninitialized_memory
    ),
    "torch.get_float32_matmul_precision()": torch.set_float32_matmul_precision,
    "torch.backends.cudnn.enabled": _C._set_cudnn_enabled,
    "torch.backends.cudnn.benchmark": _C._set_cudnn_benchmark,
    "torch.backends.cudnn.deterministic": _C._set_cudnn_deterministic,
    "torch.backends.mkldnn.enabled": _C._set_mkldnn_enabled,
    "torch.is_autocast_enabled('cpu')": lambda on: torch.set_autocast_enabled("cpu", on),
    "torch.is_autocast_enabled('cuda')": lambda on: torch.set_autocast_enabled("cuda", on),
    "torch.set_flush_denormal": torch.set_flush_denormal,
    "numpy.geterr()": lambda kinds: np.seterr(**kinds),
}

_MODES: list[Any] = []
"""Inference modes entered to put that back: each ends with the object that entered it."""


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
        before = {name: read() for name, read in READ.items()}
        try:
            yield
        finally:
            after = {name: read() for name, read in READ.items()}
            if after != before:
                self._flags(entry, before, after)
            self._generators(entry)

    def take(self) -> list[dict[str, str]]:
        """The findings so far, each once."""
        found, self._found = self._found, []
        return found

    def _flags(self, entry: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        for name, value in after.items():
            if value != before[name]:
                self._tell(
                    entry,
                    name,
                    f"{entry} leaves {name} at {value}, which was {before[name]}: it holds for the "
                    "whole process, whoever calls; put it back in a finally block, or use the "
                    "context manager that does",
                )
        name = "torch.is_inference_mode_enabled()"
        if after[name] != before[name]:
            _MODES.append(torch.inference_mode(before[name]))
            _MODES[-1].__enter__()
        torch.use_deterministic_algorithms(before[_DETERMINISTIC], warn_only=before[_WARN_ONLY])
        torch.autograd.set_detect_anomaly(before[_ANOMALY], before[_CHECK_NAN])
        for name, restore in _RESTORE.items():
            if READ[name]() != before[name]:
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
        self._tell(
            entry,
            f"{whose} generator",
            f"{entry} seeds {whose} global generator {how}: every call then draws the same, and so "
            "does whatever else is drawn after it; leave it alone, and seed once, outside",
        )

    def _tell(self, entry: str, name: str, message: str) -> None:
        if (entry, name) not in self._told:
            self._told.add((entry, name))
            self._found.append(
                {"id": "global-state", "message": message, "where": entry, "part": entry}
            )


def _own_seed(seed: int) -> int:
    sha = hashlib.sha256(f"parity/{seed}".encode()).digest()
    return int.from_bytes(sha[:8], "little") >> 1
