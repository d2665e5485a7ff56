"""The first pair: the published energy model and its port, as ``parity check`` reads them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import parity
from ebm.images import load_images
from ebm.settings import ACTIVATIONS, ConvLayer, DenseLayer, Settings

PADDING = 2
DIGITS = 2000
"""Of the 10,000: enough to choose from, and every run loads them."""


def images(n: int = DIGITS) -> np.ndarray:
    """The first ``n`` bundled digits as the network takes them: (n, 32, 32, 1) float32, [-1, 1]."""
    digits = (load_images()[:n].astype(np.float32) - 127.5) / 127.5
    border = [(0, 0), (PADDING, PADDING), (PADDING, PADDING)]
    return np.pad(digits, border, constant_values=-1.0)[..., np.newaxis]


@st.composite
def _settings(draw: st.DrawFn) -> dict[str, object]:
    sizes, filters = st.integers(1, 5), st.integers(1, 6)
    convolution = st.builds(
        ConvLayer,
        filters=filters,
        kernel=st.tuples(sizes, sizes),
        stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        activation=st.sampled_from(ACTIVATIONS),
    )
    dense = st.builds(DenseLayer, units=st.integers(1, 8), activation=st.sampled_from(ACTIVATIONS))
    settings = Settings(
        height=draw(st.integers(5, 19)),
        width=draw(st.integers(5, 19)),
        channels=draw(st.integers(1, 3)),
        convolutions=tuple(draw(st.lists(convolution, min_size=1, max_size=3))),
        dense=tuple(draw(st.lists(dense, max_size=2))),
    )
    architecture = ("height", "width", "channels", "convolutions", "dense")
    return {name: value for name, value in settings.to_dict().items() if name in architecture}


def architectures() -> SearchStrategy[dict[str, object]]:
    """Odd and non-square sizes, any kernel and stride, every activation."""
    return _settings()


@st.composite
def trainings(draw: st.DrawFn) -> tuple[dict[str, object], int]:
    """Short training runs on drawn architectures: every way of cutting batches, any buffer, any
    setting of the steps."""
    batch_size = draw(st.integers(1, 8))
    split = draw(st.sampled_from(["halves", "counts"]))
    n_real = draw(st.integers(1, 8))
    if split == "halves" and (n_real + batch_size) % 2:
        n_real += 1
    settings = draw(_settings()) | {
        "steps": draw(st.integers(1, 3)),
        "batch_size": batch_size,
        "buffer_size": draw(st.integers(1, 24)),
        "fresh_fraction": draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
        "alpha": draw(st.sampled_from([0.0, 0.1, 3.0])),
        "learning_rate": draw(st.sampled_from([1e-5, 1e-4, 1e-2])),
        "score_split": split,
        # Other than the defaults, which a port that leaves a setting out would give too.
        "step_size": draw(st.sampled_from([1.0, 10.0])),
        "noise": draw(st.sampled_from([0.005, 0.05])),
        "gradient_clip": draw(st.sampled_from([0.01, 0.03])),
    }
    return settings, n_real


def fixed_trainings() -> list[tuple[dict[str, object], int, int]]:
    """Three steps of the published model; the published last batch, 96 real images and 128 fake.

    That batch is cut 112/112, so that 16 fakes count as real. A small network is enough to see it.
    """
    small = Settings(4, 3, 1, (ConvLayer(4, (3, 3), (2, 2)),), (DenseLayer(5),)).to_dict()
    names = ("height", "width", "channels", "convolutions", "dense")
    last_batch = {name: small[name] for name in names} | {"steps": 2}
    return [({"steps": 3, "batch_size": 8, "buffer_size": 20}, 8, 3), (last_batch, 96, 1)]


reference = parity.TensorFlowSide(
    model="reference_tf.energy_model:energy_model",
    generate_samples="reference_tf.langevin:generate_samples",
    train_step="reference_tf.training:train_step",
    make_optimizer="reference_tf.training:make_optimizer",
    replay_buffer="reference_tf.replay_buffer:ReplayBuffer",
    preprocess="reference_tf.images:preprocess",
    validate="reference_tf.training:validate",
)

port = parity.TorchSide(
    model="port_torch.energy_model:energy_model",
    generate_samples="port_torch.langevin:generate_samples",
    train_step="port_torch.training:train_step",
    make_optimizer="port_torch.training:make_optimizer",
    replay_buffer="port_torch.replay_buffer:ReplayBuffer",
    preprocess="port_torch.images:preprocess",
    validate="port_torch.training:validate",
)

pair = parity.Pair(
    name="energy model",
    reference=reference,
    port=port,
    settings="ebm.settings:Settings",
    architectures="ebm.pair:architectures",
    trainings="ebm.pair:trainings",
    fixed_trainings="ebm.pair:fixed_trainings",
    mutants="ebm.mutants:MUTANTS",
    equivalent="ebm.mutants:EQUIVALENT",
    images="ebm.pair:images",
    weights={"trained": "weights/energy_model.safetensors"},
    claims=("refusals", "empty_batch", "initialisation"),
)
