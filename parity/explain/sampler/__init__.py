"""Samplers, explained on a probe of their own: both sides' steps seen, and rules that behave so."""

from parity.explain.sampler.compare import explain_sampler

__all__ = ["explain_sampler"]
