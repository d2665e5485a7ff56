"""What is looked for after a sampler has run."""

from __future__ import annotations

import gc

import torch

from parity.frameworks.torch.state import _live_nodes


def test_a_graph_on_a_tensor_from_before_the_garbage_collector_was_frozen_counts() -> None:
    """A worker freezes all that it has imported, which a module's own tensors are among."""
    before = _live_nodes()
    kept = torch.ones(2, requires_grad=True) * 2
    gc.freeze()
    assert _live_nodes() == before + 2
    assert kept.grad_fn is not None
