"""Dispatch modes of ours: no compiler is imported for them, and none looks into them."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from parity.frameworks.torch.modes import Mode

class Unmarked(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls):
        return False

def doubled(x):
    return x * 2

class Looked(Unmarked):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return doubled(func(*args, **(kwargs or {})))

class Ours(Mode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return doubled(func(*args, **(kwargs or {})))

with Ours():
    two = torch.ones(1)
assert two.item() == 2
print("torch._dynamo" in sys.modules)
for mode in (Looked, Ours):
    graphs = []
    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward
    one, program = torch.ones(1), torch.compile(lambda x: x.sum(), backend=backend)
    with mode():
        two = program(one)
    assert two.item() == 2
    print(len(graphs))
"""


def test_no_compiler_is_imported_and_none_looks_in() -> None:
    """The class between shows that one would: the operations of its handler became a graph."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "1", "0"], ran.stdout + ran.stderr
