"""What the pair draws: a setting that is never another than its default is not seen at all."""

from __future__ import annotations

import dataclasses

from ebm import pair
from ebm.settings import PUBLISHED, Settings
from parity.draw.drawing import drawn


def test_every_setting_that_training_reads_is_drawn_other_than_by_default() -> None:
    """A port that leaves one out and so takes its default would otherwise be green."""
    trainings = [settings for settings, _ in drawn(pair.trainings(), 40, 0)]
    never = [
        field.name
        for field in dataclasses.fields(Settings)
        if all(
            t.get(field.name, getattr(PUBLISHED, field.name)) == getattr(PUBLISHED, field.name)
            for t in trainings
        )
    ]
    assert never == ["epochs"], "read by ebm.train alone"
