"""Networks by other hands: weights in lists, in other orders, paddings and slopes of no table."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.ask.session import Session
from parity.explain.causes import Explanation
from parity.explain.explain import NETWORK
from tests.harness.test_explain import named
from tests.harness.test_explain_bad_ports import explained

# Kernels as the reference keeps them (HWIO), all registered before all biases, dense ones first.
LISTS = """
class Lists(nn.Module):
    pads = {pads}

    def __init__(self):
        super().__init__()
        shapes = [(5, 5, 1, 16), (3, 3, 16, 32), (3, 3, 32, 64), (3, 3, 64, 64)]
        self.into, self.shift = (nn.Parameter(torch.zeros(s)) for s in ((256, 64), (64,)))
        self.out, self.offset = (nn.Parameter(torch.zeros(s)) for s in ((64, 1), (1,)))
        self.kernels = nn.ParameterList([nn.Parameter(torch.zeros(s)) for s in shapes])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(s[3])) for s in shapes[::{step}]])

    def act(self, x, number):
        return {act}

    def forward(self, x):
        for n in range(4):
            x = F.pad(x, self.pads[n])
            x = F.conv2d(x, self.kernels[n].permute(3, 2, 0, 1), self.biases[::{step}][n], stride=2)
            x = self.act(x, n)
        x = x.permute(0, 2, 3, 1).reshape(len(x), 256)
        return self.act(x @ self.into + self.shift, 4) @ self.out + self.offset

