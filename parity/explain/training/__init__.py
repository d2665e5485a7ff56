"""Training, explained on a probe of its own; each stage of a step in a module."""

from parity.explain.training.runs import Run, run_of
from parity.explain.training.stages import SAMPLING, explain_training

__all__ = ["SAMPLING", "Run", "explain_training", "run_of"]
