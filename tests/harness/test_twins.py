"""A reference in two processes answers as one does, to the last bit."""

from __future__ import annotations

import pytest

from parity.ask.session import Session
from parity.ask.workers import Twins
from parity.declare import specs
from parity.draw.drawing import drawn
from parity.draw.recipes import Recipe, TrainingRecipe, WeightsRecipe, make_case
from parity.values.cases import SamplerCall


@pytest.mark.few(0)
def test_two_processes_give_one_answer(parity_session: Session) -> None:
    session = parity_session
    settings = drawn(specs.entry(session.pair.architectures)(), 1, 3)[0]
    like = {"weights": WeightsRecipe(seed=5), "settings": settings, "key": 11}
    cases = {
        "network": make_case(session, Recipe(**like)),
        "samples": make_case(session, Recipe(**like, sampler=SamplerCall(3, 10.0, 0.05))),
        "training": make_case(session, Recipe(**like, training=TrainingRecipe(2, 10, 4))),
    }
    with Session(session.pair_spec, twins=True, root=session.root) as both:
        assert isinstance(both.reference, Twins)
        for method, case in cases.items():
            options = {"case": case.to_bytes(), "copies": 2}
            together = both.reference.ask(method, **options)
            assert together == session.reference.ask(method, **options), method
