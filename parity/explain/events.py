"""Faults that are events: what was left behind, what an exception says, what a test saw."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parity.explain.catalogue import CATALOGUE
from parity.explain.causes import Cause
from parity.verdict.outcome import CheckResult

PARTS = {
    "gradient-accumulated": "generate_samples/gradient",
    "gradient-non-leaf": "generate_samples/gradient/leaf",
    "gradient-not-tracked": "generate_samples/gradient/leaf",
    "input-mutated": "generate_samples/input",
    "mode-not-restored": "generate_samples/mode",
    "no-grad-context": "generate_samples/gradient/mode",
    "parameters-left-frozen": "generate_samples/parameters",
    "state-not-detached": "generate_samples/gradient/leaf",
    "trajectory-aliased": "generate_samples/stored",
}
"""Where in a sampler an event is looked for (``frameworks.torch.places``)."""


def from_findings(checks: Sequence[CheckResult], check: str, where: str) -> Iterator[Cause]:
    """Findings of the named check that bear an id of the catalogue, each id once."""
    findings = [
        finding
        for found in checks
        if found.name == check
        for outcome in found.outcomes
        for finding in outcome.findings
    ]
    yield from from_messages(findings, where)


def from_messages(findings: Sequence[Mapping[str, str]], where: str) -> Iterator[Cause]:
    """Findings ``{id, message}`` that bear an id of the catalogue, each id once.

    A finding may also name its ``part`` and ``where`` it is, and have a ``fix`` of its own.
    """
    firsts = {found["id"]: found for found in reversed(findings)}
    for id_, found in reversed(firsts.items()):
        if id_ in CATALOGUE:
            part = found.get("part") or PARTS.get(id_, where)
            fix = found.get("fix", "")
            at = found.get("where", where)
            yield Cause(id_, at, evidence=found["message"], fix=fix, part=part)


def from_exception(message: str, evaluations: Sequence[Mapping[str, Any]]) -> Cause | None:
    """The fault behind an exception out of a sampler.

    Args:
        message: the exception's.
        evaluations: at each evaluation of the network, whether gradients were ``grad_enabled``, and
            whether the images did ``require_grad`` and were a ``leaf``.
    """
    last = evaluations[-1] if evaluations else {}
    evidence = f"it raises {message}"
    where = "generate_samples"
    if last:
        evidence += (
            f"; when the network was evaluated, gradients were "
            f"{'on' if last['grad_enabled'] else 'switched off'} and the images "
            f"{'required' if last['requires_grad'] else 'did not require'} them"
        )
    raised = "generate_samples/raised"
    if re.search("only change requires_grad flags of leaf|non-leaf", message):
        return Cause("gradient-non-leaf", where, evidence=evidence, part=raised)
    if re.search(r"leaf Variable that requires grad.*in-place", message):
        evidence += "; a leaf that requires gradients must not be changed in place"
        fix = (
            "images = (images + step_size * gradients).detach(), a new tensor at each change; "
            "requires_grad_(True) only before the network is evaluated"
        )
        return Cause("gradient-non-leaf", where, evidence=evidence, fix=fix, part=raised)
    untracked = re.search(
        "does not require grad|NoneType|not have a grad_fn|appears to not have been used", message
    )
    id_ = None
    if untracked and last:
        if not last["grad_enabled"]:
            id_ = "no-grad-context"
        elif not last["requires_grad"]:
            id_ = "gradient-not-tracked"
        elif not last["leaf"]:
            id_ = "gradient-non-leaf"
    carried = len(evaluations) > 1 and last["requires_grad"] and not last["leaf"]
    if carried and re.search("through the graph a second time|modified by an inplace", message):
        id_ = "state-not-detached"
        evidence += (
            f", and were no leaf: at evaluation {len(evaluations)} they still carried the graph of "
            "the steps before"
        )
    return None if id_ is None else Cause(id_, where, evidence=evidence, part=PARTS[id_])


def told_of(message: str) -> str:
    """What to look for behind an exception that is no fault of the catalogue; may be empty."""
    if "modified by an inplace" in message:
        return (
            "; the images, or what the network made of them, are changed in place between the "
            "evaluation and its gradient: change them only after the gradient is taken"
        )
    if "through the graph a second time" in message:
        return "; backward() is called twice on one evaluation"
    return ""
