"""What a report shows: the worst image, the frames, the first draw that differs."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest

from parity.tell.evidence import evidence
from parity.values.cases import Case
from parity.values.exhibits import DrawLogs, GradientMaps, TrainingCurves, Trajectory, rounded
from parity.values.randomness import Draw
from parity.verdict.comparison import Answer, compare
from parity.verdict.outcome import CheckResult, Exhibit, Outcome, pool
from tests.harness.test_cli import SCHEMA

CASE = Case(weights={}, images=np.zeros((2, 4, 3, 1), np.float32), origin={"images": "uniform"})


def moved(array: np.ndarray, place: tuple[int, ...], by: float) -> np.ndarray:
    array = array.copy()
    array[place] += by
    return array


def test_the_map_is_of_the_image_that_differs_most() -> None:
    truth = np.arange(24.0).reshape(2, 4, 3, 1)
    maps = GradientMaps.of(truth, moved(truth, (1, 2, 0, 0), -0.5), floor=0.25)
    assert maps is not None
    assert (maps.image, maps.floors) == (1, 2.0)
    shown = maps.to_dict()["maps"]
    assert shown["reference"] == truth[1].tolist()
    assert shown["difference"][2][0] == [-0.5]
    assert np.count_nonzero(shown["difference"]) == 1


@pytest.mark.parametrize("port", [None, np.zeros((2, 3, 3, 1)), np.zeros(())])
def test_arrays_of_another_shape_are_not_shown(port: np.ndarray | None) -> None:
    assert GradientMaps.of(np.zeros((2, 4, 3, 1)), port, 1.0) is None


def test_an_image_with_nan_is_the_worst_and_its_numbers_are_none() -> None:
    truth = np.ones((3, 2, 2, 1))
    maps = GradientMaps.of(truth, moved(truth, (1, 0, 0, 0), np.nan), 1.0)
    assert maps is not None
    assert maps.image == 1
    assert maps.to_dict()["maps"]["difference"][0][0] == [None]
    json.dumps(maps.to_dict(), allow_nan=False)


def test_a_large_image_is_shown_in_blocks_and_a_single_wrong_pixel_stays() -> None:
    truth = np.zeros((1, 200, 130, 2))
    maps = GradientMaps.of(truth, moved(truth, (0, 199, 129, 1), -3.0), 1.0)
    assert maps is not None
    shown = maps.to_dict()["maps"]
    assert shown["block"] == 4
    difference = np.array(shown["difference"], dtype=float)
    assert difference.shape == (50, 33, 2)
    assert difference[-1, -1].tolist() == [0.0, -3.0]


def trajectory(port: np.ndarray, truth: np.ndarray, horizon: int) -> Trajectory:
    steps = list(range(len(truth)))
    return Trajectory.of(CASE.images, steps, truth, port, [0.5] * len(steps), horizon)


def test_a_trajectory_counts_within_its_horizon_only() -> None:
    truth = np.zeros((4, 2, 4, 3, 1))
    port = moved(moved(truth, (1, 1, 0, 0, 0), 0.25), (3, 0, 0, 0, 0), 100.0)
    found = trajectory(port, truth, horizon=2)
    assert found.residuals == (0.0, 0.25, 0.0, 100.0)
    assert found.worst == 0.5
    assert found.image == 1
    frames = found.to_dict()["frames"]
    assert [frame["after"] for frame in frames] == [0, 1, 2, 3, 4]


def test_of_many_steps_a_few_are_shown_with_the_first_and_the_last() -> None:
    truth = np.zeros((60, 2, 4, 3, 1))
    shown = [frame["after"] for frame in trajectory(truth, truth, 60).to_dict()["frames"]]
    assert shown[:2] == [0, 1]
    assert shown[-1] == 60
    assert len(shown) <= 9


def test_no_images_make_no_frames() -> None:
    empty = np.zeros((2, 0, 4, 3, 1))
    found = Trajectory.of(np.zeros((0, 4, 3, 1)), [0, 1], empty, empty, [1.0, 1.0], 2)
    assert "frames" not in found.to_dict()


def test_draws_are_shown_around_the_first_that_differs() -> None:
    draw, other = Draw("normal", 12, "float32", 0), Draw("uniform", 12, "float32", 0)
    same = DrawLogs((draw,) * 1000, (draw,) * 1000)
    assert same.first_difference is None
    assert len(same.to_dict()["port"]) == 200
    wrong = DrawLogs((draw,) * 1000, (*(draw,) * 500, other)).to_dict()
    assert wrong["first_difference"] == 500
    assert wrong["port"][500 - wrong["begin"]]["family"] == "uniform"
    assert wrong["lengths"] == [1000, 501]


def test_numbers_are_rounded_to_what_can_be_seen() -> None:
    assert rounded(np.array([[1 / 3, np.inf]]), 3) == [[0.333, None]]


def results(**exhibits: Exhibit) -> list[CheckResult]:
    truth = np.ones(3)
    array = compare("a[0]", Answer(truth, 1e-16), truth, None)
    return [
        pool(name, [Outcome(name, (array, array), CASE, exhibit=exhibit)], 0.0)
        for name, exhibit in exhibits.items()
    ]


def test_evidence_is_what_the_schema_says() -> None:
    truth = np.zeros((3, 2, 4, 3, 1))
    gradients = GradientMaps.of(truth[0], truth[0] + 1, 1.0)
    assert gradients is not None
    found = evidence(
        results(
            energy_gradients=gradients,
            samples_free_running=trajectory(truth, truth, 3),
            samples_teacher_forced=Trajectory((0, 1), (0.0, 1.0), (1.0, 1.0)),
            losses=TrainingCurves({"loss": (truth[:, 0, 0, 0, 0], truth[:, 0, 0, 0, 0])}),
            draw_log=DrawLogs((), ()),
        )
    )
    schema = {**SCHEMA["properties"]["evidence"], "$defs": SCHEMA["$defs"]}
    jsonschema.validate(found, schema)
    assert [entry["array"] for entry in found["arrays"]] == ["a"] * 5
    assert found["arrays"][0]["compared"] == 2
    for kind in ("gradients", "trajectories", "training", "draws"):
        assert len(found[kind]) == 1, kind
    (course,) = found["trajectories"]
    assert course["teacher_forced"]["residuals"] == [0.0, 1.0]


def test_the_worst_images_come_first_and_few_are_kept() -> None:
    truth = np.zeros((1, 4, 3, 1))
    outcomes = [
        Outcome("energy_gradients", (), CASE, exhibit=GradientMaps.of(truth, truth + n, 1.0))
        for n in (1.0, 5.0, 3.0, 2.0)
    ]
    found = evidence([pool("energy_gradients", outcomes, 0.0)])
    assert [g["maps"]["difference"][0][0][0] for g in found["gradients"]] == [5.0, 3.0, 2.0]
