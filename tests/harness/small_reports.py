"""JSON reports for the tests of what is made of them, with text in them that means harm."""

from __future__ import annotations

from typing import Any

HARM = "a](x) `b` <script>alert('c')</script> | d\ne \x00 ::error::f % 100"


def check(name: str = "energies", verdict: str = "rounding", **changed: Any) -> dict[str, Any]:
    """One check of a report."""
    green = verdict in ("identical", "rounding")
    return {
        "name": name,
        "verdict": verdict,
        "cases": 3,
        "residual": 1e-15,
        "floor": 2e-16,
        "error_ratio": 0.5,
        "worst_error_ratio": 0.5,
        "worst": {"index": [0], "reference": 1.0, "port": 1.0},
        "first_divergence": None,
        "headline": f"{name}: {verdict}",
        "message": [] if green else ["3 of 3 elements differ by more than the bound"],
        "reproduction": [] if green else [f"reproduce: parity check m:p --only {name}"],
        "accept": [],
        "place": None,
        "failing_case": None,
        "problem": None,
        "accepted": None,
        "notes": {},
        **changed,
    }


def cause(**changed: Any) -> dict[str, Any]:
    """One cause of a report."""
    return {
        "id": "gradient-mean",
        "where": "generate_samples, the gradient",
        "fix": "torch.autograd.grad(scores.sum(), images)",
        "source": "the notes",
        "residual_before": 0.9,
        "residual_after": 2e-16,
        "evidence": "reduction: mean",
        "reading": "",
        "place": "port_torch/langevin.py:71",
        **changed,
    }


def report(*checks: dict[str, Any], verdict: str = "rounding", **changed: Any) -> dict[str, Any]:
    """A whole report."""
    return {
        "schema": 1,
        "pair": "m:p",
        "port": None,
        "reference": None,
        "golden": "goldens",
        "profile": "golden",
        "seed": 0,
        "narrowed": [],
        "verdict": verdict,
        "problems": [],
        "environment": {"torch": "2.13.0"},
        "checks": list(checks) or [check()],
        "causes": [],
        "unexplained": [],
        "environment_differences": [],
        "attribution": "",
        "margins": [],
        "seconds": {"energies": 0.25, "total": 3.5},
        "evidence": {
            "arrays": [],
            "gradients": [],
            "trajectories": [],
            "training": [],
            "draws": [],
        },
        **changed,
    }


def red(**changed: Any) -> dict[str, Any]:
    """A report with a red check, a waived one, and a cause."""
    return report(
        check(),
        check("samples_teacher_forced", "divergent"),
        check("losses", "divergent", accepted="known"),
        verdict="divergent",
        causes=[cause()],
        **changed,
    )
