"""The port as it is: a PyTorch module or whatever builds one."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from parity.errors import BadCall
from parity.frameworks.torch.capture import storage
from parity.frameworks.torch.modes import Mode
from parity.frameworks.torch.watch import is_ports
from parity.values.table import Called, Fingerprint, Operation, Table, Use, alike, fingerprint

Arrays = dict[str, np.ndarray]
DTYPES = {"float64": torch.float64, "float32": torch.float32}

#: Layouts that a module's class fixes, whatever the module does with its parameter.
LAYOUTS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((nn.Linear,), "out in"),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), "out in ..."),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), "in out ..."),
    ((nn.Embedding, nn.EmbeddingBag), "rows columns"),
    ((nn.GRU, nn.GRUCell), "gru"),
    ((nn.LSTM, nn.LSTMCell, nn.RNN, nn.RNNCell), "out in"),
    ((nn.MultiheadAttention,), "out in"),
)


class TorchProgram:
    """Answers for a port that is nothing but a module."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self._models: dict[str, nn.Module] = {}
        self._fresh: dict[str, dict[str, Tensor]] = {}
        self._made: dict[int, str] = {}  # id of a module -> the line that makes it
        self.named = False  # inputs are passed by keyword
        self.changed: set[str] = set()  # inputs that the module wrote to

    def model(self, dtype: str) -> nn.Module:
        """The module in ``dtype``, in evaluation mode."""
        if dtype not in self._models:
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float32)
            try:
                with _noting_where_modules_are_made(self._made):
                    model = self._build()
            finally:
                torch.set_default_dtype(before)
            self._models[dtype] = model.to(DTYPES[dtype]).eval()
            self._fresh[dtype] = {n: t.detach().clone() for n, t in state(model).items()}
        return self._models[dtype]

    def _build(self) -> nn.Module:
        found = self._found
        if isinstance(found, nn.Module):
            import copy

            return copy.deepcopy(found)
        if not callable(found):
            raise BadCall(
                f"expected a torch.nn.Module, or what builds one, got a {type(found).__name__}"
            )
        needed = [
            p.name
            for p in inspect.signature(found).parameters.values()
            if p.default is p.empty
            and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        if needed:
            raise BadCall(
                f"{getattr(found, '__name__', found)} needs {', '.join(needed)}: name a function "
                "that builds the module without arguments"
            )
        model = found()
        if not isinstance(model, nn.Module):
            raise BadCall(f"the port builds a {type(model).__name__}, not a torch.nn.Module")
        return model

    def describe(self) -> dict[str, Any]:
        """Parameters and buffers, each once, and the arguments of ``forward``."""
        model = self.model("float64")
        return {
            "parameters": [
                {
                    "name": name,
                    "shape": list(tensor.shape),
                    "owner": name.rpartition(".")[0],
                    "kind": type(_owner(model, name)).__name__,
                    "layout": _layout(_owner(model, name), tensor),
                    "heads": name.rpartition(".")[2].startswith("in_proj_"),
                    "trainable": isinstance(tensor, nn.Parameter),
                }
                for name, tensor in state(model).items()
            ],
            "arguments": arguments(model),
        }

    def accepts(self, inputs: Arrays) -> str | None:
        """Why the module does not run on the inputs, or None; says nothing of what it computes."""
        model = self.model("float64")
        try:
            with torch.no_grad(), _quiet():
                self._called(model, self._tensors(inputs, "float64"))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def load(self, dtype: str, values: Mapping[str, np.ndarray]) -> nn.Module:
        model = self.model(dtype)
        with torch.no_grad():
            for name, tensor in state(model).items():
                if name in values:
                    tensor.copy_(torch.from_numpy(np.array(values[name])).reshape(tensor.shape))
                else:  # what an earlier question put there would answer for what is not known
                    tensor.copy_(self._fresh[dtype][name])
        return model

    def forward(
        self,
        dtype: str,
        values: Arrays,
        inputs: Arrays,
        cotangents: Callable[[str, tuple[int, ...]], np.ndarray] | None,
        outputs_as: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    ) -> Arrays:
        """``outputs/...``; with cotangents ``input_gradients/...``, ``parameter_gradients/...``.

        Args:
            outputs_as: brings the outputs into the reference's names and order of axes.
        """
        before = torch.get_default_dtype()
        torch.set_default_dtype(DTYPES[dtype])
        try:
            model = self.load(dtype, values)
            tensors = self._tensors(inputs, dtype)
            floating = {n: x.requires_grad_() for n, x in tensors.items() if x.is_floating_point()}
            outputs = outputs_as(flat_outputs(self._called(model, tensors)))
            found = {f"outputs/{n}": x.detach().numpy().copy() for n, x in outputs.items()}
            if cotangents is None:
                return found
            parts = [
                (x * torch.from_numpy(cotangents(n, tuple(x.shape))).to(x.dtype)).sum()
                for n, x in outputs.items()
                if x.is_floating_point()
            ]
            parameters = {n: p for n, p in state(model).items() if isinstance(p, nn.Parameter)}
            wanted = [*floating.values(), *parameters.values()]
            total = torch.stack([p.to(DTYPES[dtype]) for p in (*parts, torch.zeros(()))]).sum()
            gradients: Sequence[Tensor | None] = [None] * len(wanted)
            if total.requires_grad:
                tracked = [x for x in wanted if x.requires_grad]
                got = dict(
                    zip(
                        map(id, tracked),
                        torch.autograd.grad(total, tracked, allow_unused=True),
                        strict=True,
                    )
                )
                gradients = [got.get(id(x)) for x in wanted]
            names = [
                *(f"input_gradients/{n}" for n in floating),
                *(f"parameter_gradients/{n}" for n in parameters),
            ]
            for name, x, g in zip(names, wanted, gradients, strict=True):
                found[name] = (torch.zeros_like(x) if g is None else g).detach().numpy().copy()
            return found
        finally:
            torch.set_default_dtype(before)

    def table(
        self, values: Arrays, inputs: Arrays, replaced: Sequence[tuple[Fingerprint, Any]] = ()
    ) -> Table:
        """Everything computed in float64, fused fast paths taken apart.

        Args:
            replaced: fingerprints, and what is put in place of the first tensor that has it.
        """
        return self._recorded(values, inputs, replaced).table()

    def tensors(
        self,
        values: Arrays,
        inputs: Arrays,
        wanted: Sequence[Fingerprint],
        replaced: Sequence[tuple[Fingerprint, Any]] = (),
    ) -> dict[str, np.ndarray]:
        """The tensors that have these fingerprints, as "number of it/number of the tensor"; what is
        replaced is answered as it was before."""
        return self._recorded(values, inputs, replaced, wanted).found

    def _recorded(
        self,
        values: Arrays,
        inputs: Arrays,
        replaced: Sequence[tuple[Fingerprint, Any]],
        wanted: Sequence[Fingerprint] = (),
    ) -> _Recording:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            model = self.load("float64", values)
            recording = _Recording(model, self._made, replaced, wanted)
            fast = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
            try:
                with torch.no_grad(), _quiet(), recording:
                    self._called(model, self._tensors(inputs, "float64"))
            except Exception as error:
                if not recording.uses:
                    raise
                recording.stopped = f"{type(error).__name__}: {error}"
            finally:
                torch.backends.mha.set_fastpath_enabled(fast)
            return recording
        finally:
            torch.set_default_dtype(before)

    def _tensors(self, inputs: Arrays, dtype: str) -> dict[str, Tensor]:
        found = {}
        for name, array in inputs.items():
            tensor = torch.from_numpy(np.array(array))
            found[name] = tensor.to(DTYPES[dtype]) if tensor.is_floating_point() else tensor.long()
        return found

    def _called(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> Any:
        given = {n: x.clone() for n, x in tensors.items()}
        kept = {n: x._version for n, x in given.items()}
        try:
            return model(**given) if self.named else model(*given.values())
        finally:
            self.changed |= {n for n, x in given.items() if x._version != kept[n]}


class _Recording(Mode):
    """Fingerprints of what a module computes while active, of modules' calls, of weights' uses.

    Args:
        made: id of a module -> the line that makes it.
        replaced, wanted: as of :meth:`TorchProgram.tensors`.
    """

    def __init__(
        self,
        model: nn.Module,
        made: Mapping[int, str],
        replaced: Sequence[tuple[Fingerprint, Any]] = (),
        wanted: Sequence[Fingerprint] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made, self._replaced, self._wanted = made, list(replaced), wanted
        self._within: list[nn.Module] = []
        self.operations: list[Operation] = []
        self.found: dict[str, np.ndarray] = {}
        self._weights = {storage(t): n for n, t in state(model).items()}
        self._tensors_of = dict(state(model))
        self._paths = {id(m): p for p, m in model.named_modules()}
        self._derived: list[Tensor] = []
        self.tensors: list[Fingerprint] = []
        self.uses: list[Use] = []
        self.calls: list[dict[str, Any]] = []
        self.stopped: str | None = None
        self._hooks: list[Any] = []

    def __enter__(self) -> Any:
        def before(module: nn.Module, given: Any) -> None:
            self._within.append(module)
            if id(module) in self._paths:
                self.calls.append(
                    {
                        "path": self._paths[id(module)],
                        "kind": type(module).__name__,
                        "given": _prints(given),
                    }
                )

        def after(module: nn.Module, given: Any, result: Any) -> None:
            if module in self._within:
                del self._within[self._within.index(module) :]
            path = self._paths.get(id(module))
            for call in reversed(self.calls):
                if call["path"] == path and "result" not in call:
                    call["result"] = _prints(result)
                    break

        self._hooks = [
            nn.modules.module.register_module_forward_pre_hook(before),
            nn.modules.module.register_module_forward_hook(after),
        ]
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *args: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*args)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        names = [self._weights.get(storage(x)) for x in given]
        weights = {n for n in names if n is not None}
        operands = [x for x, n in zip(given, names, strict=True) if n is None]
        data = tuple(f for x in operands if (f := _print(x)) is not None)
        result = func(*args, **(kwargs or {}))
        results = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        for x in results:
            self._look_at(x)
        if weights and not any(x.is_floating_point() or x.numel() > 1 for x in operands):
            if len(weights) == 1:
                for x in results:
                    if storage(x) not in self._weights:
                        self._weights[storage(x)] = next(iter(weights))
                        self._derived.append(x)
            return result
        made = [
            f for x in results if storage(x) not in self._weights and (f := _print(x)) is not None
        ]
        for x, name in zip(given, names, strict=True):
            if name is not None:
                self.uses.append(
                    Use(
                        name,
                        func._schema.name.removeprefix("aten::"),
                        data,
                        made[0] if made else None,
                        self._turned(name, x),
                    )
                )
        self.tensors += made
        if made:
            self.operations.append(
                Operation(
                    func._schema.name.removeprefix("aten::"),
                    _plain_arguments(func, args, kwargs or {}),
                    data,
                    tuple(made),
                    *self._lines(),
                )
            )
        return result

    def _look_at(self, tensor: Tensor) -> None:
        """Keep a tensor that is wanted, and put another in place of one that is replaced."""
        if not self._wanted and not self._replaced:
            return
        print_ = _print(tensor)
        if print_ is None:
            return
        for number, wanted in enumerate(self._wanted):
            if alike(wanted, print_):
                name = f"{number}/{sum(n.startswith(f'{number}/') for n in self.found)}"
                with torch._C._DisableTorchDispatch():
                    self.found[name] = tensor.detach().double().numpy().copy()
        for place, (wanted, array) in enumerate(self._replaced):
            if alike(wanted, print_) and tuple(array.shape) == tuple(tensor.shape):
                del self._replaced[place]
                with torch._C._DisableTorchDispatch():
                    tensor.copy_(torch.from_numpy(np.array(array)))
                break

    def _lines(self) -> tuple[str, str]:
        """The line to look at, which for a module of torch's own is that which makes it, and the
        one that is running."""
        called = _port_line()
        inner = self._within[-1] if self._within else None
        if inner is not None and type(inner).__module__.startswith("torch."):
            outer = next(
                (m for m in self._within if type(m).__module__.startswith("torch.nn")), inner
            )
            for module in (inner, outer):
                if id(module) in self._made:
                    return self._made[id(module)], called
        return called, called

    def _turned(self, name: str, given: Tensor) -> bool | None:
        """Whether a matrix was given as its transpose."""
        own = self._tensors_of[name]
        if own.ndim != 2 or given.ndim != 2:
            return None
        return given.stride() == own.stride()[::-1] and given.stride() != own.stride()

    def table(self) -> Table:
        calls = tuple(
            Called(c["path"], c["kind"], c["given"], c.get("result", ())) for c in self.calls
        )
        return Table(
            tuple(self.tensors), tuple(self.uses), calls, self.stopped, tuple(self.operations)
        )


def _port_line() -> str:
    """The innermost line of the port's that is running, "port.py:31"; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_ports(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


@contextlib.contextmanager
def _noting_where_modules_are_made(made: dict[int, str]) -> Iterator[None]:
    """Keep the port's line that makes each module while active, by the module's id."""
    init = nn.Module.__init__

    def noting(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        init(module, *args, **kwargs)
        if line := _port_line():
            made[id(module)] = line

    nn.Module.__init__ = noting  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.__init__ = init  # type: ignore[method-assign]


def _plain_arguments(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, words and lists of numbers, by the names that the operation has for them, also where
    they are its defaults."""
    declared = func._schema.arguments
    named = {a.name: a.default_value for a in declared if a.has_default_value()}
    named |= dict(zip([a.name for a in declared], args, strict=False)) | dict(kwargs)

    def plain(value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return all(isinstance(v, (int, float)) for v in value)
        return isinstance(value, (bool, int, float, str))

    return {
        name: list(value) if isinstance(value, (list, tuple)) else value
        for name, value in named.items()
        if plain(value)
    }


def state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and floating buffers, shared ones once, as a checkpoint names them."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if id(tensor) not in seen and tensor.is_floating_point():
            seen.add(id(tensor))
            found[name] = tensor
    return found


def flat_outputs(result: Any) -> dict[str, Tensor]:
    """Outputs by path: "0" for a single one, keys of dicts, numbers of sequences."""
    if isinstance(result, Mapping):
        pairs: list[tuple[Any, Any]] = list(result.items())
    elif isinstance(result, (list, tuple)):
        pairs = list(enumerate(result))
    elif isinstance(result, Tensor):
        return {"0": result}
    else:
        raise TypeError(f"the port returns a {type(result).__name__}, expected tensors")
    found = {}
    for key, value in pairs:
        if value is None:
            continue
        nested = isinstance(value, (Mapping, list, tuple))
        for name, x in flat_outputs(value).items():
            found[f"{key}/{name}" if nested else str(key)] = x
    return found


def arguments(model: nn.Module) -> list[dict[str, Any]]:
    """The arguments of ``forward`` that may be inputs, and whether each is needed."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        {"name": p.name, "needed": p.default is p.empty}
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _layout(owner: nn.Module, tensor: Tensor) -> str | None:
    if tensor.ndim < 2:
        return "gru" if isinstance(owner, (nn.GRU, nn.GRUCell)) else None
    return next((layout for kinds, layout in LAYOUTS if isinstance(owner, kinds)), None)


def _print(tensor: Tensor) -> Fingerprint | None:
    if tensor.is_complex() or tensor.layout is not torch.strided or tensor.dtype is torch.bool:
        return None
    with torch._C._DisableTorchDispatch():
        return fingerprint(tensor.detach().double().numpy())


def _prints(structure: Any) -> tuple[Fingerprint, ...]:
    return tuple(
        f for x in tree_leaves(structure) if isinstance(x, Tensor) and (f := _print(x)) is not None
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
