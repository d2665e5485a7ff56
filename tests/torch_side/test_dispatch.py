"""What stands between a port and PyTorch: served draws, promotion, live memory."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from parity.frameworks.torch import draws  # noqa: E402
from parity.frameworks.torch.dispatch import Interception  # noqa: E402
from parity.values.randomness import SharedRandomness  # noqa: E402

KEY = 7
SHAPE = (2, 3, 4, 5)
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
TIE = float(np.float32(0.7))  # on the grid of the uniforms, and not what 0.7 is in float64


@pytest.fixture(autouse=True)
def _nothing_stays_active() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    assert _get_current_dispatch_mode_stack() == []
    assert torch.get_default_dtype() == torch.float32


def intercepted(code: Callable[[], Any], layout: str = "NCHW") -> tuple[Any, SharedRandomness]:
    randomness = SharedRandomness(KEY, layout)
    with Interception(randomness):
        return code(), randomness


def stream(layout: str = "NCHW") -> SharedRandomness:
    return SharedRandomness(KEY, layout)


def normal(shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(stream().normal(shape, name(dtype))).to(dtype)


def uniform(shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(stream().uniform(shape, name(dtype))).to(dtype)


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def families(randomness: SharedRandomness) -> list[tuple[str, int, str]]:
    return [(draw.family, draw.count, draw.dtype) for draw in randomness.log]


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert torch.equal(found, expected)


# Normals


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


NORMALS: dict[str, tuple[float, float, Callable[[torch.dtype], Tensor]]] = {
    "randn": (0, 1, lambda d: torch.randn(SHAPE, dtype=d)),
    "randn generator": (0, 1, lambda d: torch.randn(SHAPE, dtype=d, generator=generator())),
    "randn out": (0, 1, lambda d: torch.randn(SHAPE, out=torch.empty(0, dtype=d))),
    "randn_like": (0, 1, lambda d: torch.randn_like(torch.empty(SHAPE, dtype=d))),
    "randn times": (0.5, 0.3, lambda d: torch.randn(SHAPE, dtype=d) * 0.3 + 0.5),
    "normal_": (0.5, 0.3, lambda d: torch.empty(SHAPE, dtype=d).normal_(0.5, 0.3)),
    "normal_ generator": (
        *(0, 0.3),
        lambda d: torch.empty(SHAPE, dtype=d).normal_(std=0.3, generator=generator()),
    ),
    "normal size": (0.5, 0.3, lambda d: torch.normal(0.5, 0.3, SHAPE, dtype=d)),
    "normal mean": (0.5, 0.3, lambda d: torch.normal(torch.full(SHAPE, 0.5, dtype=d), 0.3)),
    "normal std": (0.5, 0.3, lambda d: torch.normal(0.5, torch.full(SHAPE, 0.3, dtype=d))),
    "normal both": (
        *(0.5, 0.3),
        lambda d: torch.normal(torch.full(SHAPE, 0.5, dtype=d), torch.full(SHAPE, 0.3, dtype=d)),
    ),
    "normal into its mean": (
        *(0.5, 0.3),
        lambda d: torch.normal(mean := torch.full(SHAPE, 0.5, dtype=d), 0.3, out=mean),
    ),
    "init.normal_": (0, 0.3, lambda d: nn.init.normal_(torch.empty(SHAPE, dtype=d), 0, 0.3)),
    "distribution": (
        *(0.5, 0.3),
        lambda d: torch.distributions.Normal(
            torch.tensor(0.5, dtype=d), torch.tensor(0.3, dtype=d)
        ).sample(SHAPE),
    ),
    "distribution, reparametrised": (
        *(0.5, 0.3),
        lambda d: torch.distributions.Normal(
            torch.tensor(0.5, dtype=d), torch.tensor(0.3, dtype=d)
        ).rsample(SHAPE),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("form", NORMALS)
def test_normals_are_served(form: str, dtype: torch.dtype) -> None:
    mean, std, draw = NORMALS[form]
    found, randomness = intercepted(lambda: draw(dtype))
    assert_same(found, normal(dtype=dtype) * std + mean)
    assert families(randomness) == [("normal", math.prod(SHAPE), name(dtype))]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", NORMALS)
def test_normals_of_half_precision_are_served(form: str, dtype: torch.dtype) -> None:
    mean, std, draw = NORMALS[form]
    found, _ = intercepted(lambda: draw(dtype))
    assert found.dtype == dtype
    expected = (normal() * std + mean).to(dtype)
    torch.testing.assert_close(found, expected, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_both_precisions_see_the_same_numbers() -> None:
    single, _ = intercepted(lambda: torch.randn(SHAPE))
    double, _ = intercepted(lambda: torch.randn(SHAPE, dtype=torch.float64))
    assert torch.equal(single.double(), double)


# Uniforms, and what is made of them

UNIFORMS: dict[str, tuple[float, float, Callable[[torch.dtype], Tensor]]] = {
    "rand": (0, 1, lambda d: torch.rand(SHAPE, dtype=d)),
    "rand generator": (0, 1, lambda d: torch.rand(SHAPE, dtype=d, generator=generator())),
    "rand out": (0, 1, lambda d: torch.rand(SHAPE, out=torch.empty(SHAPE, dtype=d))),
    "rand_like": (0, 1, lambda d: torch.rand_like(torch.empty(SHAPE, dtype=d))),
    "rand scaled": (-1, 1, lambda d: torch.rand(SHAPE, dtype=d) * 2 - 1),
    "uniform_": (-1, 1, lambda d: torch.empty(SHAPE, dtype=d).uniform_(-1, 1)),
    "init.uniform_": (-1, 1, lambda d: nn.init.uniform_(torch.empty(SHAPE, dtype=d), -1, 1)),
    "distribution": (
        *(-1, 1),
        lambda d: torch.distributions.Uniform(
            torch.tensor(-1, dtype=d), torch.tensor(1, dtype=d)
        ).sample(SHAPE),
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("form", UNIFORMS)
def test_uniforms_are_served(form: str, dtype: torch.dtype) -> None:
    low, high, draw = UNIFORMS[form]
    found, randomness = intercepted(lambda: draw(dtype))
    assert_same(found, uniform(dtype=dtype) * (high - low) + low)
    assert families(randomness) == [("uniform", math.prod(SHAPE), name(dtype))]


def test_limits_of_a_uniform_are_rounded_to_its_dtype_first() -> None:
    found, _ = intercepted(lambda: torch.empty(SHAPE).uniform_(0.1, 0.3))
    low, high = torch.tensor(0.1), torch.tensor(0.3)
    assert_same(found, uniform() * (high - low) + low)


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniforms_stay_below_one(dtype: torch.dtype) -> None:
    found, _ = intercepted(lambda: torch.rand(100_000, dtype=dtype))
    assert found.min() >= 0
    assert found.max() < 1


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("mode", ["grad", "no_grad", "inference_mode"])
@pytest.mark.parametrize(
    "dropout",
    [
        lambda x, rate: F.dropout(x, rate),
        lambda x, rate: nn.Dropout(rate)(x),
        lambda x, rate: torch.native_dropout(x, rate, True)[0],
        lambda x, rate: F.dropout(x.clone(), rate, inplace=True),
    ],
    ids=["functional", "module", "native", "in place"],
)
def test_dropout_keeps_where_u_is_at_least_the_rate(
    dropout: Callable[[Tensor, float], Tensor], rate: float, dtype: torch.dtype, mode: str
) -> None:
    with callers_mode(mode):
        given_ = torch.rand(SHAPE, dtype=dtype) + 1
        found, randomness = intercepted(lambda: dropout(given_, rate))
        kept = uniform(dtype=dtype) >= rate
        assert torch.equal(found != 0, kept)
        torch.testing.assert_close(found, kept * given_ / (1 - rate))
    assert families(randomness) == [("uniform", math.prod(SHAPE), name(dtype))]


def callers_mode(mode: str) -> Any:
    modes = {"grad": torch.enable_grad, "no_grad": torch.no_grad}
    return modes.get(mode, torch.inference_mode)()


class Constant(SharedRandomness):
    """Every uniform is TIE."""

    def uniform(self, shape: Any, dtype: str) -> np.ndarray:
        return np.full(tuple(shape), TIE)


@pytest.mark.parametrize(("dtype", "kept"), [(torch.float32, True), (torch.float64, False)])
def test_at_a_tie_dropout_compares_in_its_dtype(dtype: torch.dtype, kept: bool) -> None:
    """In float32 0.7 is TIE itself; TensorFlow casts the rate and keeps."""
    assert TIE < 0.7
    with Interception(Constant(KEY, "NCHW")):
        found = F.dropout(torch.ones(3, dtype=dtype), 0.7)
    assert torch.equal(found != 0, torch.full((3,), kept))


def test_dropout_of_whole_channels() -> None:
    found, randomness = intercepted(lambda: F.dropout2d(torch.ones(SHAPE), 0.5))
    kept = uniform((2, 3, 1, 1)) >= 0.5
    assert_same(found, (kept * 2.0).expand(SHAPE))
    assert families(randomness) == [("uniform", 6, "float32")]


def test_dropout_that_does_nothing_draws_nothing() -> None:
    def code() -> None:
        nn.Dropout(0.5).eval()(torch.ones(3))
        F.dropout(torch.ones(3), 0.0)
        torch.native_dropout(torch.ones(3), 0.5, False)
        torch.native_dropout(torch.ones(3), 0.0, True)

    for mode in ("grad", "inference_mode"):
        with callers_mode(mode):
            _, randomness = intercepted(code)
        assert randomness.log == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.bernoulli(torch.full(SHAPE, 0.3)),
        lambda: torch.bernoulli(p := torch.full(SHAPE, 0.3), out=p),
        lambda: torch.empty(SHAPE).bernoulli_(0.3),
        lambda: torch.empty(SHAPE).bernoulli_(torch.tensor(0.3), generator=generator()),
        lambda: (p := torch.full(SHAPE, 0.3)).bernoulli_(p.clone()),
        lambda: torch.bernoulli(torch.empty(SHAPE), 0.3),
        lambda: torch.distributions.Bernoulli(torch.tensor(0.3)).sample(SHAPE),
        lambda: torch.empty(SHAPE, dtype=torch.bool).bernoulli_(0.3).float(),
        lambda: torch.empty(SHAPE, dtype=torch.uint8).bernoulli_(0.3).float(),
    ],
)
def test_bernoulli_is_one_where_u_is_at_least_one_minus_p(draw: Callable[[], Tensor]) -> None:
    found, randomness = intercepted(draw)
    assert_same(found, (uniform() >= 0.7).float())
    assert families(randomness) == [("uniform", math.prod(SHAPE), "float32")]


def test_bernoulli_of_certainties() -> None:
    found, _ = intercepted(lambda: torch.bernoulli(torch.tensor([0.0, 1.0]).repeat(1000)))
    assert torch.equal(found, torch.tensor([0.0, 1.0]).repeat(1000))


# Integers and permutations


@pytest.mark.parametrize(
    ("low", "high", "draw"),
    [
        (0, 9, lambda: torch.randint(9, SHAPE)),
        (-4, 9, lambda: torch.randint(-4, 9, SHAPE, generator=generator())),
        (-4, 9, lambda: torch.randint(-4, 9, SHAPE, out=torch.empty(0, dtype=torch.int64))),
        (0, 9, lambda: torch.randint(9, SHAPE, dtype=torch.int32)),
        (0, 9, lambda: torch.randint(9, SHAPE, dtype=torch.float32)),
        (0, 9, lambda: torch.randint_like(torch.empty(SHAPE), 9)),
        (-4, 9, lambda: torch.randint_like(torch.empty(SHAPE, dtype=torch.int16), -4, 9)),
        (0, 9, lambda: torch.empty(SHAPE, dtype=torch.int64).random_(9)),
        (-4, 9, lambda: torch.empty(SHAPE).random_(-4, 9)),
        (0, 256, lambda: torch.empty(SHAPE, dtype=torch.uint8).random_()),
        (0, 2, lambda: torch.empty(SHAPE, dtype=torch.bool).random_()),
        (0, 2**31, lambda: torch.empty(SHAPE, dtype=torch.int32).random_()),
        (5, 2**31, lambda: torch.empty(SHAPE, dtype=torch.int32).random_(5, None)),
        (0, 2**24 + 1, lambda: torch.empty(SHAPE).random_()),
        (0, 2**62, lambda: torch.empty(SHAPE, dtype=torch.int64).random_()),
        (
            *(-(2**63), 2**62 - 2**63),
            lambda: torch.empty(SHAPE, dtype=torch.int64).random_(-(2**63), None),
        ),
    ],
)
def test_integers_are_served(low: int, high: int, draw: Callable[[], Tensor]) -> None:
    found, randomness = intercepted(draw)
    expected = torch.from_numpy(stream().integers(low, high, SHAPE, "int64"))
    assert_same(found, expected.to(found.dtype))
    assert families(randomness) == [("integers", math.prod(SHAPE), name(found.dtype))]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_permutations_are_served(dtype: torch.dtype) -> None:
    expected = torch.from_numpy(stream().permutation(10, "int64")).to(dtype)
    for draw in (
        lambda: torch.randperm(10, dtype=dtype),
        lambda: torch.randperm(10, dtype=dtype, generator=generator()),
        lambda: torch.randperm(10, out=torch.empty(0, dtype=dtype)),
    ):
        found, randomness = intercepted(draw)
        assert_same(found, expected)
        assert families(randomness) == [("permutation", 10, name(dtype))]


def test_a_data_loader_shuffles_by_the_shared_stream() -> None:
    data = torch.utils.data.TensorDataset(torch.arange(12))

    def code() -> list[int]:
        loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
        return [int(value) for (batch,) in loader for value in batch]

    order, randomness = intercepted(code)
    assert order == stream().permutation(12, "int64").tolist()
    scalars = [draw for draw in randomness.log if draw.scalar]
    assert {draw.family for draw in scalars} == {"integers"}
    assert order == intercepted(code)[0]


# What cannot be served, and what is not touched


@pytest.mark.parametrize(
    ("operation", "draw"),
    [
        ("exponential", lambda: torch.empty(3).exponential_()),
        ("multinomial", lambda: torch.multinomial(torch.ones(3), 3)),
        ("poisson", lambda: torch.poisson(torch.ones(3))),
        ("cauchy", lambda: torch.empty(3).cauchy_()),
        ("geometric", lambda: torch.empty(3).geometric_(0.5)),
        ("log_normal", lambda: torch.empty(3).log_normal_()),
        ("binomial", lambda: torch.binomial(torch.ones(3), torch.full((3,), 0.5))),
        ("_standard_gamma", lambda: torch.distributions.Gamma(torch.ones(3), 1.0).sample()),
        ("rrelu_with_noise", lambda: F.rrelu(-torch.ones(3), training=True)),
        ("randn", lambda: torch.randn(3, dtype=torch.complex64)),
    ],
)
@pytest.mark.parametrize("mode", ["grad", "inference_mode"])
def test_what_cannot_be_served_runs_and_is_logged(
    operation: str, draw: Callable[[], Tensor], mode: str
) -> None:
    with callers_mode(mode):
        torch.manual_seed(3)
        expected = draw()
        torch.manual_seed(3)
        found, randomness = intercepted(draw)
    assert_same(found, expected)
    (logged,) = randomness.log
    assert (logged.family, logged.count, logged.served) == (operation, 3, False)
    assert logged.dtype == name(expected.dtype)


def test_what_only_might_draw_is_not_logged() -> None:
    """Attention, recurrence and leaky units have the tag for the sake of their dropout."""

    def code() -> None:
        q = torch.ones(1, 2, 3, 4)
        F.scaled_dot_product_attention(q, q, q)
        nn.LSTM(4, 4, 2, dropout=0.5).eval()(torch.ones(1, 2, 4))
        F.rrelu(-torch.ones(3), training=False)

    for mode in ("grad", "inference_mode"):
        with callers_mode(mode):
            _, randomness = intercepted(code)
        assert {draw.family for draw in randomness.log} == {"uniform"}  # the LSTM's fresh weights


def test_dropout_inside_attention_and_recurrence_is_served() -> None:
    def code() -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        q, lstm = torch.ones(1, 1, 2, 2), nn.LSTM(2, 2, 2, dropout=0.5)
        return F.scaled_dot_product_attention(q, q, q, dropout_p=0.5), lstm(torch.ones(1, 2, 2))[0]

    for mode in ("grad", "inference_mode"):
        with callers_mode(mode):
            found, randomness = intercepted(code)
        assert all(draw.served for draw in randomness.log)
        assert {draw.count for draw in randomness.log} >= {4}
        again, other = intercepted(code)
        assert randomness.log == other.log
        torch.testing.assert_close(found, again)  # some processors have a kernel for each mode


#: Draw, and are logged as not served. Attention and cuDNN's recurrence draw on a GPU only.
NOT_SERVED = {
    *("_cudnn_attention_backward", "_cudnn_attention_forward", "_cudnn_init_dropout_state"),
    *("_cudnn_rnn", "_efficient_attention_forward", "_fill_mem_eff_dropout_mask"),
    *("_flash_attention_forward", "_fused_dropout", "_lstm_mps", "_sample_dirichlet"),
    *("_scaled_dot_product_attention_math_for_mps", "_scaled_dot_product_cudnn_attention"),
    *("_scaled_dot_product_cudnn_attention_backward", "_scaled_dot_product_efficient_attention"),
    "_scaled_dot_product_efficient_attention_backward",
    *("_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu"),
    *("_scaled_dot_product_fused_attention_overrideable", "_standard_gamma"),
    *("_triton_scaled_dot_attention", "binomial", "cauchy", "exponential", "geometric"),
    *("log_normal", "miopen_rnn", "multinomial", "poisson", "rrelu_with_noise"),
    "rrelu_with_noise_functional",
}
#: Taken apart into operations that are served or logged.
COMPOSITE = {
    *("_scaled_dot_product_attention_math", "alpha_dropout", "dropout", "feature_alpha_dropout"),
    *("feature_dropout", "gru", "lstm", "rnn_relu", "rnn_tanh", "rrelu"),
    "scaled_dot_product_attention",
}


def test_every_operation_that_torch_tags_is_accounted_for() -> None:
    """A release of torch that draws in a new way fails here and wants to be looked at."""
    tagged = set()
    for qualified in torch._C._dispatch_get_all_op_names():
        space, _, rest = qualified.partition("::")
        packet, _, overload = rest.partition(".")
        if space == "aten" and hasattr(torch.ops.aten, packet):
            operation = getattr(getattr(torch.ops.aten, packet), overload or "default", None)
            if operation and torch.Tag.nondeterministic_seeded in operation.tags:
                tagged.add(packet.rstrip("_"))
    known = set(draws._SERVED) | draws._TAGGED_FOR_NOTHING | NOT_SERVED | COMPOSITE
    assert tagged - known == set()
    assert set(draws._SERVED) - tagged == set()


def test_without_randomness_draws_are_torchs_own() -> None:
    torch.manual_seed(3)
    expected = torch.randn(SHAPE)
    torch.manual_seed(3)
    with Interception(None, promote=False):
        assert_same(torch.randn(SHAPE), expected)


def test_torchs_own_generator_moves_on_as_it_would() -> None:
    torch.manual_seed(3)
    torch.randn(SHAPE)
    expected = torch.get_rng_state()
    torch.manual_seed(3)
    intercepted(lambda: torch.randn(SHAPE))
    assert torch.equal(torch.get_rng_state(), expected)


def test_a_meta_tensor_uses_up_no_numbers() -> None:
    def code() -> Tensor:
        nn.Linear(3, 3, device="meta")
        torch.randn(SHAPE, device="meta")
        return torch.randn(SHAPE)

    found, _ = intercepted(code)
    assert_same(found, normal())


def test_torchs_own_complaints_remain() -> None:
    with pytest.raises(RuntimeError, match="std"), Interception(stream()):
        torch.empty(3).normal_(0, -1)
    with pytest.raises(RuntimeError, match="leaf Variable"), Interception(stream()):
        torch.ones(3, requires_grad=True).normal_()


# What comes back is what torch would have made


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.randn(x.shape, dtype=x.dtype, requires_grad=True),
        lambda x: torch.randn_like(x),
        lambda x: torch.randn_like(x, memory_format=torch.channels_last),
        lambda x: torch.rand_like(x.permute(0, 2, 3, 1)),
        lambda x: torch.randint_like(x, 5),
        lambda x: torch.bernoulli(torch.full_like(x, 0.5)),
        lambda x: torch.normal(torch.zeros_like(x).transpose(1, 2), 1.0),
        lambda x: F.dropout(x),
        lambda x: torch.empty_strided((2, 3), (1, 4), dtype=x.dtype).uniform_(),
        lambda x: torch.randn_like(x[:0]),
        lambda x: torch.randn((), dtype=x.dtype),
        lambda x: torch.rand(3, 0, dtype=x.dtype),
    ],
)
def test_strides_and_flags_are_those_of_the_original(
    draw: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    given_ = torch.ones(SHAPE, dtype=dtype).to(memory_format=torch.channels_last)
    found, expected = intercepted(lambda: draw(given_))[0], draw(given_)
    for attribute in ("shape", "dtype", "device", "requires_grad", "is_leaf", "layout"):
        assert getattr(found, attribute) == getattr(expected, attribute)
    assert found.stride() == expected.stride()


def test_only_the_view_that_is_drawn_into_changes() -> None:
    base = torch.zeros(4, 6)

    def code() -> Tensor:
        view = base[1:3, ::2]
        assert view.normal_() is view
        return base

    found, _ = intercepted(code)
    assert_same(found[1:3, ::2], normal((2, 3)))
    assert found.count_nonzero() == 6


def test_empty_draws_are_logged_and_use_up_nothing() -> None:
    found, randomness = intercepted(lambda: (torch.randn(0, 3), torch.randn(SHAPE))[1])
    assert_same(found, normal())
    assert [draw.count for draw in randomness.log] == [0, math.prod(SHAPE)]


# Order


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[int], str, str]:
    sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    family = draw(st.sampled_from(["normal", "uniform", "integers"]))
    return sizes, family, draw(st.sampled_from(["NCHW", "NHWC"]))


DRAW: dict[str, Callable[[tuple[int, ...]], Tensor]] = {
    "normal": torch.randn,
    "uniform": torch.rand,
    "integers": lambda shape: torch.randint(1000, shape),
}


@given(splits())
def test_split_and_merged_draws_agree(case: tuple[list[int], str, str]) -> None:
    """Any split of a batch; other families drawn in between change nothing."""
    sizes, family, layout = case
    image = (2, 3, 4)
    draw = DRAW[family]

    def split() -> Tensor:
        parts = []
        for size in sizes:
            parts.append(draw((size, *image)))
            for other in set(DRAW) - {family}:
                DRAW[other]((size + 1,))
        return torch.cat(parts)

    merged, _ = intercepted(lambda: draw((sum(sizes), *image)), layout)
    assert_same(intercepted(split, layout)[0], merged)


@given(st.tuples(*[st.integers(1, 4)] * 4), st.sampled_from(sorted(DRAW)))
def test_channels_first_draws_are_the_transposed_channels_last(
    shape: tuple[int, int, int, int], family: str
) -> None:
    batch, height, width, channels = shape
    last, _ = intercepted(lambda: DRAW[family](shape), "NHWC")
    first, _ = intercepted(lambda: DRAW[family]((batch, channels, height, width)), "NCHW")
    assert_same(first, last.permute(0, 3, 1, 2).contiguous())


def test_memory_format_does_not_decide_the_order() -> None:
    """Torch itself fills in the order of memory; here the logical place decides."""
    given_ = torch.empty(SHAPE).to(memory_format=torch.channels_last)
    assert_same(intercepted(lambda: torch.randn_like(given_))[0], normal())


def test_draws_carry_their_position_between_evaluations() -> None:
    randomness = stream()
    with Interception(randomness):
        torch.randn(3)
        randomness.evaluations += 1
        torch.rand(3)
    assert [(draw.family, draw.position) for draw in randomness.log] == [
        ("normal", 0),
        ("uniform", 1),
    ]


# vmap


@pytest.mark.parametrize("in_dim", [0, 1])
@pytest.mark.parametrize(
    "draw",
    [
        torch.randn_like,
        lambda x: x.clone().normal_(),
        lambda x: torch.randn(3, 4),
        lambda x: torch.normal(torch.zeros_like(x), 1.0),
    ],
)
def test_vmap_draws_what_a_loop_draws(in_dim: int, draw: Callable[[Tensor], Tensor]) -> None:
    given_ = torch.zeros((5, 3, 4) if in_dim == 0 else (3, 5, 4))

    def loop() -> Tensor:
        return torch.stack([draw(x) for x in given_.unbind(in_dim)])

    mapped = torch.func.vmap(draw, in_dims=in_dim, randomness="different")
    assert_same(intercepted(lambda: mapped(given_), "NHWC")[0], intercepted(loop, "NHWC")[0])


def test_vmap_with_dropout_and_per_image_gradients() -> None:
    def code() -> Tensor:
        gradient = torch.func.grad(lambda x: (F.dropout(x) * torch.randn_like(x)).sum())
        return torch.func.vmap(gradient, randomness="different")(torch.ones(5, 3))

    found, randomness = intercepted(code)
    assert_same(found, (uniform((5, 3)) >= 0.5) * 2 * normal((5, 3)))
    assert all(draw.served for draw in randomness.log)


def test_vmap_with_the_same_randomness_draws_once() -> None:
    mapped = torch.func.vmap(torch.randn_like, randomness="same")
    found, _ = intercepted(lambda: mapped(torch.zeros(5, 3)))
    assert_same(found, normal((3,)).expand(5, 3))
    with pytest.raises(RuntimeError, match="randomness"), Interception(stream()):
        torch.func.vmap(torch.randn_like)(torch.zeros(5, 3))


# Autograd


def test_gradients_flow_through_scaled_noise() -> None:
    def code() -> Tensor:
        mean = torch.zeros(SHAPE, requires_grad=True)
        sigma = torch.tensor(0.3, requires_grad=True)
        sample = mean + torch.randn_like(mean) * sigma
        assert not torch.randn_like(mean).requires_grad
        return torch.autograd.grad(sample.sum(), sigma)[0]

    torch.testing.assert_close(intercepted(code)[0], normal().sum())


def test_a_leaf_that_is_drawn_can_be_differentiated() -> None:
    def code() -> tuple[Tensor, Tensor]:
        x = torch.randn(SHAPE, requires_grad=True)
        (x**2).sum().backward()
        return x.detach(), x.grad

    (x, gradient), _ = intercepted(code)
    assert_same(x, normal())
    assert_same(gradient, 2 * normal())


def noisy(x: Tensor) -> Tensor:
    return F.dropout(torch.tanh(x + torch.randn_like(x)), 0.3) * torch.rand_like(x)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_computes_again_with_the_same_numbers(reentrant: bool) -> None:
    def code(segment: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        x = torch.linspace(-1, 1, 6, requires_grad=True)
        torch.randn(3)  # so that the generator is not at its start
        y = segment(segment(x)) + torch.randn_like(x)
        (gradient,) = torch.autograd.grad(y.sum(), x) if not reentrant else backward(y, x)
        return y.detach(), gradient

    def backward(y: Tensor, x: Tensor) -> tuple[Tensor]:
        y.sum().backward()
        return (x.grad,)

    saved = functools.partial(checkpoint, noisy, use_reentrant=reentrant)
    plain, randomness = intercepted(lambda: code(noisy))
    found, log = intercepted(lambda: code(saved))
    assert_same(found[0], plain[0])
    assert_same(found[1], plain[1])
    assert log.log == randomness.log


def test_nested_and_repeated_checkpoints() -> None:
    def code(outer: Callable[..., Any], inner: Callable[..., Any]) -> list[Tensor]:
        x = torch.linspace(-1, 1, 6, requires_grad=True)
        y = outer(lambda t: inner(noisy, noisy(t)), x).sum()
        gradients = [torch.autograd.grad(y, x, retain_graph=True)[0] for _ in range(2)]
        return [*gradients, torch.randn(3)]

    saved = functools.partial(checkpoint, use_reentrant=False)
    plain, _ = intercepted(lambda: code(lambda f, x: f(x), lambda f, x: f(x)))
    found, _ = intercepted(lambda: code(saved, saved))
    for one, other in zip(found, plain, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("private", [False, True])
def test_a_checkpoint_that_does_not_put_its_generator_back_draws_anew(private: bool) -> None:
    """So it does without interception, and its gradients are as wrong there as here."""
    own = torch.Generator() if private else None

    def segment(x: Tensor) -> Tensor:
        return x * torch.randn(3, generator=own)

    def code() -> Tensor:
        x = torch.zeros(3, requires_grad=True)
        checkpoint(segment, x, use_reentrant=False, preserve_rng_state=private).sum().backward()
        return x.grad

    found, randomness = intercepted(code)
    assert_same(found, normal((6,))[3:])
    assert families(randomness) == [("normal", 3, "float32")] * 2


def test_a_seed_set_again_does_not_repeat_the_stream() -> None:
    """Seeds are each side's own; only a recomputation in a backward pass is the same draw."""

    def code() -> Tensor:
        return torch.cat([torch.manual_seed(0) and torch.randn(3) for _ in range(2)])

    assert_same(intercepted(code)[0], normal((6,)))


