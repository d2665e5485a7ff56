"""Training, explained on a probe of its own; each stage of a step in a module."""

from parity.explain.training.probe import (
    CURVATURE,
    PROBE_STEPS,
    Evaluation,
    Run,
    TrainingProbe,
    probe_case,
    run_of,
)
from parity.explain.training.stages import SAMPLING, explain_training

__all__ = [
    "CURVATURE",
    "PROBE_STEPS",
    "SAMPLING",
    "Evaluation",
    "Run",
    "TrainingProbe",
    "explain_training",
    "probe_case",
    "run_of",
]
