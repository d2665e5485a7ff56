"""Which layer of a port computes otherwise, and which rule reproduces it.

A *segment* runs from one layer's values before its activation to the next one's, so the activation,
any padding, reshapes and the layer itself belong to it. Each layer of the port is fed with the
reference's values of the layer before, so that each segment shows its own error only. For a wrong
one the joint rule (``rules``) with the fewest departures from the reference's is looked for that
equals the port (``refit``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from parity.explain.causes import Cause, Unexplained, verified
from parity.explain.network.activations import ACTIVATIONS
from parity.explain.network.rules import Array, layers_of
from parity.explain.network.segments import Seen, differ, explained, most
from parity.explain.remembered import remembered
from parity.values.cases import Case
from parity.values.traces import Trace
from parity.verdict.comparison import FLOAT64_FLOORS, SINGLE_RATIO

JOINS = {"Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"}
"""Layers that join branches."""

EXAMPLE = "'port.name': 'reference/name'"


@remembered
def explain_network(
    facts: Sequence[Mapping[str, Any]],
    case: Case,
    reference: Trace,
    segments: Trace,
    backward: Trace,
    gradients: Trace | None,
    *,
    in_float32: bool = False,
) -> tuple[list[Cause], list[Unexplained]]:
    """What each segment of the port does otherwise, forward and backward.

    Args:
        facts: the reference's layers.
        case: of the network.
        reference: its trace with activations and floors.
        segments: the port's answer to ``segments``.
        backward: the reference's cotangents, with floors.
        gradients: the port's answer to ``segment_gradients``; None if it has none.
        in_float32: the port does not compute in float64, so that rules need only hold to float32's
            floor.
    """
    truth, floors = reference.arrays["float64"], reference.floors["float64"]
    if segments.notes["question"]:
        asked = " ".join(line.strip() for line in segments.notes["question"].splitlines())
        return [], [Unexplained("model", asked, "model")]
    missing, ambiguous = set(segments.notes["missing"]), segments.notes["ambiguous"]
    layer_missing = any(not weight.endswith("bias") for weight in missing)
    causes: list[Cause] = []
    unexplained = _parameters(segments.notes, layer_missing)
    values: Array = case.images.astype(np.float64)
    before: str | None = None
    lost = gap = False
    wrong: set[str] = set()
    together = segments.array("float64", "together")
    energies = FLOAT64_FLOORS * float(np.max(floors["energies"]))
    runs_all = together is not None and not differ(together, truth["energies"], energies)
    for fact, layer in zip(facts, layers_of(facts, case.weights), strict=True):
        name = f"activations/{fact['layer']}"
        expected, ours = truth[name], segments.array("float64", name)
        bound = FLOAT64_FLOORS * float(np.max(floors[name]))
        if in_float32:
            bound = max(bound, SINGLE_RATIO * float(np.max(reference.floors["float32"][name])))
        kernels = [w for w in fact["weights"] if not w.endswith("bias")]
        before_lost, lost = lost, True
        if missing.intersection(kernels):
            if not gap:
                found, left = _missing(fact, case, missing, segments.notes["extra"])
                causes += found
                unexplained += left
            gap = True
        elif set(kernels).intersection(ambiguous):
            gap = False
        elif ours is None and segments.notes["raised"]:
            evidence = f"fed with the reference's values, it raises {segments.notes['raised']}"
            where = f"after {before or 'the images'}"
            unexplained.append(Unexplained(where, evidence, "model/raised"))
            return causes, unexplained  # what was learnt before stands
        elif ours is None:
            if runs_all:
                lost = before_lost  # it does run, as an operation that cannot be seen
            else:
                evidence = f"the port never runs {fact['layer']}, or not after what it lies behind"
                part = f"model/{fact['layer']}"
                causes.append(Cause("layer-missing", fact["layer"], evidence=evidence, part=part))
            gap = False
        else:
            gap = lost = False
            if not before_lost and differ(ours, expected, bound):
                drawn = segments.notes["drawn"]
                name = fact["layer"]
                seen = Seen(layer, name, values, before, ours, expected, bound, drawn)
                found, text = explained(seen)
                doubtful = bool(set(fact["weights"]).intersection(ambiguous))
                if doubtful:  # a bias that may never be loaded
                    found = [cause for cause in found if cause.id != "bias-missing"]
                causes += found
                lacking = ", ".join(w for w in fact["weights"] if w in missing)
                # Around a missing layer it is not known for sure which weight is which.
                unknown = missing.union(ambiguous).intersection(fact["weights"])
                unsure = doubtful or (layer_missing and bool(unknown))
                if not found and lacking and not unsure:
                    evidence = f"the port has no parameter for {lacking}"
                    part = f"model/{fact['layer']}/bias"
                    causes.append(
                        Cause("bias-missing", fact["layer"], evidence=evidence, part=part)
                    )
                if wrong and JOINS.intersection(fact["before"]):
                    text += (
                        "; a branch that is joined here leads past what else is wrong before it, "
                        "so that mending that may mend this"
                    )
                if not found and not unsure:
                    unexplained.append(Unexplained(fact["layer"], text, f"model/{fact['layer']}"))
        if lost or ours is None or differ(ours, expected, bound):
            wrong.add(fact["layer"])
        values, before = expected, fact["layer"]
    if not lost or segments.array("float64", f"activations/{before}") is not None:
        found, left = _after_the_last(facts[-1], truth, reference, segments, in_float32)
        causes += found
        unexplained += left
        wrong |= {"energies"} if found or left else set()
    else:
        wrong.add("energies")  # whatever they are, they are not made of the reference's values
    if gradients is not None:
        order = [fact["layer"] for fact in facts]
        never = {name for name in order if segments.array("float64", f"activations/{name}") is None}
        joined = any(JOINS.intersection(fact["before"]) for fact in facts)
        found, left = _backward(order, wrong, never, backward, gradients, joined)
        causes += found
        unexplained += left
    return causes, unexplained


def _parameters(notes: Mapping[str, Any], layer_missing: bool) -> list[Unexplained]:
    """What has to be said of the port's parameters where some hold nothing, or it is unknown what.

    Args:
        layer_missing: some weight can be held by none; then what is left over is told there.
    """
    ambiguous, extra = notes["ambiguous"], notes["extra"]
    choices = [(w, c) for w in ambiguous if (c := notes["candidates"][w])]
    either = ", ".join(f"{weight} may be {' or '.join(names)}" for weight, names in choices)
    example = next((f"{names[0]!r}: {weight!r}" for weight, names in choices), "")
    declare = f"declare TorchSide(weights={{{example or EXAMPLE}, ...}})"
    if layer_missing or not (ambiguous or extra):
        return []
    if len(extra) > len(ambiguous) and not notes["missing"]:
        text = (
            "the port has parameters that hold nothing of the reference's: "
            if not ambiguous
            else f"nothing of the reference's corresponds to {len(extra) - len(ambiguous)} of the "
            "port's parameters, among: "
        ) + ", ".join(extra)
        if ambiguous:
            text += f"; {either}: {declare}"
    elif ambiguous:
        text = (
            f"the port lacks parameters for some of {', '.join(ambiguous)}, and shapes do not say "
            f"which: {declare}"
        )
        text += f" ({either})" if either else ""
    else:
        return []
    return [Unexplained("model", text, "model")]


def _missing(
    fact: Mapping[str, Any], case: Case, missing: Set[str], extra: Sequence[str]
) -> tuple[list[Cause], list[Unexplained]]:
    """A layer is missing if the port has too few kernels left over to be its and others'.

    Otherwise one of those may be this layer's, in a shape that it cannot be loaded into.
    """
    names = [name for name in case.weights if name in missing]
    shapes = ", ".join(f"{name} {case.weights[name].shape}" for name in names)
    evidence = f"nothing in the port can hold {shapes}"
    evidence += f"; the port has {', '.join(extra)}, which hold nothing" if extra else ""
    layer, part = fact["layer"], f"model/{fact['layer']}"
    lacking = [name for name in names if case.weights[name].ndim > 1]
    left_over = [each for each in extra if re.search(r"\(\d+, \d", each)]  # "conv.weight (8, 1, 3)"
    if not lacking or len(left_over) < len(lacking):
        return [Cause("layer-missing", layer, evidence=evidence, part=part)], []
    evidence += (
        ". If one of these is the same layer, give it the reference's size; where its weights are "
        "laid out in another way, as a DepthwiseConv2D's are, the two cannot be compared yet"
    )
    return [], [Unexplained(layer, evidence, part)]


def _backward(
    order: Sequence[str],
    wrong: Set[str],
    never: Set[str],
    backward: Trace,
    gradients: Trace,
    joined: bool,
) -> tuple[list[Cause], list[Unexplained]]:
    """Segments that compute the reference's values and other gradients.

    Args:
        order: the layers' names.
        wrong: layers, or "energies", whose own values are not the reference's; what comes back
            through the segments before them differs for that reason, but never not at all.
        never: layers that the port does not run, so that nothing could be put in their place.
        joined: branches of the network are, so that to a layer comes back, besides, what goes
            through wrong ones that are not the next.
    """
    causes: list[Cause] = []
    unexplained: list[Unexplained] = []
    for start, end in itertools.pairwise(["images", *order, "energies"]):
        name = f"cotangents/{start}"
        expected, ours = backward.arrays["float64"].get(name), gradients.array("float64", name)
        there = {start, end} <= {*gradients.notes.get("leaves", ()), "energies"}
        told = end in wrong and (ours is not None or not there)
        if expected is None or start in never or told:
            continue
        bound = FLOAT64_FLOORS * float(np.max(backward.floors["float64"][name]))
        where = f"from {'the images' if start == 'images' else start} to {end}"
        part = f"model/{end}/gradient"
        if not np.abs(expected).max() > bound:
            continue
        if ours is None or not np.any(ours):
            whose = "other values" if end in wrong else "the reference's values"
            evidence = f"{end} has {whose}, and no gradient comes back through it"
            fix = f"no .detach(), .data, .item() or torch.no_grad() {where}"
            cause = Cause("gradient-not-tracked", where, 1.0, 0.0, evidence, fix, part=part)
            causes.append(cause)
        elif differ(ours, expected, bound) and not (joined and wrong):
            evidence = f"{end} has the reference's values, and another gradient comes back"
            evidence += (
                f": on the reference's values {most(ours, expected)}{_multiple(ours, expected)}"
            )
            unexplained.append(Unexplained(where, evidence, part))
    return causes, unexplained


def _multiple(ours: Array, expected: Array) -> str:
    """In words, if one is a multiple of the other."""
    if ours.shape != expected.shape:
        return ""
    factor = float(np.vdot(expected, ours) / np.vdot(expected, expected))
    close = np.abs(ours - factor * expected).max() <= 1e-12 * np.abs(ours).max()
    return f"; it is {factor:.6g} times the reference's" if close else ""


def _after_the_last(
    fact: Mapping[str, Any],
    truth: Mapping[str, Array],
    reference: Trace,
    segments: Trace,
    in_float32: bool,
) -> tuple[list[Cause], list[Unexplained]]:
    """From the last layer's values, which are the reference's, to the energies."""
    energies, ours = truth["energies"], segments.array("float64", "energies")
    bound = FLOAT64_FLOORS * float(np.max(reference.floors["float64"]["energies"]))
    if in_float32:
        bound = max(bound, SINGLE_RATIO * float(np.max(reference.floors["float32"]["energies"])))
    if ours is None:
        raised = segments.notes["raised"] or "it returns nothing"
        return [], [Unexplained("model", f"after {fact['layer']}: {raised}", "model/raised")]
    if not differ(ours, energies, bound):
        return [], []
    evidence = f"fed with the reference's values {most(ours, energies)}; nothing reproduces it"
    left = [Unexplained("the energies", evidence, "model/energies")]
    if ours.shape != energies.shape:
        return [], left
    before = float(np.abs(ours - energies).max())
    size = float(np.abs(energies).max()) or 1.0
    after = float(np.abs(ours + energies).max())
    if verified(before, after, bound):
        evidence = "fed with the reference's values, the port returns the negative of its energies"
        cause = Cause(
            "energy-sign",
            "the score",
            before / size,
            after / size,
            evidence,
            part="model/energies",
        )
        return [cause], []
    values = truth[f"activations/{fact['layer']}"].reshape(len(energies), -1)
    if values.shape[1] != 1:
        return [], left
    for name, function in ACTIVATIONS.items():
        after = float(np.abs(function(values[:, 0]) - ours).max())
        if name != fact["activation"] and verified(before, after, bound):
            cause = Cause(
                "activation",
                f"{fact['layer']}, its activation",
                before / size,
                after / size,
                f"the energies are {name} of the score",
                f"the activation of {fact['layer']} is {fact['activation']}, not {name}",
                part=f"model/{fact['layer']}/activation",
            )
            return [cause], []
    return [], left