side = side(model=Lists{declared})
"""
PADS = "[(1, 2, 1, 2), (0, 1, 0, 1), (0, 1, 0, 1), (0, 1, 0, 1)]"

# The dense layer is registered before the last convolution, whose bias has the same shape.
HEAD_FIRST = """
class HeadFirst(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [(1, 16, 5), (16, 32, 3), (32, 64, 3)]
        self.body = nn.ModuleList([nn.Conv2d(i, o, k, 2) for i, o, k in sizes])
        self.head = nn.Linear(256, 64)
        self.top, self.score = nn.Conv2d(64, 64, 3, 2), nn.Linear(64, 1)
        {init}

    def forward(self, x):
        for n, layer in enumerate([*self.body, self.top]):
            x = F.silu(layer(F.pad(x, (0, 1, 0, 1) if n else (1, 2, 1, 2))))
        {middle}
        x = self.head(x.permute(0, 2, 3, 1).flatten(1))
        return self.score(F.silu(x))

side = side(model=HeadFirst)
"""


def lists(pads: str = PADS, act: str = "F.silu(x)", step: int = 1, declared: str = "") -> str:
    return LISTS.format(pads=pads, act=act, step=step, declared=declared)


def head_first(init: str = "pass", middle: str = "pass") -> str:
    return HEAD_FIRST.format(init=init, middle=middle)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "text",
    [lists(), lists(step=-1), head_first()],
    ids=["kernels before biases", "biases in reverse", "head before the last convolution"],
)
def test_correct_ports_are_matched_and_green(
    parity_session: Session, tmp_path: Path, text: str
) -> None:
    assert explained(parity_session, tmp_path, text, *NETWORK) == Explanation()


def test_numbers_that_no_table_holds_are_named(parity_session: Session, tmp_path: Path) -> None:
    """Uneven padding, one that makes 15 of 32, another slope, an activation left out."""
    text = lists(
        pads="[(0, 1, 0, 1), (0, 1, 0, 1), (2, 0, 1, 1), (0, 1, 0, 1)]",
        act="F.leaky_relu(x, 0.07) if number == 1 else x if number == 3 else F.silu(x)",
    )
    found = explained(parity_session, tmp_path, text)
    assert not found.unexplained
    assert named(found) == {
        ("padding-same", "conv1"),
        ("activation", "conv2"),
        ("padding-same", "conv3"),
        ("activation", "conv4"),
    }
    first, slope, uneven, left_out = found.causes
    assert "it gives 15 x 15 for the reference's 16 x 16" in first.evidence
    assert first.residual_before is not None
    assert first.residual_after is not None
    assert first.residual_after < 1e-12 < first.residual_before
    assert slope.fix == "the activation of conv2 is swish, not leaky_relu (slope 0.07)"
    assert "padding ((1, 1), (2, 0))" in uneven.evidence
    assert left_out.fix == "the activation of conv4 is missing: the reference has swish"


def test_a_size_that_is_too_small_counts_where_the_rest_agrees(
    parity_session: Session, tmp_path: Path
) -> None:
    """Padding 1 of 32 for a kernel of 5: 15 x 15 are the reference's, and the last ones lack."""
    pads = "[(1, 1, 1, 1), (0, 1, 0, 1), (0, 1, 0, 1), (0, 1, 0, 1)]"
    found = explained(parity_session, tmp_path, lists(pads=pads))
    (cause,) = found.causes
    assert (cause.id, cause.where) == ("padding-same", "conv1")
    assert "it gives 15 x 15 for the reference's 16 x 16" in cause.evidence
    assert cause.residual_before is not None
    assert cause.residual_after is not None
    assert cause.residual_after < 1e-12 < 1e-3 < cause.residual_before


@pytest.mark.few(1)
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_with_other_than_zeros_is_named(
    parity_session: Session, tmp_path: Path, mode: str
) -> None:
    init = f"self.body[1] = nn.Conv2d(16, 32, 3, 2, 1, padding_mode={mode!r})"
    text = head_first(init).replace(
        "(0, 1, 0, 1) if n else", "(0,) * 4 if n == 1 else PAD if n else"
    )
    found = explained(parity_session, tmp_path, "PAD = (0, 1, 0, 1)\n" + text)
    (cause,) = found.causes
    assert (cause.id, cause.where, found.unexplained) == ("padding-same", "conv2", ())
    assert f"padding ((1, 1), (1, 1)), {mode}" in cause.evidence


def test_a_layer_too_many_is_listed_with_candidates_and_causes_nothing_else(
    parity_session: Session, tmp_path: Path
) -> None:
    text = head_first("self.more = nn.Conv2d(64, 64, 3, 1, 1)", "x = F.silu(self.more(x))")
    found = explained(parity_session, tmp_path, text)
    assert found.causes == ()
    (left,) = found.unexplained
    assert "nothing of the reference's corresponds to 2 of the port's parameters" in left.evidence
    assert "conv4/kernel may be top.weight or more.weight" in left.evidence
    assert "TorchSide(weights={'top.weight': 'conv4/kernel', ...})" in left.evidence


def test_a_layer_too_many_that_is_declared_is_found_where_it_runs(
    parity_session: Session, tmp_path: Path
) -> None:
    text = head_first("self.more = nn.Conv2d(64, 64, 3, 1, 1)", "x = F.silu(self.more(x))")
    declared = "weights={'top.weight': 'conv4/kernel', 'top.bias': 'conv4/bias'}"
    text = text.replace("side(model=HeadFirst)", f"side(model=HeadFirst, {declared})")
    found = explained(parity_session, tmp_path, text)
    assert found.causes == ()
    parameters, layer = found.unexplained
    assert "hold nothing of the reference's: more.weight (64, 64, 3, 3)" in parameters.evidence
    assert layer.where == "dense1"


def test_what_cannot_be_told_is_asked_for_once_and_nothing_is_named(
    parity_session: Session, tmp_path: Path
) -> None:
    """It raises before it uses any parameter, so that no order is known."""
    text = lists().replace("for n in range(4):\n", "for n in [][1] or range(4):\n")
    found = explained(parity_session, tmp_path, text)
    assert found.causes == ()
    (left,) = found.unexplained
    assert left.evidence.startswith("the port's parameters fit the reference's weights in more")
    assert "conv4/bias (64,) may be shift, biases.2 or biases.3" in left.evidence
    assert "TorchSide(weights={'shift': 'conv3/bias', ...})" in left.evidence


def test_what_is_not_explained_has_its_evidence(parity_session: Session, tmp_path: Path) -> None:
    found = explained(parity_session, tmp_path, head_first(middle="x = x + x.square() / 7"))
    assert found.causes == ()
    (left,) = found.unexplained
    assert left.where == "dense1"
    for said in (
        "it differs most at [",
        ": reference ",
        "nothing in the catalogue reproduces it",
        "It makes (3, 64) of (3, 2, 2, 64), the values of conv4",
        "the difference lies in dense1, in the activation of conv4 or between the two",
    ):
        assert said in left.evidence
    assert "random numbers" not in left.evidence


def test_dropout_that_is_left_on_is_suspected(parity_session: Session, tmp_path: Path) -> None:
    found = explained(parity_session, tmp_path, head_first(middle="x = F.dropout(x, 0.1)"))
    (left,) = found.unexplained
    assert left.where == "dense1"
    assert "The network draws 768 random numbers: dropout that is left on" in left.evidence


def test_a_score_that_lacks_its_layer_is_not_said_to_track_no_gradient(
    parity_session: Session, tmp_path: Path
) -> None:
    """Nothing that could be answered of the last part: no error, and no cause that is not there."""
    text = head_first("self.score = nn.Linear(64, 3)", "return x.sum((1, 2, 3))")
    found = explained(parity_session, tmp_path, text)
    assert {cause.id for cause in found.causes} == {"layer-missing"}


def test_a_port_that_answers_no_part_is_explained_as_far_as_it_goes(
    parity_session: Session, tmp_path: Path
) -> None:
    text = """
class Nothing(nn.Module):
    def __init__(self):
        super().__init__()
        self.only = nn.Linear(3, 3)

    def forward(self, x):
        raise ValueError("not written yet")

side = side(model=Nothing)
"""
    found = explained(parity_session, tmp_path, text)
    assert {cause.id for cause in found.causes} == {"layer-missing"}
    assert "the port has only.weight (3, 3), only.bias (3,), which hold nothing" in (
        found.causes[0].evidence
    )
