"""A pair of its own for the tests: a small network and a sampler in both frameworks, in one file.

Its functions import their framework only when they run, as a process that has neither reads it.
"""

from __future__ import annotations

from pathlib import Path

from parity.ask.session import Session
from parity.declare import specs

TEXT = """
import dataclasses, functools
import parity

LOW, HIGH = {low}, {high}


def network():
    import keras

    x = inputs = keras.Input((6, 5, 1))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="tanh", name="conv")(x)
    x = keras.layers.Dense(1, name="score")(keras.layers.Flatten()(x))
    return keras.Model(inputs, x)


def ported(flatten=lambda x: x.flatten(1)):
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 3, 3, padding=1)
            self.score = torch.nn.Linear(90, 1)

        def forward(self, x):
            x = torch.tanh(self.conv(x)).permute(0, 2, 3, 1)
            return self.score(flatten(x))

    return Network()


def sample(model, images, steps, step_size, noise, return_every_step=False):
    import tensorflow as tf

    every = []
    for _ in range(steps):
        images = images + noise * tf.random.normal(tf.shape(images), dtype=images.dtype)
        with tf.GradientTape() as tape:
            tape.watch(images)
            scores = model(images)
        images = images + step_size * tape.gradient(scores, images)
        {clip}
        every.append(images)
    return tf.stack(every) if return_every_step else images


def sample_ported(
    model, images, steps, step_size, noise, return_every_step=False, clip=lambda x: {ported_clip}
):
    import torch

    every = []
    images = images.detach().clone()
    for _ in range(steps):
        with torch.enable_grad():
            images = (images + noise * torch.randn_like(images)).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(model(images).sum(), images)
        images = clip(images.detach() + step_size * gradient)
        every.append(images)
    return torch.stack(every) if return_every_step else images


reference = parity.TensorFlowSide(model=network{reference})
port = parity.TorchSide(model=ported{port})
pair = parity.Pair(
    name="small", reference=reference, port=port, image_range=(LOW, HIGH), claims={claims}
)


def sampling(**changes):
    sampler = functools.partial(sample_ported, **changes)
    return dataclasses.replace(port, generate_samples=sampler)


{more}
"""

SAMPLERS = {
    "reference": ", generate_samples=sample",
    "port": ", generate_samples=sample_ported",
}


def write_pair(
    folder: Path,
    *,
    reference: str = "",
    port: str = "",
    clip: str = "pass",
    ported_clip: str = "x",
    low: float = -1.0,
    high: float = 1.0,
    claims: tuple[str, ...] = (),
    more: str = "",
) -> str:
    """Write the pair to ``folder``; returns its SPEC.

    Args:
        reference, port: what each side declares besides its model, as in ``SAMPLERS``.
        clip: the reference's last statement of a step; ``ported_clip`` the port's, of ``x``.
        more: further ports, under names of their own.
    """
    path = folder / "small_pair.py"
    path.write_text(
        TEXT.format(
            reference=reference,
            port=port,
            clip=clip,
            ported_clip=ported_clip,
            low=low,
            high=high,
            claims=claims,
            more=more,
        )
    )
    return f"{path}:pair"


def reopen(session: Session, spec: str) -> Session:
    """The session with another pair: its two processes, which take long to start, stay."""
    session.pair_spec, session.pair = spec, specs.resolve(spec, "pair")
    session._facts.clear()
    session.reference_about = session.reference.ask("open", pair=spec, role="reference", spec=None)
    assert session.port is not None
    session.port_about = session.port.ask("open", pair=spec, role="port", spec=None)
    return session
