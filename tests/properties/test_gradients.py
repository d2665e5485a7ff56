"""Per-image gradients are equal, and each image's is its own.

Image i's energy and gradient do not depend on what else is in the batch: they are the same alone,
in a smaller batch, and in another order.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parity.ask.session import Session
from parity.entries.forward import check_batch_independence, check_network
from parity.testing import assert_green
from tests.amount import examples
from tests.properties.cases import network_cases


@examples(25)
@given(data=st.data())
def test_gradients_are_equal(parity_session: Session, data: st.DataObject) -> None:
    """A gradient that is zero everywhere on both sides proves nothing: it is ``unchecked``."""
    case = data.draw(network_cases(parity_session))
    _, gradients, _ = check_network(parity_session, case)
    if any(case.images.size and c.problem is None for c in gradients.comparisons):
        assert_green([gradients])


@examples(15)
@given(data=st.data())
def test_an_images_gradient_is_its_own(parity_session: Session, data: st.DataObject) -> None:
    case = data.draw(network_cases(parity_session, lambda recipe: recipe.batch > 1))
    assert_green(check_batch_independence(parity_session, case))
