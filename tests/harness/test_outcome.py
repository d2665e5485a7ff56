"""Pooling: a check's verdict is the worst of its cases', and nothing compared is not green."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from parity.values.cases import Case
from parity.verdict.comparison import Comparison, Element, Verdict
from parity.verdict.outcome import Outcome, pool

WORST = Element((0,), 1.0, 1.0)


def compared(verdict: Verdict = Verdict.ROUNDING, **fields: object) -> Comparison:
    defaults = {"residual": 1e-16, "floor": 1e-16, "scale": 1.0, "worst": WORST}
    return Comparison("a", verdict, **{**defaults, **fields})  # type: ignore[arg-type]


def outcome(*comparisons: Comparison, **fields: object) -> Outcome:
    return Outcome("energies", tuple(comparisons), **fields)  # type: ignore[arg-type]


def test_the_worst_case_decides() -> None:
    cases = [outcome(compared(v)) for v in (Verdict.IDENTICAL, Verdict.DIVERGENT, Verdict.ROUNDING)]
    result = pool("energies", cases, 1.0)
    assert result.verdict is Verdict.DIVERGENT
    assert result.first_bad is cases[1]
    assert result.cases == 3


def test_no_cases_and_only_empty_cases_are_unchecked() -> None:
    assert pool("energies", [], 0.0).verdict is Verdict.UNCHECKED
    nothing = outcome(compared(Verdict.UNCHECKED, worst=None, problem="no elements to compare"))
    result = pool("energies", [nothing], 0.0)
    assert result.verdict is Verdict.UNCHECKED
    assert result.problem == "no elements to compare"
    assert result.cases == 0


def test_a_case_that_proves_nothing_does_not_spoil_those_that_do() -> None:
    result = pool("energies", [outcome(compared(Verdict.UNCHECKED)), outcome(compared())], 0.0)
    assert result.verdict is Verdict.ROUNDING
    assert result.cases == 1


def test_a_green_check_that_never_bound_its_clip_is_unchecked_and_a_red_one_stays_red() -> None:
    assert pool("s", [outcome(compared())], 0.0, unchecked="no clip").verdict is Verdict.UNCHECKED
    red = pool("s", [outcome(compared(Verdict.DIVERGENT))], 0.0, unchecked="no clip")
    assert red.verdict is Verdict.DIVERGENT


def test_pooled_over_four_is_imprecise_though_every_case_is_within_sixteen() -> None:
    """Largest error over largest floor: one noisy small case alone does not make it."""
    small = compared(error32=1e-8, floor32=1e-9)
    large = compared(error32=1e-7, floor32=1e-7)
    assert pool("e", [outcome(small), outcome(large)], 0.0).verdict is Verdict.ROUNDING
    too_large = compared(error32=5e-7, floor32=1e-7)
    result = pool("e", [outcome(small), outcome(too_large)], 0.0)
    assert result.verdict is Verdict.IMPRECISE
    assert result.error_ratio is not None
    assert abs(result.error_ratio - 5.0) < 1e-9
    assert "5.0 times the reference's own; 4 is allowed" in str(result.problem)


def test_failures_and_findings_are_not_numbers_but_count() -> None:
    failed = outcome(failure="ValueError: no")
    assert failed.verdict is Verdict.INVALID
    assert pool("e", [outcome(compared()), failed], 0.0).problem == "ValueError: no"
    found = outcome(findings=({"message": "left in eval mode"},))
    assert found.verdict is Verdict.DIVERGENT
    assert pool("e", [found], 0.0).problem == "left in eval mode"
    assert outcome(looked=True).verdict is Verdict.IDENTICAL
    assert outcome().verdict is Verdict.UNCHECKED


def test_residual_and_floor_are_those_of_the_most_floors_and_relative() -> None:
    mild = compared(residual=1e-10, floor=1e-10, scale=100.0)
    worst = compared(residual=3e-15, floor=1e-15, scale=10.0)
    result = pool("e", [outcome(mild, worst)], 0.0)
    assert (result.residual, result.floor) == pytest.approx((3e-16, 1e-16))


def named(array: str, verdict: Verdict = Verdict.ROUNDING, **fields: object) -> Comparison:
    return dataclasses.replace(compared(verdict, **fields), array=array)


def drawn_case(**settings: object) -> Case:
    images = np.zeros((1, 1, 1, 1), np.float32)
    return Case(weights={}, images=images, settings=settings or None)


ILL = {"worst": None, "problem": "ill-conditioned: so"}


def test_an_observable_that_no_case_could_judge_makes_the_check_unchecked_by_name() -> None:
    """Arrays that prove nothing do not spoil those that do, but they are not checked either."""
    seen, unseen = named("a/one[0]"), named("a/two[0]", Verdict.UNCHECKED, **ILL)
    result = pool("a", [outcome(seen, unseen), outcome(seen, unseen)], 0.0)
    assert result.verdict is Verdict.UNCHECKED
    assert result.problem == "a/two was judged in no case: ill-conditioned: so"
    assert result.unchecked_because == (result.problem,)
    alone = pool("a", [outcome(seen, unseen)], 0.0, whole=False)
    assert alone.verdict is Verdict.ROUNDING, "one case of many"
    red = pool("a", [outcome(named("a/one", Verdict.DIVERGENT), unseen)], 0.0)
    assert red.verdict is Verdict.DIVERGENT
    assert red.unchecked_because, "it is said though the check is red"


def test_what_one_case_or_step_could_judge_was_seen() -> None:
    unseen = named("samples[1]", Verdict.UNCHECKED, **ILL)
    result = pool("s", [outcome(unseen), outcome(named("samples[0]"))], 0.0)
    assert (result.verdict, result.unchecked_because) == (Verdict.ROUNDING, ())


def test_in_a_drawn_architecture_layers_of_one_name_are_one_observable() -> None:
    """A dead unit of an architecture that is drawn once is no reason to distrust the check."""
    dead = outcome(named("g/conv3", Verdict.UNCHECKED, **ILL), case=drawn_case(layers=3))
    judged = outcome(named("g/conv1"), case=drawn_case(layers=1))
    assert pool("g", [dead, judged], 0.0).verdict is Verdict.ROUNDING
    published = dataclasses.replace(dead, case=drawn_case())
    found = pool("g", [published, judged], 0.0)
    assert found.verdict is Verdict.UNCHECKED
    assert found.problem == "g/conv3 was judged in no case: ill-conditioned: so"
    other = outcome(named("g/dense1"), case=drawn_case(layers=1))
    assert pool("g", [dead, other], 0.0).problem is not None


def test_an_observable_whose_float32_no_case_could_judge_is_named() -> None:
    blind = named("a", blind32=True)
    found = pool("a", [outcome(blind)], 0.0)
    assert found.verdict is Verdict.UNCHECKED
    assert str(found.problem).startswith("a was judged in float64 alone: in float32")
    seen = named("a", error32=1e-7, floor32=1e-7)
    assert pool("a", [outcome(blind), outcome(seen)], 0.0).verdict is Verdict.ROUNDING
    float64_only = named("a")
    assert pool("a", [outcome(float64_only)], 0.0).verdict is Verdict.ROUNDING, "not asked for"
