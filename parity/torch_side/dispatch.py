"""What the harness puts between a port's code and PyTorch: one dispatch mode.

While it is active it serves shared randomness to every operation that draws, keeps float64 runs in
float64 where it can, and, when asked, watches how much memory is alive. The port does not know: in
place, ``generator=``, ``out=`` and functional forms all pass through here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from parity.randomness import SharedRandomness
from parity.torch_side.draws import draw

HALVES = (torch.float32, torch.float16, torch.bfloat16)


class Interception(TorchDispatchMode):
    """Serves draws, promotes requests for float32, tracks memory; each only if asked to.

    Args:
        randomness: where the numbers come from; None leaves draws alone.
        promote: turn requests for float32 into float64, for runs that are to be an oracle.
        track_memory: keep ``peak_bytes``.

    Attributes:
        promoted: operations whose request for float32 was promoted.
        not_float64: operations that made a float32 or half tensor all the same, or were given one.
        peak_bytes: the most bytes alive at once of what was made while active.
    """

    def __init__(
        self,
        randomness: SharedRandomness | None = None,
        promote: bool = False,
        track_memory: bool = False,
    ) -> None:
        super().__init__()
        self.promoted: set[str] = set()
        self.not_float64: set[str] = set()
        self.peak_bytes = 0
        self._randomness, self._promote = randomness, promote
        self._live: dict[int, tuple[StorageWeakRef, int]] | None = {} if track_memory else None
        self._allocated = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self._promote:
            self._promote_request(func, args, kwargs)
        if self._randomness is not None and torch.Tag.nondeterministic_seeded in func.tags:
            result = draw(func, args, kwargs, self._randomness)
        else:
            result = func(*args, **kwargs)
        if self._promote:
            self._watch_precision(func, args, result)
        if self._live is not None:
            self._watch_memory(result)
        return result

    def _promote_request(self, func: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """``dtype=torch.float32`` becomes float64; ``.float()`` is ``_to_copy`` with that dtype."""
        if kwargs.get("dtype") in HALVES:
            kwargs["dtype"] = torch.float64
            self.promoted.add(_name(func))

    def _watch_precision(self, func: Any, args: Any, result: Any) -> None:
        for leaf in tree_leaves((args, result)):
            if isinstance(leaf, Tensor) and leaf.dtype in HALVES:
                self.not_float64.add(_name(func))
                return

    def _watch_memory(self, result: Any) -> None:
        assert self._live is not None
        for leaf in tree_leaves(result):
            if not isinstance(leaf, Tensor):
                continue
            storage = leaf.untyped_storage()
            reference = StorageWeakRef(storage)
            if reference.cdata not in self._live:
                self._live[reference.cdata] = (reference, storage.nbytes())
                self._allocated += storage.nbytes()
        if self._allocated > self.peak_bytes:
            for cdata in [c for c, (ref, _) in self._live.items() if ref.expired()]:
                self._allocated -= self._live.pop(cdata)[1]
            self.peak_bytes = max(self.peak_bytes, self._allocated)


def _name(func: Any) -> str:
    return str(func._schema.name.removeprefix("aten::"))
