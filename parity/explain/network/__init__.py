"""Networks, explained segment by segment: which layer computes otherwise, and by which rule."""

from parity.explain.network.localise import explain_network

__all__ = ["explain_network"]
