"""What outputs are multiplied by before gradients are taken."""

from __future__ import annotations

import numpy as np
import pytest

from parity.side.runner import Pulled
from parity.values.cotangents import cotangent


@pytest.mark.parametrize("shape", [(3,), (3, 1), (), (2, 10), (1, 4)])
def test_one_energy_for_each_image_keeps_ones_and_so_does_a_number_that_is_not_one_each(
    shape: tuple[int, ...],
) -> None:
    assert np.array_equal(cotangent(0, shape, batch=3), np.ones(shape))


def test_other_outputs_get_random_numbers_of_their_own_that_float32_holds() -> None:
    found = cotangent(5, (4, 10), batch=4)
    assert found.dtype == np.float64
    assert np.array_equal(found, found.astype(np.float32))
    assert len(np.unique(found)) == found.size
    assert np.array_equal(found, cotangent(5, (4, 10), batch=4))
    assert not np.array_equal(found, cotangent(6, (4, 10), batch=4))


def test_an_image_has_the_same_numbers_whatever_it_is_batched_with() -> None:
    whole = cotangent(5, (4, 3, 2), batch=4)
    for rows in ([3], [3, 2, 1, 0], [1, 1], [0, 2]):
        part = cotangent(5, (len(rows), 3, 2), batch=len(rows), rows=rows)
        assert np.array_equal(part, whole[rows])
    assert cotangent(5, (0, 3), batch=0).shape == (0, 3)


def test_images_for_outputs_have_the_same_numbers_in_either_layout() -> None:
    last = Pulled(7, 1, "NHWC").by((2, 5, 4, 3), 2, "float64")
    first = Pulled(7, -1, "NCHW").by((2, 3, 5, 4), 2, "float32")
    assert first.dtype == np.float32
    assert np.array_equal(-np.moveaxis(first, 1, -1), last)
