"""What a port's ``generate_samples`` leaves behind, and what it needs of its caller.

What it changes in the whole process is seen around every entry
(``parity.frameworks.torch.globals``).

Each finding is one sentence that says what was expected, what was found, and how to mend it.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from parity.frameworks.torch.dispatch import Interception
from parity.values.cases import Case
from parity.values.randomness import SharedRandomness, host_generators_seeded

FIXES = {
    "no_grad": "with torch.enable_grad(): around the evaluation and its gradient",
    "inference_mode": "with torch.inference_mode(False), torch.enable_grad(): around the whole "
    "loop, and images = images.clone() in it: torch.enable_grad() alone does not leave inference "
    "mode",
}
SHORT, LONG = 3, 12  # steps of the two runs whose live memory is compared

Findings = list[dict[str, str]]


def findings(
    case: Case,
    images: Tensor,
    model: nn.Module,
    call: Callable[[Tensor, int, bool], Any],
    layout: str,
    *,
    every_step: bool,
    caller_modes: tuple[str, ...],
    empty_batch: bool,
) -> Findings:
    """Run the sampler in every way a caller may and list what it got wrong.

    Args:
        case: supplies key and number of steps.
        images: in the port's layout, B at least 2.
        model: loaded, float32.
        call: ``call(images, steps, every_step)`` runs ``generate_samples``.
        layout: the port's.
        every_step: whether the sampler can return every step.
        caller_modes: which of ``parity.declare.declarations.CALLER_MODES`` must work.
        empty_batch: whether no images must give no images.
    """
    assert case.sampler is not None
    steps = case.sampler.steps

    def run(given: Tensor, n_steps: int = steps, every: bool = False) -> Any:
        with (
            host_generators_seeded(case.key),
            Interception(randomness=SharedRandomness(case.key, layout), promote=False),
        ):
            return call(given, n_steps, every)

    found: Findings = []
    results: list[Tensor] = []

    def kept(given: Tensor) -> Any:
        result = run(given)
        results.append(torch.as_tensor(result).detach().clone())
        return result

    for training in (True, False):
        model.train(training)
        found += _left_behind(model, images, kept)
    model.train()
    expected, in_eval = results
    if not torch.equal(expected, in_eval):
        found.append(
            _finding(
                "caller-mode",
                "called with the model in eval mode, it gives other samples than in train mode; "
                "the sampler sees to the mode it needs: model.eval(), and the caller's put back",
            )
        )
    if every_step:
        found += _every_step(run(images.clone(), steps, True))
    found += _callers(images, run, expected, caller_modes)
    if empty_batch:
        found += _empty_batch(images, run)
    found += _memory(images, model, call, case.key, layout)
    return found


def _finding(id_: str, message: str) -> dict[str, str]:
    return {"id": id_, "message": message}


def _left_behind(model: nn.Module, images: Tensor, run: Callable[[Tensor], Any]) -> Findings:
    """Compare everything a call could touch with a snapshot from before it."""
    given = images.clone()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    modes = {name: module.training for name, module in model.named_modules()}
    tracked = {name: p.requires_grad for name, p in model.named_parameters()}
    hooks = {name: _hooks(module) for name, module in model.named_modules()}
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    try:
        result = run(given)
        found: Findings = []
        if not torch.equal(given, images):
            found.append(
                _finding(
                    "input-mutated",
                    f"the caller's images are changed ({int((given != images).sum())} of "
                    f"{images.numel()} elements); work on images.clone()",
                )
            )
        if given.requires_grad or given.grad is not None:
            found.append(
                _finding(
                    "input-mutated",
                    "the caller's images come back with requires_grad or a .grad; "
                    "take images.detach().clone() first",
                )
            )
        found += _result(result, given)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad != tracked[name]:
                found.append(
                    _finding(
                        "parameters-left-frozen",
                        f"{name}.requires_grad was {tracked[name]} and is "
                        f"{parameter.requires_grad} after the call; put it back",
                    )
                )
            before = gradients[name]
            same = parameter.grad is before and before is not None and bool((before == 0.5).all())
            if not same:
                found.append(
                    _finding(
                        "gradient-accumulated",
                        f"{name}.grad is changed by sampling; take the gradient with "
                        "torch.autograd.grad(scores.sum(), images) instead of backward()",
                    )
                )
            if not torch.equal(parameter.detach(), weights[name]):
                found.append(_finding("parameters-changed", f"sampling changes {name} itself"))
        for name, module in model.named_modules():
            if module.training != modes[name]:
                before_mode, after = ("train", "eval") if modes[name] else ("eval", "train")
                found.append(
                    _finding(
                        "mode-not-restored",
                        f"module {name or '(the model)'} was in {before_mode} mode and is left in "
                        f"{after} mode; put model.training back",
                    )
                )
            if _hooks(module) != hooks[name]:
                found.append(
                    _finding("hooks-left", f"hooks are left on module {name or '(the model)'}")
                )
        return _first_of_each(found)
    finally:
        for name, parameter in model.named_parameters():
            parameter.grad = None
            parameter.requires_grad_(tracked[name])


def _hooks(module: nn.Module) -> tuple[int, ...]:
    return tuple(
        len(getattr(module, name))
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    )


def _result(result: Any, given: Tensor) -> Findings:
    result = torch.as_tensor(result)
    found = []
    if result.grad_fn is not None or result.requires_grad:
        found.append(
            _finding(
                "state-not-detached",
                "the samples carry a graph (grad_fn or requires_grad), so that training on them "
                "would go back through sampling; return images.detach()",
            )
        )
    shares = result.untyped_storage().data_ptr() == given.untyped_storage().data_ptr()
    if shares and given.numel():
        found.append(_finding("input-mutated", "the samples share memory with the caller's images"))
    return found


def _every_step(result: Any) -> Findings:
    if not isinstance(result, (list, tuple)):
        return []
    aliased = len({part.data_ptr() for part in result if part.numel()}) < len(result)
    if aliased:
        return [
            _finding(
                "trajectory-aliased",
                f"the {len(result)} stored steps share memory, so all show the last one; "
                "store images.clone()",
            )
        ]
    return []


def _callers(
    images: Tensor,
    run: Callable[[Tensor], Any],
    expected: Tensor,
    caller_modes: tuple[str, ...],
) -> Findings:
    """The sampler under a caller's no_grad and inference_mode gives what it gives without."""
    found = []
    contexts = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
    for mode in caller_modes:
        if mode == "grad":
            continue
        try:
            with contexts[mode]():
                again = torch.as_tensor(run(images.clone()))
                same = torch.equal(again, expected)
        except Exception as error:
            said = f"called under torch.{mode}(), it raises {type(error).__name__}: {error}"
            other = f"or do not claim {mode!r} in TorchSide(caller_modes=...)"
            finding = _finding("no-grad-context", f"{said}; {FIXES[mode]}, {other}")
            found.append(finding | {"fix": FIXES[mode]})
            continue
        if not same:
            found.append(
                _finding(
                    "no-grad-context",
                    f"called under torch.{mode}(), it gives other samples than without",
                )
            )
    return found


