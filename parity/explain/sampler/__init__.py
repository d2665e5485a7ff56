"""Samplers, explained on a probe of their own: both sides' steps seen, and rules that behave so."""

from parity.explain.sampler.compare import explain_sampler
from parity.explain.sampler.probe import probe_case

__all__ = ["explain_sampler", "probe_case"]
