"""What the harness puts between a port's code and PyTorch: one dispatch mode.

While it is active it serves shared randomness to every operation that draws, keeps float64 runs in
float64 where it can, and, when asked, watches how much memory is alive. The port does not know: in
place, ``generator=``, ``out=`` and functional forms all pass through here, and values, gradients
and aliasing are those of a run without it.

What does not pass through here: other threads than the caller's (a backward pass on the CPU stays
on it), other processes, NumPy's and Python's generators, and code compiled beforehand.

Cost per operation, measured on one CPU core: 7-10 µs (4 of them any mode's own),
11-20 with promotion and memory, 19-40 in ``inference_mode``; an operation that draws costs
55-100 µs and 15-20 ns per number.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from parity.frameworks.torch.draws import Draws
from parity.frameworks.torch.modes import Mode
from parity.values.frames import PACKAGE
from parity.values.randomness import SharedRandomness

#: What a float64 run must not contain; complex64 is two float32.
LOW_PRECISION = frozenset(
    {torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex32}
)

_CROWDED = 1024  # storages of no bytes would otherwise never be looked through
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
_NOT_THE_PORT = (str(Path(torch.__file__).parent), str(PACKAGE))


class Interception(Mode):
    """Serves draws, promotes requests for float32, tracks memory; each only if asked to.

    Args:
        randomness: where the numbers come from; None leaves draws alone.
        promote: turn requests for float32 (``dtype=torch.float32``, ``.float()``) into float64,
            for runs that are to be an oracle. Numbers that are float32 when torch first sees them
            (``torch.FloatTensor([0.1])``, ``torch.from_numpy`` of a float32 array) are already
            rounded: they are left as they are, and reported in ``not_float64``.
        track_memory: keep ``peak_bytes``.

    Attributes:
        promoted: operations whose request for float32 was promoted, in order of first occurrence.
        not_float64: operations of a promoting run that were given or made a tensor of
            LOW_PRECISION all the same, in order of first occurrence: it entered at the first, and
            ``lift_fresh`` stands for tensors made of Python's or NumPy's numbers.
        repeated: operations that drew from a generator put back to where it had been before, in
            order of first occurrence: by itself each would have drawn the same numbers again.
        places: operation in any of the lists -> "langevin.py:12", the line outside torch that first
            called it.
    """

    def __init__(
        self,
        randomness: SharedRandomness | None = None,
        promote: bool = False,
        track_memory: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.promoted: list[str] = []
        self.not_float64: list[str] = []
        self.places: dict[str, str] = {}
        self.repeated: list[str] = []
        self._draws = None
        if randomness is not None:
            self._draws = Draws(randomness, functools.partial(self._note, self.repeated))
        self._promote = promote
        self._memory = LiveMemory() if track_memory else None

    @property
    def peak_bytes(self) -> int:
        """The most bytes alive at once, after any operation, of what was made while active."""
        return self._tracked().peak_bytes

    @property
    def live_bytes(self) -> int:
        """The bytes alive now of what was made while active."""
        return self._tracked().live_bytes()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        traits = _traits(func)
        if traits.composite:
            with self:  # its parts come back here one by one
                return func._op_dk(_COMPOSITE, *args, **kwargs)
        if self._promote and kwargs.get("dtype") is torch.float32:
            kwargs = {**kwargs, "dtype": torch.float64}
            self._note(self.promoted, traits.name)
        if traits.draws and self._draws is not None:
            result = self._draws.serve(func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if self._promote and _low_precision((args, result, *kwargs.values())):
            self._note(self.not_float64, traits.name)
        if self._memory is not None:
            self._memory.watch(traits.name, (args, kwargs), result)
        return result

    def _note(self, names: list[str], name: str) -> None:
        if name not in names:
            names.append(name)
            self.places.setdefault(name, _place())

    def _tracked(self) -> LiveMemory:
        if self._memory is None:
            raise ValueError("memory was not tracked: give Interception(track_memory=True)")
        return self._memory


class LiveMemory:
    """Bytes of the storages that operations made, from when they are made until they are freed.

    Workspaces inside an operation are not seen, nor are layouts without a storage (sparse, mkldnn).

    Attributes:
        peak_bytes: the most that was alive after any operation.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}  # a reference keeps its key unique
        self._crowded = _CROWDED
        self._bytes = 0  # of all in _made: at least what is alive

    def watch(self, operation: str, given: Any, result: Any) -> None:
        """Count what ``result`` holds and neither existed before nor belongs to ``given``."""
        for tensor in _tensors(result):
            if tensor.layout is not torch.strided:
                continue
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self._made:
                reference, before = self._made[key]
                if size == before:
                    continue
                self._bytes -= before  # resized, as ``out=`` may
            elif operation != "lift_fresh" and key in _storages(given):
                continue  # a view of, or a write into, what was there before
            else:
                reference = StorageWeakRef(storage)
            self._made[key] = (reference, size)
            self._bytes += size
        if len(self._made) > self._crowded:
            self.live_bytes()
            self._crowded = 2 * len(self._made) + _CROWDED
        if self._bytes > self.peak_bytes:
            self.peak_bytes = max(self.peak_bytes, self.live_bytes())

    def live_bytes(self) -> int:
        """Forget what has been freed and add up the rest."""
        for key in [key for key, (made, _) in self._made.items() if made.expired()]:
            self._bytes -= self._made.pop(key)[1]
        return self._bytes


@dataclasses.dataclass(frozen=True)
class _Traits:
    """What is to be known of an operation.

    Attributes:
        name: "add_", or "namespace::name" of an operation that is not torch's own.
        draws: it is tagged ``nondeterministic_seeded``.
        composite: it only calls other operations. Autograd takes such operations apart before a
            mode sees them, but in ``inference_mode`` they arrive whole: ``dropout``, ``to``.
    """

    name: str
    draws: bool
    composite: bool


@functools.cache
def _traits(func: Any) -> _Traits:
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    name = func.name()
    return _Traits(
        name=func._schema.name.removeprefix("aten::"),
        draws=torch.Tag.nondeterministic_seeded in func.tags,
        composite=has_kernel(name, _COMPOSITE)
        and not any(has_kernel(name, backend) for backend in ("CPU", "CUDA")),
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in an operation's arguments or results, which nest in lists and the like."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


def _low_precision(values: Iterable[Any]) -> bool:
    """Whether a tensor among the values, nested or not, has what a float64 run must not contain."""
    for value in values:
        if isinstance(value, Tensor):
            if value.dtype in LOW_PRECISION:
                return True
        elif isinstance(value, (tuple, list)) and _low_precision(value):
            return True
    return False


def _storages(value: Any) -> set[int]:
    return {
        tensor.untyped_storage()._cdata
        for tensor in _tensors(value)
        if tensor.layout is torch.strided
    }


def _place() -> str:
    """The innermost line of code that is neither torch's nor this package's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_PORT):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
