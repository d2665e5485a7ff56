"""Rules of a sampler's step are found again from what they do; numbers that nobody listed, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from parity.explain.sampler import first_step
from parity.explain.sampler.draws import Drawn, batches_of, drawn_by
from parity.explain.sampler.first_step import MOST
from parity.explain.sampler.fits import agree, fit, limits_in
from parity.explain.sampler.observed import Observed, places_of
from parity.explain.sampler.rules import (
    OPTIONS,
    Fitted,
    Place,
    Rule,
    departures,
    near,
    simulate,
)
from parity.explain.sampler.search import BOUND, _Search, search
from parity.side.sampler_probe import NOISE, STEP_SIZE, probe_calls, probe_case
from parity.values.randomness import Draw, SharedRandomness


def find(seen: Observed, base: Rule, bound: float = BOUND) -> list[Rule]:
    return [found.rule for found in search(seen, base, bound)]


def in_order(places: Sequence[Place], steps: int) -> Drawn:
    """One draw for each step, and no other."""
    noise = []
    for place in places:
        stream = SharedRandomness(place.call.case.key, "NHWC")
        noise.append([stream.normal(place.images.shape, "float64") for _ in range(steps)])
    return Drawn("normal", "each element", tuple(noise), tuple(range(steps)))


def behaviour(rule: Rule, places: Sequence[Place] | None = None, steps: int = 4) -> Observed:
    """What ``rule`` does in the probe's calls."""
    places = places_of(probe_case()) if places is None else places
    drawn = in_order(places, steps)
    done = [simulate(rule, p, drawn.noise[p.number], steps) for p in places]
    states, points = zip(*(each for each in done if each is not None), strict=True)
    return Observed(places, states, points, [drawn])


def fitted(value: float, kind: str = "value") -> Fitted:
    by = "" if kind == "value" else f", by {kind}"
    return Fitted(f"always {value:g}{by}", (value,) * 3, kind)


@pytest.mark.few(3)
@pytest.mark.parametrize("field", OPTIONS)
def test_every_option_of_a_samplers_rule_is_found_again(field: str) -> None:
    """The probes tell every single departure from the published rule."""
    for option in OPTIONS[field]:
        rule = Rule(**{field: option})
        found = find(behaviour(rule), Rule())
        assert found[0] == rule
        assert all(len(departures(f, Rule())) >= len(departures(rule, Rule())) for f in found)


def test_rules_that_are_the_same_program_are_both_read() -> None:
    """The mean, undone by step * B, is a gradient clip of B times the value."""
    undone = Rule(reduction="mean", step="step_size * B")
    found = find(behaviour(undone), Rule())
    assert found[0] == Rule(gradient_clip="value * B")
    assert undone in found


@pytest.mark.few(0)
def test_pairs_of_a_samplers_faults_are_reproduced_by_some_rule() -> None:
    """A sample of all pairs: what is found behaves alike and has no more departures."""
    rules = list(near(Rule(), 2))
    for rule in rules[:: len(rules) // 40]:
        behaves = behaviour(rule)
        found = find(behaves, Rule())
        assert found, rule
        assert len(departures(found[0], Rule())) <= 2
        np.testing.assert_allclose(behaviour(found[0]).flat, behaves.flat, atol=1e-12)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(step=fitted(10)),
        Rule(step=fitted(10), reduction="mean"),
        Rule(noise_scale=fitted(0.005)),
        Rule(noise_scale=fitted(0.005), noise="after", reduction="mean", sign=-1),
        Rule(gradient_clip=fitted(0.01)),
        Rule(gradient_clip=fitted(0.03, "norm")),
        Rule(gradient_clip=fitted(0.03, "image norm")),
        Rule(first_clip=(-0.5, 0.5), last_clip=(-0.5, 0.5)),
        Rule(last_clip=(0.0, np.inf)),
        Rule(first_clip=None, accumulate="after the clip", step=fitted(0.1)),
        Rule(
            noise_scale=fitted(0.005),
            reduction="mean",
            sign=-1,
            gradient_clip=fitted(0.03),
            step="step_size / 2",
            last_clip=None,
        ),
    ],
)
def test_numbers_that_nobody_listed_are_solved_for(rule: Rule) -> None:
    assert find(behaviour(rule), Rule())[0] == rule


