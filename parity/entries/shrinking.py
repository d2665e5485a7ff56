"""The failing case, small: the least recipe whose check is still red, and its file."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import hypothesis
from hypothesis.internal.conjecture import engine
from hypothesis.strategies import SearchStrategy

import parity.draw.drawing  # noqa: F401  # the backend "parity"
from parity.ask.progress import Tell
from parity.ask.session import Session, Settings
from parity.draw import strategies
from parity.draw.plan import Plan
from parity.draw.profiles import Profile
from parity.draw.recipes import Recipe, make_case
from parity.entries.runner import run_checks
from parity.errors import BadCall
from parity.values.cases import Case
from parity.verdict.outcome import CheckResult

TRIES = 60
"""Cases run while shrinking, at most: a few seconds for the published pair."""

STALE = 20
"""Cases run in a row of which none is a smaller one that fails, after which it is left at that."""

FOLDER = Path(".parity") / "failing"
"""Where failing cases are kept, in the project's folder."""


def smallest(
    session: Session,
    check: CheckResult,
    profile: Profile,
    seed: int,
    tell: Tell | None = None,
    found: Callable[[Case], None] = lambda _: None,
) -> Case | None:
    """The smallest case found on which ``check`` is red; None if no case of it can be run again.

    Smaller architectures first, then fewer images and steps, as Hypothesis shrinks them.

    Args:
        found: told each failing case, one simpler than the other, so that the last is there
            whatever ends the search.
    """
    first = check.first_bad
    if first is None or first.case is None or first.case.origin.get("weights") is None:
        return None
    known: dict[str, bool] = {}
    failed: list[Exception] = []
    best: Case | None = None
    stale = 0

    def red(recipe: Recipe) -> bool:
        nonlocal best, stale
        key = repr(recipe)
        if key not in known:
            enough = len(known) >= TRIES or (best is not None and stale >= STALE)
            if enough or session.port_hung or failed:
                return False
            try:
                case = make_case(session, recipe)
                results = run_checks(session, Plan(), only=(check.name,), case=case)
            except Exception as error:  # which Hypothesis would take for what is looked for
                failed.append(error)
                return False
            bad = any(not result.verdict.green for result in results)
            known[key] = bad and not session.port_hung  # which is another failure
            stale += 1
            if known[key]:
                best, stale = case, 0  # once one has failed, simpler ones are asked for
                found(case)
            if tell is not None:
                tell("shrinking the failing case", len(known), TRIES)
        return known[key]

    # Hypothesis itself stops after five minutes; what is found then depended on the machine.
    with (
        mock.patch.object(engine, "MAX_SHRINKING_SECONDS", math.inf),
        contextlib.suppress(hypothesis.errors.NoSuchExample),
    ):
        recipe = hypothesis.find(
            _like(session, first.case, profile, seed),
            red,
            random=random.Random(seed),
            settings=hypothesis.settings(
                max_examples=TRIES,
                database=None,
                deadline=None,
                backend="parity",
                report_multiple_bugs=False,  # one is enough; it looked for others for ten seconds
                suppress_health_check=list(hypothesis.HealthCheck),
            ),
        )
        best = make_case(session, recipe)
    if failed:
        raise failed[0]
    # Perhaps only the cases that every run has, such as trained weights, are red.
    return first.case if best is None else best


def smallest_recorded(check: CheckResult) -> Case | None:
    """The smallest of the cases on which ``check`` is red, where no other can be asked."""
    red = [o.case for o in check.outcomes if o.case is not None and not o.verdict.green]
    return min(red, key=lambda case: len(case.to_bytes()), default=None)


def _like(session: Session, case: Case, profile: Profile, seed: int) -> SearchStrategy[Recipe]:
    """Recipes of the same kind, small architectures first."""

    def size(settings: Settings) -> int:
        return sum(math.prod(shape) for shape in session.facts(settings).shapes)

    if case.training is not None:
        return strategies.trainings(session, max_steps=case.training.steps)
    drawn = strategies.architectures(session, profile.architectures, seed, more=profile.more)
    pool: list[Settings] = [None, *drawn.cases]
    calls = None
    if case.sampler is not None:
        calls = strategies.sampler_calls(session, max_steps=profile.max_steps)
    return strategies.networks(session, sorted(pool, key=size), sampler=calls)


def keep(case: Case, check: str, root: Path) -> Path:
    """Write the case to the project's folder of failing cases; returns its path there.

    Raises:
        BadCall: the folder cannot be written.
    """
    path = FOLDER / f"{check}-{case.digest[:8]}.safetensors"
    try:
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        case.save(root / path)
    except OSError as error:
        raise BadCall(f"the failing case cannot be kept in {root / FOLDER}: {error}") from None
    return path
