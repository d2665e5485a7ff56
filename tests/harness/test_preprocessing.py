"""``preprocess`` of images with channels, of one image and of none, as far as a reference goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.ask.session import Session
from parity.entries.preprocess import check_preprocessing, stimuli
from parity.verdict.comparison import Verdict
from parity.verdict.outcome import Outcome
from tests.harness.edited import overlay
from tests.harness.test_checks import port


def outcomes(session: Session) -> list[Outcome]:
    return [o for images in stimuli(session) for o in check_preprocessing(session, images)]


def test_every_shape_that_the_reference_takes_is_asked(parity_session: Session) -> None:
    shapes = [images.shape for images in stimuli(parity_session)]
    assert shapes == [(2, 28, 28), (2, 9, 7, 1), (2, 9, 7, 2), (1, 9, 7), (0, 9, 7)]
    found = outcomes(parity_session)
    assert len(found) == 4, "of no images there is nothing to compare"
    assert all(outcome.verdict.green for outcome in found)


@pytest.mark.parametrize(
    "after",
    [
        "x = x.reshape(x.shape[0], x.shape[3], x.shape[1], x.shape[2])",
        "x = x.permute(0, 3, 2, 1) if x.shape[3] > 1 else x.permute(0, 3, 1, 2)",
        "x = x[:1].permute(0, 3, 1, 2) if x.shape[3] > 1 else x.permute(0, 3, 1, 2)",
    ],
)
def test_channels_that_are_scrambled_are_red(
    parity_session: Session, tmp_path: Path, after: str
) -> None:
    folder = overlay("images.py", "x = x.permute(0, 3, 1, 2)", after, tmp_path)
    with parity_session.with_overlay(folder) as session:
        found = outcomes(session)
    (bad,) = [outcome.first_bad for outcome in found if not outcome.verdict.green]
    assert bad is not None
    assert bad.array == "preprocessed (2, 9, 7, 2)"


def test_one_image_alone_and_none_are_asked(parity_session: Session, tmp_path: Path) -> None:
    text = (
        "from port_torch import images\n"
        "def preprocess(grey):\n"
        "    x = images.preprocess(grey)\n"
        "    return x if len(x) > 1 else x.squeeze()\n"
        "side = dataclasses.replace(ebm.pair.port, preprocess=preprocess)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        found = [outcome for outcome in outcomes(session) if not outcome.verdict.green]
    assert {outcome.verdict for outcome in found} == {Verdict.INVALID}
    assert len(found) == 2


def test_channels_that_only_the_reference_takes_are_for_who_claims_refusals(
    parity_session: Session, tmp_path: Path
) -> None:
    text = (
        "from port_torch import images\n"
        "def preprocess(grey):\n"
        "    if not len(grey) or grey.shape[3:] == (2,):\n"
        "        raise ValueError('grey images')\n"
        "    return images.preprocess(grey)\n"
        "side = dataclasses.replace(ebm.pair.port, preprocess=preprocess)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        assert all(outcome.verdict.green for outcome in outcomes(session))
        some = [check_preprocessing(session, images) for images in stimuli(session)]
    assert [len(each) for each in some] == [1, 1, 0, 1, 0]