def repeated(code: Callable[[], Any]) -> list[str]:
    interception = Interception(randomness=stream())
    with interception:
        code()
    return interception.repeated


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_generator_put_back_to_where_it_was_is_reported() -> None:
    """What is served hides it: by itself each draw would give the same numbers."""
    own = seeded(0)
    assert repeated(lambda: [torch.randn(3, generator=seeded(0)) for _ in range(3)]) == ["randn"]
    assert repeated(lambda: [torch.randn(3, generator=own) for _ in range(3)]) == []
    assert repeated(lambda: [torch.randn(3, generator=seeded(n)) for n in range(3)]) == []
    assert repeated(lambda: [torch.manual_seed(0) and torch.randn(3) for _ in range(2)]) == [
        "randn"
    ]


def test_what_draws_nothing_or_is_computed_again_repeats_nothing() -> None:
    assert repeated(lambda: [torch.randperm(1) for _ in range(2)]) == []
    assert repeated(lambda: [torch.randn(0) for _ in range(2)]) == []

    def recomputed() -> None:
        x = torch.ones(3, requires_grad=True)
        checkpoint(lambda x: x * torch.randn_like(x), x, use_reentrant=False).sum().backward()

    assert repeated(recomputed) == []


class NoisyGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient + torch.randn_like(gradient)


