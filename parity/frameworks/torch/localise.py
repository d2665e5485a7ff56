"""Each part of a port's network on its own: fed with the reference's values, forward and backward.

A part, or *segment*, runs from one layer's values to the next's, so activations, padding and
reshapes belong to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from parity.correspond.weights import CannotMatch, Match, Weight, match_partly
from parity.frameworks.torch.capture import Capture, Leaves
from parity.frameworks.torch.parameters import (
    cotangent_of,
    layers_of,
    load_canonical,
    parameters,
    to_numpy,
)
from parity.frameworks.torch.side import TorchRunner
from parity.side.runner import Arrays, as_scores
from parity.values import layouts
from parity.values.cases import Case
from parity.values.traces import Trace

Cutting = TypeVar("Cutting", bound=Leaves)


def segments(runner: TorchRunner, case: Case, substituted: Arrays) -> Trace:
    """Float64 activations of each layer, fed with the reference's of the layer before.

    Args:
        substituted: ``activations/<layer>`` of the reference, canonical.

    Returns:
        ``activations/<layer>``, and ``energies`` from the reference's last activations;
        ``together`` (B,) and ``alone`` (1,), the port's own energies of the batch and of its first
        image by itself, on its own values where its sizes allow that. Notes: ``raised``, in words
        or None; ``extra``, parameters that hold nothing; ``missing`` and ``ambiguous``, names
        of weights that the port has no parameter for, or of which it cannot be told which holds
        them; ``candidates`` of those, and ``question``, as of ``weights.Partial``; ``drawn``, how
        many numbers the network drew; ``not_float64``.
    """
    notes: dict[str, Any] = {}
    with as_far_as_possible(runner, case, notes) as (model, matches):
        layers = layers_of(model, matches)
        values = _tensors(runner, substituted, "activations/")
        images = runner.tensor(case.images.astype(np.float64))
        anchors: dict[str, int] = {}
        scores: Tensor | None = None
        # A network whose sizes are wrong raises until what goes wrong first is substituted.
        for _ in range(len(values) + 2):
            capture = Capture(layers, substitute=values, anchors=anchors)
            with torch.no_grad(), runner.shared(model, case, "float64", notes) as shared, capture:
                scores, error = _called(runner, model, images)
            notes |= {"raised": _in_words(error), "drawn": sum(d.count for d in shared.log)}
            if capture.anchors == anchors:
                break
            anchors = capture.anchors
        own: dict[str, Tensor | None] = {}
        for name, n in (("together", len(images)), ("alone", 1)):
            with torch.no_grad(), runner.shared(model, case, "float64", {}):
                own[name], problem = _called(runner, model, images[:n])
            if problem is not None:  # then at least from the last layer's values on
                first = {layer: value[:n] for layer, value in values.items()}
                part = Capture(layers, substitute=first, anchors=anchors)
                with torch.no_grad(), runner.shared(model, case, "float64", {}), part:
                    own[name], _ = _called(runner, model, images[:n])
    arrays = {
        f"activations/{layer}": layouts.images_to_canonical(to_numpy(output), runner.side.layout)
        for layer, output in capture.outputs.items()
    }
    for name, found in ({"energies": scores} | own).items():
        if found is not None:
            count = 1 if name == "alone" else len(case.images)
            arrays[name] = as_scores(
                to_numpy(found), count, runner.side.energy_sign, runner.side.layout
            )
    return Trace({"float64": arrays}, notes=notes)


def segment_gradients(runner: TorchRunner, case: Case, given: Arrays) -> Trace:
    """What comes back through each segment from the reference's cotangents, in float64.

    Every layer's values are replaced by a leaf that holds the reference's; the product of each
    layer's own output with the reference's cotangent there, and the energies times theirs, are
    differentiated for the leaves. A correct port gives back the reference's cotangents.

    Args:
        given: ``activations/<layer>`` and ``cotangents/<layer>`` of the reference, canonical.

    Returns:
        ``cotangents/images`` and ``cotangents/<layer>``; without those that nothing comes back to.
        Notes: as :func:`segments`, and ``leaves``, what was looked for.
    """
    notes: dict[str, Any] = {}
    arrays: Arrays = {}
    with as_far_as_possible(runner, case, notes) as (model, matches):
        cotangents = _tensors(runner, given, "cotangents/")
        cut, images, scores, error = cut_apart(
            runner, case, model, layers_of(model, matches), given, Leaves
        )
        notes["raised"] = _in_words(error)
        leaves = {"images": images, **cut.leaves}
        notes["leaves"] = list(leaves)
        parts = [
            # An output of another shape shows by anything whether it is tracked.
            (
                output * cotangents[layer] if output.shape == cotangents[layer].shape else output
            ).sum()
            for layer, output in cut.outputs.items()
            if output.requires_grad
        ]
        if scores is not None and scores.requires_grad:
            by = cotangent_of(scores, len(case.images), runner.pulled(case))
            parts.append((scores * by).sum())
        if parts:
            found = torch.autograd.grad(
                torch.stack(parts).sum(), list(leaves.values()), allow_unused=True
            )
            arrays = {
                f"cotangents/{name}": layouts.images_to_canonical(
                    to_numpy(gradient), runner.side.layout
                )
                for name, gradient in zip(leaves, found, strict=True)
                if gradient is not None
            }
    return Trace({"float64": arrays}, notes=notes)


def cut_apart(
    runner: TorchRunner,
    case: Case,
    model: nn.Module,
    layers: Mapping[Tensor, str],
    given: Arrays,
    cutting: type[Cutting],
) -> tuple[Cutting, Tensor, Tensor | None, Exception | None]:
    """Evaluate the case with a leaf of ``given`` activations in place of every layer's values.

    Returns:
        What cut it, the images, and what the model returned or raised.
    """
    values = _tensors(runner, given, "activations/")
    anchors: dict[str, int] = {}
    for _ in range(len(values) + 2):
        images = runner.tensor(case.images.astype(np.float64)).requires_grad_()
        cut = cutting(layers, values, anchors)
        with torch.enable_grad(), runner.shared(model, case, "float64", {}), cut:
            scores, error = _called(runner, model, images)
        if cut.anchors == anchors:
            break
        anchors = cut.anchors
    return cut, images, scores, error


@contextlib.contextmanager
def as_far_as_possible(
    runner: TorchRunner, case: Case, notes: dict[str, Any]
) -> Iterator[tuple[nn.Module, list[Match]]]:
    """The case's model in float64 with all weights that its parameters can hold, and which do."""
    notes |= {"raised": None, "missing": [], "ambiguous": [], "extra": []}
    notes |= {"candidates": {}, "question": ""}
    with runner.precision("float64"):
        model = runner.built(case.settings, "float64")
        weights = [Weight(name, array.shape) for name, array in case.weights.items()]
        used = runner.used(model, case)
        try:
            matches = runner.matched(model, weights, used)
        except CannotMatch:
            partial = match_partly(weights, parameters(model), runner.torch_side.weights, used)
            matches = partial.matches
            notes |= {"missing": partial.missing, "ambiguous": partial.ambiguous}
            notes |= {"extra": partial.extra, "candidates": partial.candidates}
            notes["question"] = partial.question
        load_canonical(model, matches, case.weights, runner.channels_first(case))
        model.eval()
        yield model, matches


def _tensors(runner: TorchRunner, arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(kind): runner.tensor(array)
        for name, array in arrays.items()
        if name.startswith(kind)
    }


def _called(
    runner: TorchRunner, model: nn.Module, images: Tensor
) -> tuple[Tensor | None, Exception | None]:
    """What the model returns, or what it raises."""
    try:
        with runner.entered("the network"):
            return model(images), None
    except Exception as error:
        return None, error


def _in_words(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"
