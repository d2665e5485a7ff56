"""Faults that are events: what was left behind, what an exception says, what a test saw."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parity.explain.catalogue import CATALOGUE
from parity.explain.causes import Cause
from parity.outcome import CheckResult


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
    """Findings ``{id, message}`` that bear an id of the catalogue, each id once."""
    messages = {found["id"]: found["message"] for found in reversed(findings)}
    for id_, message in reversed(messages.items()):
        if id_ in CATALOGUE:
            yield Cause(id_, where, evidence=message)


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
    if re.search("only change requires_grad flags of leaf|non-leaf", message):
        return Cause("gradient-non-leaf", where, evidence=evidence)
    untracked = re.search(
        "does not require grad|NoneType|not have a grad_fn|appears to not have been used", message
    )
    if untracked and last:
        if not last["grad_enabled"]:
            return Cause("no-grad-context", where, evidence=evidence)
        if not last["requires_grad"]:
            return Cause("gradient-not-tracked", where, evidence=evidence)
        if not last["leaf"]:
            return Cause("gradient-non-leaf", where, evidence=evidence)
    if re.search("through the graph a second time|modified by an inplace", message):
        return Cause("state-not-detached", where, evidence=evidence)
    return None
