"""What is attached to a port changes none of its answers, and is always taken off again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from parity.correspond.weights import Weight, match
from parity.declare.declarations import TorchSide
from parity.frameworks.torch.capture import Capture, in_order_of_use
from parity.frameworks.torch.localise import segment_gradients, segments
from parity.frameworks.torch.parameters import layers_of, parameters, state
from parity.frameworks.torch.side import TorchRunner
from parity.side.network import network
from parity.values.cases import Case

SHAPES = {
    "conv/kernel": (3, 3, 2, 4),
    "conv/bias": (4,),
    "dense/kernel": (36, 5),
    "dense/bias": (5,),
    "score/kernel": (5, 1),
    "score/bias": (1,),
}


class Net(nn.Module):
    """Functional and modular layers, an activation in place; raises where it is told to."""

    def __init__(self, raising: str = "") -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.zeros(4, 2, 3, 3)), nn.Parameter(torch.zeros(4))
        self.dense, self.score = nn.Linear(36, 5), nn.Linear(5, 1)
        self.raising = raising

    def forward(self, x: Tensor) -> Tensor:
        self.may_raise("first")
        x = F.relu_(F.conv2d(x, self.w, self.b, stride=2, padding=1))
        self.may_raise("between")
        x = torch.tanh(self.dense(x.permute(0, 2, 3, 1).flatten(1)))
        scores: Tensor = self.score(x)
        self.may_raise("last")
        return scores

    def may_raise(self, where: str) -> None:
        if where == self.raising:
            raise RuntimeError(f"not today: {where}")


def case_of() -> Case:
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=s).astype(np.float32) for name, s in SHAPES.items()}
    images = rng.uniform(-1, 1, (3, 5, 6, 2)).astype(np.float32)
    return Case(weights=weights, images=images, key=1)


def loaded(raising: str = "") -> tuple[TorchRunner, Net]:
    runner = TorchRunner(TorchSide(model=lambda: Net(raising)), None)
    with runner.precision("float64"):
        model = runner.built(None, "float64")
        runner.load(model, case_of(), case_of().weights)
    return runner, model


def given_of(runner: TorchRunner) -> dict[str, np.ndarray]:
    """Activations and cotangents of the right shapes, as the reference would give them."""
    with runner.precision("float64"), runner.ready(case_of(), "float64", {}) as model:
        values = runner._activations(model, case_of().images.astype(np.float64))
    others = {name.replace("activations", "cotangents"): a + 1.0 for name, a in values.items()}
    return values | others


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_answers_are_the_same_bit_for_bit_with_capture_and_without(precision: str) -> None:
    runner, _ = loaded()
    with_, without = (
        network(runner, case_of(), activations=activations, precisions=[precision])
        for activations in (True, False)
    )
    assert [n for n in with_.arrays[precision] if n.startswith("activations/")] == [
        "activations/conv",
        "activations/dense",
        "activations/score",
    ]
    for name in ("energies", "energy_gradients"):
        ours, plain = with_.array(precision, name), without.array(precision, name)
        assert ours is not None
        assert plain is not None
        assert np.abs(ours).max() > 0
        assert ours.tobytes() == plain.tobytes()


def test_scores_and_all_gradients_are_the_same_while_values_are_captured() -> None:
    runner, model = loaded()
    matches = match([Weight(n, s) for n, s in SHAPES.items()], parameters(model))

    def answers(capture: Capture | None) -> list[Tensor]:
        x = runner.tensor(case_of().images.astype(np.float64)).requires_grad_()
        if capture is None:
            scores = model(x)
            return [scores, *torch.autograd.grad(scores.sum(), [x, *model.parameters()])]
        with capture:
            scores = model(x)
            return [scores, *torch.autograd.grad(scores.sum(), [x, *model.parameters()])]

    capture = Capture(layers_of(model, matches))
    for captured, plain in zip(answers(capture), answers(None), strict=True):
        assert torch.equal(captured, plain)
    assert list(capture.outputs)[:3] == ["conv", "dense", "score"]


def attached(model: nn.Module) -> dict[str, Any]:
    """All that could be left on a model or in this process."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "hooks": [len(getattr(m, name)) for m in model.modules() for name in hooks],
        "tensor hooks": [len(p._backward_hooks or {}) for p in model.parameters()],
        "forward": [name for m in model.modules() for name in m.__dict__ if name == "forward"],
        "modes": [*_get_current_dispatch_mode_stack(), *_get_current_function_mode_stack()],
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "requires": [p.requires_grad for p in model.parameters()],
        "gradients": [p.grad is None for p in model.parameters()],
    }


Ask = Callable[[TorchRunner, dict[str, np.ndarray]], Any]
ASKED: dict[str, Ask] = {
    "network": lambda runner, given: network(runner, case_of()),
    "segments": lambda runner, given: segments(runner, case_of(), given),
    "segment_gradients": lambda runner, given: segment_gradients(runner, case_of(), given),
}


@pytest.mark.parametrize("raising", ["", "first", "between", "last"])
@pytest.mark.parametrize("asked", ASKED)
def test_nothing_stays_attached_when_the_port_raises(asked: str, raising: str) -> None:
    given = given_of(loaded()[0])
    runner, _ = loaded(raising)
    models = [runner._models.get(("None", p)) for p in ("float64", "float32")]
    before = attached(models[0])
    if asked == "network" and raising:
        with pytest.raises(RuntimeError, match=f"not today: {raising}"):
            ASKED[asked](runner, given)
    else:
        answer = ASKED[asked](runner, given)
        assert bool(raising) == bool(answer.notes.get("raised"))
    for model in runner._models.values():
        assert attached(model) == before


@pytest.mark.parametrize("raising", ["", "between"])
def test_the_order_of_use_is_seen_and_nothing_stays(raising: str) -> None:
    runner, model = loaded(raising)
    model.train()
    model.score.eval()
    before = attached(model)
    torch.manual_seed(5)
    drawn = torch.initial_seed(), torch.rand(1)
    torch.manual_seed(5)
    images = runner.tensor(case_of().images.astype(np.float64))
    used = in_order_of_use(model, state(model), images)
    assert (torch.initial_seed(), torch.rand(1)) == drawn
    assert used[:2] in (["w", "b"], ["b", "w"])
    assert {n.partition(".")[0] for n in used[2:]} == (set() if raising else {"dense", "score"})
    assert attached(model) == before
    assert (model.training, model.dense.training, model.score.training) == (True, True, False)