def test_a_part_of_an_argument_is_told_from_a_constant() -> None:
    part = Fitted("0.7 * step_size", tuple(0.7 * s for s in STEP_SIZE))
    assert find(behaviour(Rule(step=part)), Rule())[0].step == part
    part = Fitted("0.3 * noise", tuple(0.3 * n for n in NOISE))
    assert find(behaviour(Rule(noise_scale=part)), Rule())[0].noise_scale == part


def test_a_coincidence_in_one_call_is_no_law() -> None:
    """0.009 is the first call's gradient clip over its three images, and nothing in the others."""
    (found,) = find(behaviour(Rule(gradient_clip=fitted(0.009))), Rule())
    assert found.gradient_clip == fitted(0.009)


def test_a_sampler_of_no_known_rule_is_given_up_soon() -> None:
    seen = behaviour(Rule(step="2 * step_size", noise="after"))
    odd = [states + 1e-3 * np.sin(40 * states) for states in seen.states]
    for points in (seen.points, None):
        given_up = _Search(dataclasses.replace(seen, states=odd, points=points), Rule(), BOUND)
        assert given_up.found() == []
        assert given_up.first.compared < MOST / 2


def test_a_search_ends_by_count_with_what_it_has_found(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = behaviour(Rule(reduction="mean", last_clip=None))
    whole = _Search(seen, Rule(), BOUND)
    assert Rule(reduction="mean", last_clip=None) in [found.rule for found in whole.found()]
    for most in (whole.first.compared // 2, 10):
        monkeypatch.setattr(first_step, "MOST", most)
        cut = _Search(seen, Rule(), BOUND)
        cut.found()
        assert cut.first.compared == most + 1
    assert cut.found() == []


def test_rules_are_found_without_the_points_of_evaluation() -> None:
    rule = Rule(reduction="mean", last_clip=None)
    seen = dataclasses.replace(behaviour(rule), points=None)
    assert rule in find(seen, Rule())


def test_an_extra_draw_is_seen_in_the_log_and_the_rest_found_all_the_same() -> None:
    """Step by step the second batch on is used; on the reference's numbers no rule would fit."""
    places, rule = places_of(probe_case()), Rule(reduction="mean")
    logs = [
        [Draw("normal", p.images.size, "float64", position) for position in (0, 0, 1, 2, 3)]
        for p in places
    ]
    drawn = drawn_by(logs, [p.call.case for p in places], 4)
    extra = next(each for each in drawn if each.used == (1, 2, 3, 4))
    assert not extra.in_order
    seen = behaviour(rule)
    shifted = [_on(rule, p, extra.noise[p.number]) for p in places]
    states, points = zip(*shifted, strict=True)
    assert find(Observed(places, states, points, drawn), Rule())[0] == rule
    assert find(Observed(places, states, points, seen.drawn), Rule()) == []


def _on(rule: Rule, place, noise):  # type: ignore[no-untyped-def]

    return simulate(rule, place, noise, 4)


@pytest.mark.parametrize(
    ("counts", "shape"),
    [
        ((90,), "each element"),
        ((30, 30, 30), "each element"),
        ((3,), "each image"),
        ((30,), "each element of one image"),
        ((1,), "all"),
    ],
)
def test_what_was_served_is_drawn_again(counts: tuple[int, ...], shape: str) -> None:
    case = probe_calls(probe_case())[0].case
    stream = SharedRandomness(case.key, "NHWC")
    served = np.concatenate([stream.normal((n,), "float32") for n in counts])
    (batch,) = batches_of(stream.log, case)
    assert batch.shape == shape
    np.testing.assert_array_equal(batch.numbers.ravel(), served)


def test_a_law_is_read_off_where_half_of_the_elements_break_it() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 60))
    target = 3.5 * a - 0.25 * b
    everywhere = np.ones(60, bool)
    solved = fit([a, b], np.where(rng.random(60) < 0.5, 1.0, target), everywhere)
    assert solved is not None
    np.testing.assert_allclose(solved, [3.5, -0.25], rtol=1e-12)
    assert fit([a, b], rng.normal(size=60), everywhere) is None, "there is no law"


def test_limits_are_values_that_occur_again() -> None:
    values = np.random.default_rng(1).normal(size=50)
    assert limits_in([values]) is None
    assert limits_in([np.clip(values, -0.5, None)]) == (-0.5, np.inf)
    assert limits_in([values, np.clip(values, -0.5, 0.25) * 0 + 9.0])[1] == 9.0  # type: ignore[index]
    assert agree(np.array([0.1, 0.2, 0.3, 0.3, 0.3])) == 0.3
    assert agree(np.array([0.1, 0.2, 0.3])) is None