def test_draws_in_a_backward_pass_are_served() -> None:
    def code() -> Tensor:
        x = torch.zeros(3, requires_grad=True)
        (gradient,) = torch.autograd.grad((NoisyGradient.apply(x) * torch.randn(3)).sum(), x)
        return gradient

    found, _ = intercepted(code)
    assert_same(found, normal((6,))[:3] + normal((6,))[3:])


# Values are those of a run without it


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(6, 4, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 1),
    )


@pytest.mark.parametrize(
    ("dtype", "promote"),
    [(torch.float32, False), (torch.float64, False), (torch.float64, True)],
)
@pytest.mark.parametrize("track_memory", [False, True])
def test_energies_and_gradients_keep_their_bits(
    dtype: torch.dtype, promote: bool, track_memory: bool
) -> None:
    model = network().to(dtype)
    images = torch.rand(3, 2, 12, 12, dtype=dtype)

    def energies_and_gradients() -> list[Tensor]:
        model.zero_grad()
        x = images.clone().requires_grad_()
        scores = model(x)
        (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        (scores.mean() + gradient.square().sum()).backward()
        with torch.inference_mode():
            inferred = model(images)
        with torch.no_grad():
            without = model(images)
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        return [scores, gradient, inferred, without, *gradients]

    expected = energies_and_gradients()
    with Interception(stream(), promote=promote, track_memory=track_memory):
        found = energies_and_gradients()
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("mode", ["grad", "no_grad", "inference_mode"])
def test_a_langevin_step_is_served_in_every_mode(mode: str) -> None:
    def code() -> Tensor:
        x = torch.rand(SHAPE) * 2 - 1
        return torch.clamp(x + torch.randn_like(x) * 0.005, -1, 1)

    with callers_mode(mode):
        found, _ = intercepted(code)
        assert_same(found, torch.clamp(uniform() * 2 - 1 + normal() * 0.005, -1, 1))


def test_nothing_is_active_after_an_exception() -> None:
    randomness = stream()

    def code() -> None:
        torch.randn(3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Interception(randomness, track_memory=True):
        code()
    with pytest.raises(RuntimeError), torch.inference_mode(), Interception(randomness):
        torch.nn.functional.linear(torch.ones(2, 3), torch.ones(2, 2))  # raises in its parts
    logged = len(randomness.log)
    torch.manual_seed(3)
    expected = torch.randn(3)
    torch.manual_seed(3)
    assert torch.equal(torch.randn(3), expected)
    assert len(randomness.log) == logged == 1
    assert _get_current_dispatch_mode_stack() == []


def test_other_threads_are_not_seen() -> None:
    """A limit, not a wish: what draws in a thread of its own escapes."""

    def code() -> None:
        thread = threading.Thread(target=lambda: torch.randn(3))
        thread.start()
        thread.join()

    assert intercepted(code)[1].log == []


# These tests can fail


@pytest.mark.parametrize("form", ["randn", "normal_", "normal both"])
def test_an_operation_that_is_not_served_would_be_noticed(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for operation in ("randn", "normal"):
        monkeypatch.delitem(draws._SERVED, operation)
    with pytest.raises(AssertionError):
        test_normals_are_served(form, torch.float32)


def test_a_broken_convention_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def flipped(call: Any, like: Tensor, rate: Tensor) -> Tensor:
        u = torch.from_numpy(call.randomness.uniform(tuple(like.shape), "float32"))
        return u < 1 - rate

    monkeypatch.setattr(draws._Call, "_kept", flipped)
    with pytest.raises(AssertionError):
        test_dropout_keeps_where_u_is_at_least_the_rate(F.dropout, 0.3, torch.float32, "grad")


def test_a_recomputation_that_draws_anew_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = itertools.count()
    monkeypatch.setattr(draws, "_generator_state", lambda *_: next(count))
    with pytest.raises(AssertionError):
        test_checkpoint_computes_again_with_the_same_numbers(False)


# Float64 runs


@pytest.fixture
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


PROMOTED: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": lambda x: torch.zeros(3, dtype=torch.float32) + 0.1,
    "full": lambda x: torch.full((3,), 0.1, dtype=torch.float32),
    "empty": lambda x: torch.FloatTensor(3).fill_(0.1),
    "randn": lambda x: torch.randn(3, dtype=torch.float32),
    "rand_like": lambda x: torch.rand_like(x, dtype=torch.float32),
    "new_zeros": lambda x: x.new_zeros(3, dtype=torch.float32),
    "sum": lambda x: x.sum(dtype=torch.float32),
    "_to_copy": lambda x: x.to(torch.float32),
}


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("mode", ["grad", "inference_mode"])
@pytest.mark.parametrize("operation", PROMOTED)
def test_requests_for_float32_are_promoted(operation: str, mode: str) -> None:
    with callers_mode(mode):
        x = torch.tensor([0.1, 0.2, 0.3])
        with Interception(stream(), promote=True) as interception:
            found = PROMOTED[operation](x)
    assert found.dtype == torch.float64
    assert interception.promoted == [operation]
    assert interception.not_float64 == []
    assert interception.places[operation].startswith("test_dispatch.py:")


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize(
    "cast",
    [
        lambda x: x.float(),
        lambda x: x.type(torch.float32),
        lambda x: x.type(torch.FloatTensor),
        lambda x: x.to(torch.float32, copy=True),
        lambda x: nn.Parameter(x).float(),
    ],
)
def test_casts_to_float32_keep_every_bit(cast: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(3)
    with Interception(None, promote=True):
        found = cast(x)
    assert_same(found, x)


@pytest.mark.usefixtures("_float64")
def test_a_module_turned_float_stays_in_float64() -> None:
    model = network().double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with Interception(None, promote=True) as interception:
        model.float()(torch.rand(1, 2, 12, 12).float()).sum().backward()
    assert interception.not_float64 == []
    for key, value in model.state_dict().items():
        assert_same(value, before[key])


@pytest.mark.usefixtures("_float64")
def test_gradients_pass_through_a_promoted_cast() -> None:
    x = torch.rand(3, requires_grad=True)
    with Interception(None, promote=True):
        (gradient,) = torch.autograd.grad((x.float() ** 2).sum(), x)
    assert_same(gradient, 2 * x.detach())


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex128]
)
def test_other_dtypes_are_not_promoted(dtype: torch.dtype) -> None:
    with Interception(None, promote=True) as interception:
        assert torch.ones(3, dtype=dtype).dtype == dtype
        assert torch.rand(3).to(dtype).dtype == dtype
    assert interception.promoted == interception.not_float64 == []


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize(
    ("operations", "code"),
    [
        (["lift_fresh", "mul"], lambda x, single: torch.FloatTensor([0.1]) * x),
        (["lift_fresh"], lambda x, single: torch.tensor(0.1, dtype=torch.float32)),
        (["lift_fresh"], lambda x, single: torch.from_numpy(np.zeros(3, np.float32))),
        (["add"], lambda x, single: x + single),
        (["_to_copy"], lambda x, single: single.double()),
        (["stack", "sum"], lambda x, single: torch.stack([single, single]).sum()),
        (["_to_copy"], lambda x, single: x.half()),
        (["ones"], lambda x, single: torch.ones(3, dtype=torch.bfloat16)),
        (["ones"], lambda x, single: torch.ones(3, dtype=torch.complex64)),
        (["resize_", "normal_"], lambda x, single: torch.randn(3, out=single)),
    ],
)
def test_what_stays_in_low_precision_is_reported(
    operations: list[str], code: Callable[[Tensor, Tensor], Any]
) -> None:
    x, single = torch.rand(3), torch.rand(3, dtype=torch.float32)
    with Interception(stream(), promote=True) as interception:
        code(x, single)
    assert interception.not_float64 == operations
    assert interception.promoted == []
    assert set(interception.places) == set(operations)


@pytest.mark.usefixtures("_float64")
def test_a_clean_float64_run_reports_nothing() -> None:
    model = network().double()
    optimizer = torch.optim.Adam(model.parameters())
    with Interception(stream(), promote=True) as interception:
        x = torch.rand(2, 2, 12, 12, requires_grad=True)
        model(F.dropout(x + torch.randn_like(x))).sum().backward()
        optimizer.step()
    assert interception.promoted == interception.not_float64 == []


def test_without_promotion_float32_is_neither_touched_nor_reported() -> None:
    with Interception(stream()) as interception:
        assert torch.rand(3).double().float().dtype == torch.float32
    assert interception.promoted == interception.not_float64 == []


# Live memory

KILOBYTE = 256  # float32 numbers


def test_peak_is_what_was_alive_at_once() -> None:
    with Interception(None, track_memory=True) as interception:
        a = torch.zeros(4 * KILOBYTE)
        b = a + 1
        del a
        b = b * 2  # both products are alive for a moment
        assert interception.live_bytes == 4096
        c = torch.zeros(KILOBYTE)
        del b, c
    assert interception.peak_bytes == 8192
    assert interception.live_bytes == 0


def test_views_and_what_was_there_before_are_not_counted() -> None:
    before = torch.zeros(KILOBYTE)
    with Interception(None, track_memory=True) as interception:
        before.view(2, -1)[0].add_(1)
        before.detach()
        torch.add(before, 1, out=before)
    assert interception.peak_bytes == 0


def test_resized_storages_and_numbers_from_python_are_counted() -> None:
    with Interception(None, track_memory=True) as interception:
        out = torch.empty(0)
        torch.zeros(KILOBYTE, out=out)
        assert interception.live_bytes == 1024
        torch.zeros(2 * KILOBYTE, out=out.resize_(0))
        assert interception.live_bytes == 2048
        out = out[:0].clone().resize_(KILOBYTE)
        assert interception.live_bytes == 1024
        more = torch.tensor([0.0] * KILOBYTE)
        assert interception.live_bytes == 2048
        del out, more
        assert interception.live_bytes == 0


def test_layouts_without_a_storage_are_passed_over() -> None:
    with Interception(None, track_memory=True) as interception:
        torch.eye(3).to_sparse().to_dense()
    assert interception.peak_bytes > 0


@pytest.mark.parametrize("name_", ["peak_bytes", "live_bytes"])
def test_memory_that_was_not_tracked_is_not_zero(name_: str) -> None:
    with pytest.raises(ValueError, match="track_memory=True"):
        getattr(Interception(), name_)


def sampler(model: nn.Module, images: Tensor, steps: int, detach: bool) -> Tensor:
    for _ in range(steps):
        if detach:
            images = images.detach()
        images = images + torch.randn_like(images) * 0.005
        images = images if images.requires_grad else images.requires_grad_()
        (gradient,) = torch.autograd.grad(model(images).sum(), images, create_graph=not detach)
        images = images + gradient
    return images.detach()


@pytest.mark.parametrize("mode", ["grad", "checkpointed"])
def test_only_a_sampler_that_carries_its_graph_grows_with_the_steps(mode: str) -> None:
    model, images = network(), torch.rand(4, 2, 12, 12)
    call = model if mode == "grad" else functools.partial(checkpoint, model, use_reentrant=False)

    def peak(steps: int, detach: bool) -> int:
        with Interception(stream(), track_memory=True) as interception:
            sampler(call, images.clone(), steps, detach)
        return interception.peak_bytes

    batch = images.numel() * images.element_size()
    sampler(call, images.clone(), 1, True)
    assert abs(peak(16, True) - peak(4, True)) < batch
    if mode == "grad":
        assert peak(16, False) - peak(4, False) > 12 * batch


def test_what_is_freed_is_forgotten() -> None:
    """Also what has no bytes, of which the peak alone would never remind."""
    with Interception(None, track_memory=True) as interception:
        for _ in range(3000):
            torch.empty(0)
    assert interception._memory is not None
    assert len(interception._memory._made) <= 1025
