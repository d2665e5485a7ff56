"""JSON reports made by hand, small enough to be read, with everything in them that a page shows."""

from __future__ import annotations

from typing import Any

SETTINGS = "random weights (scale 0.5), 2 uniform images, settings {'height': 2}, 3 steps of size 1"


def green() -> dict[str, Any]:
    """A correct port's, with no more than the schema requires."""
    return {
        "schema": 1,
        "pair": "mine.pair:pair",
        "verdict": "rounding",
        "environment": {"python": "3.11.7", "torch": "2.13.0"},
        "checks": [check("energies", "rounding"), check("draw_log", "identical", worst=None)],
        "causes": [],
        "seconds": {"total": 1.25},
    }


def red() -> dict[str, Any]:
    """A wrong port's, with every optional key."""
    report = green()
    report["checks"] = [
        check("energies", "rounding"),
        check(
            "activations",
            "divergent",
            residual=0.5,
            error_ratio=2.5e6,
            headline="activations: divergent first at activations/conv2",
            message=["2 of 6 elements differ by more than the bound", "3 of 5 cases"],
            reproduction=[
                "reproduce: parity check mine.pair:pair --only activations",
                "or its smallest case (1 uniform image), the port where a debugger stops in it:",
                "    from parity.testing import reproduce",
                "    reproduce('mine.pair:pair', 'a.safetensors', 'activations')",
            ],
            accept=["accept: [tool.parity] accept = [{check = 'activations'}]"],
        ),
        check("losses", "invalid", worst=None, problem="the port raised ValueError: too small"),
        check("validation", "divergent", accepted="known, until the next release"),
    ]
    return report | {
        "port": "mine/port.py",
        "golden": "goldens",
        "profile": "golden",
        "seed": 7,
        "narrowed": ["energies", "activations", "losses"],
        "verdict": "invalid",
        "problems": ["accept entry 2 matches nothing"],
        "causes": [
            {
                "id": "padding-same",
                "where": "conv2",
                "place": "mine/net.py:71",
                "fix": "x = F.pad(x, (0, 1, 0, 1)) before conv2",
                "residual_before": 0.5,
                "residual_after": 2.5e-16,
                "evidence": "conv2 is reproduced by padding 1",
                "reading": "padding ((1, 0), (1, 0))",
            },
            {
                "id": "of-a-later-catalogue",
                "where": "the buffer",
                "fix": "keep the order",
                "residual_before": None,
                "residual_after": None,
            },
        ],
        "unexplained": [{"where": "dense1", "evidence": "nothing reproduces dense1"}],
        "attribution": "The library differs, the port does not.",
        "environment_differences": [{"name": "torch", "recorded": "2.12.0", "here": "2.13.0"}],
        "margins": [
            {"check": "energies", "recorded": 0.25, "now": 8.5, "factor": 34.0, "worse": True}
        ],
        "evidence": evidence(),
    }


def check(name: str, verdict: str, **given: Any) -> dict[str, Any]:
    return {
        "name": name,
        "verdict": verdict,
        "cases": 5,
        "residual": 4.5e-16,
        "floor": 3.25e-16,
        "error_ratio": None,
        "worst": {"index": [0, 1], "reference": 1.5, "port": 1.25},
        "first_divergence": None,
        **given,
    }


def evidence() -> dict[str, Any]:
    return {
        "arrays": [
            array("energies", "energies", "rounding", 1.375, 0.75),
            array("activations", "activations/conv1", "identical", 0.0, 0.625),
            array("activations", "activations/conv2", "divergent", 1.5e15, 2.5e6),
            array("activations", "activations/score", "imprecise", 2.125, 21.5),
            array("activations", "activations/dense1", "invalid", None, None),
        ],
        "gradients": [
            {
                "case": "ab",
                "title": SETTINGS,
                "image": 1,
                "floor": 1.25e-17,
                "maps": maps([[0.125, -0.25], [0.375, 0.0625]], [[0.0, 1.5e-18], [-2.5e-18, 0.0]]),
            },
            {
                "case": "ac",
                "title": "trained, 2 real images",
                "image": 0,
                "floor": 1e-17,
                "maps": maps([[7.5, None]], [[0.875, 0.0]], block=3, channels=2),
            },
        ],
        "trajectories": [
            {
                "case": "ab",
                "title": SETTINGS,
                "free_running": {
                    "steps": [0, 1, 2],
                    "residuals": [1.125e-16, 0.03125, None],
                    "floors": [3.5e-16, 7.25e-16, 1.75e-3],
                    "horizon": 2,
                    "image": 1,
                    "frames": [
                        {"after": 0, "maps": maps([[0.5625, -0.75]], [[0.0, 0.0]])},
                        {"after": 2, "maps": maps([[0.6875, -0.875]], [[0.0625, 0.0]])},
                    ],
                },
                "teacher_forced": {
                    "steps": [0, 1],
                    "residuals": [0.0, 2.25e-16],
                    "floors": [3.5e-16, 4.75e-16],
                    "horizon": None,
                },
            }
        ],
        "training": [
            {
                "case": "ad",
                "title": "trained, 24 real images",
                "curves": {
                    "loss": {
                        "reference": [-1.5953438268603042, -1.7279488364709934],
                        "port": [-1.5953438268603045, -1.9],
                    },
                    "fake_score": {"reference": [0.25], "port": []},
                },
            }
        ],
        "draws": [
            {
                "case": "ab",
                "title": "trained, 3 uniform images",
                "first_difference": 101,
                "begin": 100,
                "lengths": [103, 102],
                "reference": [draw(100), draw(101), draw(102)],
                "port": [draw(100), draw(101, family="uniform", served=False)],
            }
        ],
    }


def array(
    check: str, name: str, verdict: str, floors: float | None, ratio: float | None
) -> dict[str, Any]:
    return {
        "check": check,
        "array": name,
        "verdict": verdict,
        "compared": 3,
        "residual": None if floors is None else floors * 2.0**-52,
        "floor": None if floors is None else 2.0**-52,
        "floors": floors,
        "error_ratio": ratio,
        "problem": "shape (2, 3) from the port" if floors is None else None,
    }


def maps(
    reference: list[list[Any]], difference: list[list[Any]], block: int = 1, channels: int = 1
) -> dict[str, Any]:
    return {
        "block": block,
        "reference": [[[value] * channels for value in row] for row in reference],
        "difference": [[[value] * channels for value in row] for row in difference],
    }


def draw(position: int, family: str = "normal", served: bool = True) -> dict[str, Any]:
    return {
        "family": family,
        "count": 3072,
        "dtype": "float32",
        "position": position,
        "served": served,
    }


def mutants() -> dict[str, Any]:
    """Of ``parity mutants``: one fault caught and named, one that survives, and a pair."""
    judged = {"caught": True, "named": True, "missed": [], "wrong": [], "seconds": 0.75}
    return green() | {
        "problems": ["noise squared: survives: no check is red"],
        "mutants": [
            judged
            | {
                "id": "padding 1",
                "faults": ["padding-same"],
                "visible": ["padding 1"],
                "red": ["energies"],
                "found": ["padding-same"],
            },
            judged
            | {
                "id": "noise squared",
                "faults": ["noise-scale"],
                "visible": ["noise squared"],
                "red": [],
                "found": [],
                "caught": False,
                "named": False,
                "missed": ["noise-scale"],
            },
            judged
            | {
                "id": "padding 1 + noise squared",
                "faults": ["padding-same", "noise-scale"],
                "visible": ["padding 1"],
                "red": ["energies"],
                "found": ["padding-same"],
            },
        ],
    }
