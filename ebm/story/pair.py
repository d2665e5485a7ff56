"""The pair of the story: the published architecture only, for a person's port builds no other."""

from __future__ import annotations

import dataclasses

import ebm.pair


def trainings() -> list[tuple[dict[str, object], int, int]]:
    """Three steps in a row, as in every profile."""
    return ebm.pair.fixed_trainings()[:1]


pair = dataclasses.replace(
    ebm.pair.pair,
    architectures=None,
    trainings=None,
    fixed_trainings="ebm.story.pair:trainings",
)
