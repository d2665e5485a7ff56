"""What only a port is asked: each segment of its network, its lines, what it leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity.errors import BadCall
from parity.frameworks.torch.localise import segment_gradients, segments
from parity.frameworks.torch.places import places
from parity.frameworks.torch.side import TorchRunner
from parity.side.requests import Requests
from parity.values import archive
from parity.values.cases import Case


class TorchRequests(Requests):
    """One side of PyTorch, opened."""

    runner: TorchRunner

    def weights(self, settings: dict[str, Any] | None) -> dict[str, Any]:
        raise BadCall("a PyTorch side as the reference is not supported: give a TensorFlowSide")

    def segments(self, case: bytes, substituted: bytes) -> bytes:
        arrays, _ = archive.from_bytes(substituted, "the reference's activations")
        return segments(self.runner, Case.from_bytes(case), arrays).to_bytes()

    def segment_gradients(self, case: bytes, given: bytes) -> bytes:
        arrays, _ = archive.from_bytes(given, "the reference's activations and cotangents")
        return segment_gradients(self.runner, Case.from_bytes(case), arrays).to_bytes()

    def places(self, case: bytes, given: bytes, root: str) -> dict[str, str]:
        arrays, _ = archive.from_bytes(given, "the reference's activations")
        return places(self.runner, Case.from_bytes(case), arrays, Path(root))

    def probing_state(self, case: bytes, **options: Any) -> list[dict[str, str]]:
        return self.runner.probing_state(Case.from_bytes(case), **options)

    def left_behind(self) -> list[dict[str, str]]:
        return self.runner.left_behind()

    def state(self, case: bytes, **options: Any) -> list[dict[str, str]]:
        return self.runner.state(Case.from_bytes(case), **options)
