"""The port's calls of a golden check, without the harness: what the check's time is held against.

``python -m benchmarks.bare FILE`` makes the calls that :func:`recorded` has written.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

Call = dict[str, Any]


def recorded(path: Path, arguments: list[str]) -> int:
    """Run a check with the port in this process, and write what the port is called with.

    Returns:
        How many calls.
    """
    from unittest import mock

    import torch

    from parity.cli import main
    from parity.frameworks.torch.side import TorchRunner
    from parity.frameworks.torch.training import TorchTrainer

    calls: list[Call] = []
    kept: dict[bytes, np.ndarray] = {}

    def weights(model: Any) -> dict[str, np.ndarray]:
        arrays = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
        return {name: kept.setdefault(a.tobytes(), a) for name, a in arrays.items()}

    def wrapped(name: str, owner: type, note: Any) -> Any:
        original = getattr(owner, name)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(note(self, *args, **kwargs))
            return original(self, *args, **kwargs)

        return mock.patch.object(owner, name, call)

    def evaluation(gradient: bool) -> Any:
        def note(self: TorchRunner, model: Any, images: np.ndarray) -> Call:
            return {
                "kind": "evaluate",
                "settings": model.settings,
                "weights": weights(model),
                "images": self.tensor(images).numpy(),
                "gradient": gradient,
            }

        return note

    def sample(
        self: TorchRunner, model: Any, case: Any, images: torch.Tensor, steps: int, every: bool
    ) -> Call:
        call = case.sampler
        clip = {} if call.gradient_clip is None else {"gradient_clip": call.gradient_clip}
        arguments = {"steps": steps, "step_size": call.step_size, "noise": call.noise, **clip}
        return {
            "kind": "sample",
            "settings": model.settings,
            "weights": weights(model),
            "images": images.detach().numpy().copy(),
            "arguments": {**arguments, "return_every_step": every},
        }

    def train(kind: str) -> Any:
        def note(self: TorchTrainer, real: np.ndarray) -> Call:
            return {
                "kind": kind,
                "settings": self.runner.settings_of(self.case) or self.model.settings,
                "weights": weights(self.model),
                "images": self.tensor(real).numpy(),
            }

        return note

    with (
        wrapped("evaluate", TorchRunner, evaluation(True)),
        wrapped("_activations", TorchRunner, evaluation(False)),
        wrapped("call_sampler", TorchRunner, sample),
        wrapped("step", TorchTrainer, train("train")),
        wrapped("validate", TorchTrainer, train("validate")),
    ):
        status = main([*arguments, "--in-process"])
    assert status == 0
    path.write_bytes(pickle.dumps(calls))
    return len(calls)


def make(calls: list[Call]) -> None:
    """Call the port's functions as a person's own script would."""
    import torch

    from port_torch.energy_model import energy_model
    from port_torch.langevin import generate_samples
    from port_torch.replay_buffer import ReplayBuffer
    from port_torch.training import make_optimizer, train_step, validate

    models: dict[Any, Any] = {}
    training: dict[Any, Any] = {}
    for call in calls:
        images = torch.from_numpy(call["images"])
        key = (repr(call["settings"]), images.dtype)
        if key not in models:
            models[key] = energy_model(call["settings"]).to(images.dtype)
        model = models[key]
        torch.set_default_dtype(images.dtype)
        model.load_state_dict({n: torch.from_numpy(a) for n, a in call["weights"].items()})
        if call["kind"] == "evaluate":
            with torch.set_grad_enabled(call["gradient"]):
                scores = model(images.requires_grad_(call["gradient"]))
            if call["gradient"]:
                torch.autograd.grad(scores.sum(), images)
        elif call["kind"] == "sample":
            generate_samples(model, images, **call["arguments"])
        elif call["kind"] == "validate":
            training[key] = make_optimizer(model), ReplayBuffer(call["settings"])
            validate(model, images, call["settings"])
        else:
            optimizer, buffer = training[key]
            train_step(model, optimizer, images, buffer, call["settings"])


if __name__ == "__main__":
    make(pickle.loads(Path(sys.argv[1]).read_bytes()))
