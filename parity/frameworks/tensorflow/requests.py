"""What only a reference is asked: its weights, its clips, and what comes back through it."""

from __future__ import annotations

from typing import Any

from parity.frameworks.tensorflow.side import TensorFlowRunner
from parity.side.requests import Requests
from parity.values.cases import Case
from parity.values.traces import Trace
from parity.verdict.floor import floors_of, moved_copies


class TensorFlowRequests(Requests):
    """One side of TensorFlow, opened."""

    runner: TensorFlowRunner

    def backward(self, case: bytes, copies: int) -> bytes:
        return backward(self.runner, Case.from_bytes(case), copies=copies).to_bytes()

    def moments(self, settings: dict[str, Any] | None) -> list[str]:
        return self.runner.moments(settings)

    def clips(self, case: bytes) -> dict[str, Any]:
        return self.runner.clips(Case.from_bytes(case))

    def weights(self, settings: dict[str, Any] | None) -> dict[str, Any]:
        return self.runner.weights(settings)


def backward(runner: TensorFlowRunner, case: Case, *, copies: int) -> Trace:
    """``cotangents`` of the case's images in float64, with their floors."""
    notes: dict[str, Any] = {}
    with runner.ready(case, "float64", notes) as model:
        pulled = runner.pulled(case)
        own = runner.cotangents(model, case.images.astype("float64"), pulled)
        moved_answers = []
        with runner.rough(model):
            for copy in moved_copies(case, "float64", copies):
                runner.load(model, case, copy.weights)
                moved_answers.append(runner.cotangents(model, copy.images, pulled))
        runner.load(model, case, case.weights)
    return Trace({"float64": own}, {"float64": floors_of(own, moved_answers, "float64")})