def _empty_batch(images: Tensor, run: Callable[[Tensor], Any]) -> Findings:
    empty = images[:0].clone()
    try:
        result = torch.as_tensor(run(empty))
    except Exception as error:
        return [_finding("empty-batch", f"0 images raise {type(error).__name__}: {error}")]
    if result.shape != empty.shape:
        return [
            _finding(
                "empty-batch", f"0 images return shape {tuple(result.shape)}, expected 0 images"
            )
        ]
    return []


def _memory(
    images: Tensor,
    model: nn.Module,
    call: Callable[[Tensor, int, bool], Any],
    key: int,
    layout: str,
) -> Findings:
    """A graph that is carried from step to step shows as memory that grows with their number.

    Memory alone proves nothing: a list of detached results grows too. The graph must grow as well.
    """
    peaks, nodes = [], []
    for steps in (SHORT, LONG):
        interception = Interception(
            randomness=SharedRandomness(key, layout), promote=False, track_memory=True
        )
        with host_generators_seeded(key), interception:
            result = call(images.clone(), steps, False)
        peaks.append(interception.peak_bytes)
        del result
    growth = (peaks[1] - peaks[0]) / (LONG - SHORT)
    one_step = images.numel() * images.element_size()
    if growth < one_step:
        return []
    for steps in (SHORT, LONG):
        interception = Interception(randomness=SharedRandomness(key, layout), promote=False)
        with host_generators_seeded(key), interception, _graph_watched(model, steps) as sizes:
            call(images.clone(), steps, False)
        nodes.append(max(sizes, default=0))
    if nodes[1] - nodes[0] < LONG - SHORT:
        return []
    return [
        _finding(
            "state-not-detached",
            f"live memory grows by {growth / one_step:.1f} image batches per step "
            f"({peaks[0]} bytes at {SHORT} steps, {peaks[1]} at {LONG}), and the graph with it "
            f"({nodes[0]} nodes, {nodes[1]}): the graph of every step is kept; detach the images "
            "at each step",
        )
    ]


@contextlib.contextmanager
def _graph_watched(model: nn.Module, evaluation: int) -> Iterator[list[int]]:
    """How many nodes of autograd's graph are alive when ``model`` is evaluated the n-th time."""
    forward, sizes, number = model.forward, [], 0

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal number
        number += 1
        if number == evaluation:
            sizes.append(_live_nodes())
        return forward(*args, **kwargs)

    model.__dict__["forward"] = counting
    try:
        yield sizes
    finally:
        del model.__dict__["forward"]


def _live_nodes() -> int:
    """Nodes that tensors alive in Python lead to."""
    gc.collect()
    gc.unfreeze()  # what was there as the process began, a tensor of the port's module among it
    waiting: list[Any] = [
        each.grad_fn
        for each in gc.get_objects()
        if issubclass(type(each), Tensor) and each.grad_fn is not None  # asks no module's __class__
    ]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return len(seen)


def _first_of_each(found: Findings) -> Findings:
    """One sentence for each id, the first; the rest says the same of other parameters."""
    unique: dict[str, dict[str, str]] = {}
    for finding in found:
        unique.setdefault(finding["id"], finding)
    return list(unique.values())
