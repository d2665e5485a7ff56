"""Every layer with weights computes the same values before its activation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parity.ask.session import Session
from parity.entries.forward import check_network
from parity.testing import assert_green
from tests.amount import examples
from tests.properties.cases import network_cases


@examples(15)
@given(data=st.data())
def test_activations_are_equal(parity_session: Session, data: st.DataObject) -> None:
    case = data.draw(network_cases(parity_session))
    _, _, activations = check_network(parity_session, case)
    assert_green([activations])
    layers = {name.rpartition("/")[0] for name in case.weights}
    assert {c.array for c in activations.comparisons} == {f"activations/{n}" for n in layers}
