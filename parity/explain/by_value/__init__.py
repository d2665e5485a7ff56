"""Explaining by value: where a port departs, and as which other layer it computes what it does."""

from parity.explain.by_value.engine import explain_programs

__all__ = ["explain_programs"]
