"""Causes in ports of programs without a declaration: what each computes instead, and its line.

The newcomer's classifier with each of its common mistakes and several at once, and the faulty ports
of the pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from parity.entries.programs.pair import ProgramPair
from parity.explain.by_value import explain_programs
from parity.explain.by_value.hypotheses import hypotheses
from parity.explain.causes import Cause, Explanation
from parity.values.table import Called, Operation
from tests.programs.conftest import PAIRS, Open
from tests.programs.test_pairs import INPUTS, pair

HERE = Path(__file__).parent / "newcomer"
RIGHT = (HERE / "port.py").read_text()

Edit = tuple[str, str]

CONV1 = "        x = F.relu(self.conv1(x))\n"
EPS: Edit = (", eps=1e-3", "")
GELU: Edit = ("F.relu(", "F.gelu(")
SLOPE: Edit = ("self.conv2(x), 0.3)", "self.conv2(x))")
FLATTEN: Edit = ("x.permute(0, 2, 3, 1).flatten(1)", "x.flatten(1)")
OVER_BATCH: Edit = ("dim=1", "dim=0")

MISTAKES: dict[str, tuple[list[Edit], str, str, str]] = {
    "padding 1 with a stride of 2": (
        [("        x = F.pad(x, (0, 1, 0, 1))\n", ""), ("stride=2)", "stride=2, padding=1)")],
        "padding-same",
        "Conv2D sequential/conv2d",
        "self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)",
    ),
    "torch's epsilon": (
        [EPS],
        "layer-hyperparameter",
        "BatchNormalization sequential/batch_normalization",
        "self.bn = nn.BatchNorm2d(8)",
    ),
    "torch's slope": (
        [SLOPE],
        "layer-hyperparameter",
        "LeakyReLU leaky_re_lu",
        "x = F.leaky_relu(self.conv2(x))",
    ),
    "flattened channels first": (
        [FLATTEN],
        "flatten-order",
        "Dense sequential/dense",
        "x = x.flatten(1)",
    ),
    "no activation": (
        [("F.relu(self.conv1(x))", "self.conv1(x)")],
        "activation",
        "Conv2D sequential/conv2d",
        "x = self.conv1(x)",
    ),
    "another activation": (
        [GELU],
        "activation",
        "Conv2D sequential/conv2d",
        "x = F.gelu(self.conv1(x))",
    ),
    "average pooling": (
        [("F.max_pool2d", "F.avg_pool2d")],
        "layer-kind",
        "MaxPooling2D max_pooling2d",
        "x = F.avg_pool2d(x, 2)",
    ),
    "softmax over the batch": (
        [OVER_BATCH],
        "layer-hyperparameter",
        "Dense sequential/dense",
        "return F.softmax(self.fc(x), dim=0)",
    ),
    "log_softmax": (
        [("F.softmax", "F.log_softmax")],
        "activation",
        "Dense sequential/dense",
        "return F.log_softmax(self.fc(x), dim=1)",
    ),
    "no softmax": (
        [("F.softmax(self.fc(x), dim=1)", "self.fc(x)")],
        "activation",
        "Dense sequential/dense",
        "return self.fc(x)",
    ),
    "softmax twice": (
        [("F.softmax(self.fc(x), dim=1)", "F.softmax(F.softmax(self.fc(x), dim=1), dim=1)")],
        "operation-extra",
        "Dense sequential/dense",
        "return F.softmax(F.softmax(self.fc(x), dim=1), dim=1)",
    ),
    "no normalisation": (
        [("        x = self.bn(x)\n", "")],
        "layer-missing",
        "BatchNormalization sequential/batch_normalization",
        "x = F.relu(self.conv1(x))",
    ),
    "no bias": (
        [("8, 12, 3, padding=1)", "8, 12, 3, padding=1, bias=False)")],
        "bias-missing",
        "Conv2D sequential/conv2d_1",
        "self.conv2 = nn.Conv2d(8, 12, 3, padding=1, bias=False)",
    ),
    "a dilation": (
        [("8, 12, 3, padding=1)", "8, 12, 3, padding=2, dilation=2)")],
        "layer-hyperparameter",
        "Conv2D sequential/conv2d_1",
        "self.conv2 = nn.Conv2d(8, 12, 3, padding=2, dilation=2)",
    ),
    "something scaled": (
        [("x = self.bn(x)", "x = self.bn(x) * 0.5")],
        "operation-extra",
        "Conv2D sequential/conv2d_1",
        "x = self.bn(x) * 0.5",
    ),
}


@pytest.fixture
def newcomer(opened: Open, tmp_path: Path) -> Callable[[list[Edit]], ProgramPair]:
    """``newcomer(edits)``: the classifier and its port, with these edits, aligned."""

    def open_(edits: list[Edit]) -> ProgramPair:
        text = RIGHT
        for before, after in edits:
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        path = tmp_path / f"port{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return opened(f"{HERE / 'reference.py'}:build", f"{path}:Net")

    return open_


def source_of(cause: Cause) -> str:
    """The line that a cause is said to be at."""
    file, _, number = cause.place.rpartition(":")
    return Path(file).read_text().splitlines()[int(number) - 1].strip()


@pytest.mark.few(3)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_common_mistake_has_its_cause_and_its_line(
    mistake: str, newcomer: Callable[[list[Edit]], ProgramPair]
) -> None:
    edits, id_, where, line = MISTAKES[mistake]
    found = explain_programs(newcomer(edits))
    (cause,) = found.causes
    assert (cause.id, cause.where, source_of(cause)) == (id_, where, line), cause
    assert found.unexplained == ()


def test_several_at_once_are_told_apart_and_mended_the_port_is_green(
    newcomer: Callable[[list[Edit]], ProgramPair],
) -> None:
    """Each behind the others: what was found is put right before the search goes on."""
    found = explain_programs(newcomer([EPS, GELU, SLOPE, FLATTEN]))
    assert [(cause.id, source_of(cause)) for cause in found.causes] == [
        ("activation", "x = F.gelu(self.conv1(x))"),
        ("layer-hyperparameter", "self.bn = nn.BatchNorm2d(8)"),
        ("layer-hyperparameter", "x = F.leaky_relu(self.conv2(x))"),
        ("flatten-order", "x = x.flatten(1)"),
    ]
    assert found.unexplained == ()
    assert {c.fix for c in found.causes} >= {
        "eps=0.001, not 1e-05",
        "negative_slope=0.3, not 0.01",
    }
    mended = newcomer([])
    assert all(check.verdict.green for check in mended.check(1))


def test_in_a_right_port_nothing_is_named_and_looking_changes_nothing(
    newcomer: Callable[[list[Edit]], ProgramPair],
) -> None:
    right = newcomer([])
    before = right.check(1)
    assert explain_programs(right).causes == ()
    after = right.check(1)
    assert [(c.name, c.verdict, c.residual) for c in before] == [
        (c.name, c.verdict, c.residual) for c in after
    ]


def test_a_graph_that_is_cut_off_is_no_layers_fault_and_has_its_line(
    newcomer: Callable[[list[Edit]], ProgramPair],
) -> None:
    found = explain_programs(newcomer([("x = self.bn(x)", "x = self.bn(x.detach())")]))
    assert found.causes == ()
    (left,) = found.unexplained
    assert "the port cuts a graph off here" in left.evidence
    number = int(left.place.rpartition(":")[2])
    assert RIGHT.splitlines()[number - 1].strip() == "x = self.bn(x)"


def test_what_nothing_gives_is_left_unexplained_with_its_line(
    newcomer: Callable[[list[Edit]], ProgramPair],
) -> None:
    reflecting = ("8, 12, 3, padding=1)", "8, 12, 3, padding=1, padding_mode='reflect')")
    found = explain_programs(newcomer([reflecting]))
    assert found.causes == ()
    (left,) = found.unexplained
    assert left.where == "Conv2D sequential/conv2d_1"
    assert "reflection_pad2d" in left.evidence


NAMED = {
    ("bilstm_tagger", "not_turned_back"): ("value-order", 2),
    ("bilstm_tagger", "averaged"): ("operation-extra", 1),
    ("crnn_columns", "columns_ch"): ("flatten-order", 1),
    ("crnn_columns", "extra_left"): ("padding-same", 1),
    ("crnn_columns", "softmax_time"): ("layer-hyperparameter", 1),
    ("dcgan_generator", "slope_001"): ("layer-hyperparameter", 1),
    ("dcgan_generator", "view_nchw"): ("flatten-order", 1),
    ("encoder_postnorm", "gelu"): ("activation", 2),
    ("facenet_residual", "normalised_logits"): ("layer-input", 1),
    ("facenet_residual", "norm_over_batch"): ("layer-hyperparameter", 1),
    ("groupnorm_prelu", "gn_eps"): ("layer-hyperparameter", 3),
    ("groupnorm_prelu", "softmax_width"): ("layer-hyperparameter", 1),
    ("mlp_activations", "leaky_slope"): ("layer-hyperparameter", 1),
    ("mlp_activations", "untransposed"): ("dense-layout", 1),
    ("tcn_causal", "symmetric"): ("padding-same", 3),
    ("tcn_causal", "right"): ("padding-same", 3),
    ("tcn_causal", "flatten_ncw"): ("flatten-order", 1),
}
"""Of the pairs' faulty ports, what is named in each, and at how many layers."""

NOT_NAMED = sorted(
    (path.stem, fault)
    for path in PAIRS.glob("*.py")
    if path.stem not in ("train_vae", "encoder_postnorm")
    for fault in pair(path.stem).FAULTS
    if (path.stem, fault) not in NAMED
)
"""Those in which nothing is known to be named, and nothing may be that is not there."""


def of_a_fault(
    name: str, fault: str, opened: Open, port_file: Callable[[str, str], str]
) -> Explanation:
    path = PAIRS / f"{name}.py"
    port = port_file(name, fault)
    return explain_programs(opened(f"{path}:reference", port, *INPUTS.get(name, ())))


@pytest.mark.few(1)
@pytest.mark.parametrize(("name", "fault"), NAMED)
def test_a_fault_of_the_pairs_is_named(
    name: str, fault: str, opened: Open, port_file: Callable[[str, str], str]
) -> None:
    found = of_a_fault(name, fault, opened, port_file)
    assert ({c.id for c in found.causes}, len(found.causes)) == (
        {NAMED[name, fault][0]},
        NAMED[name, fault][1],
    )
    assert found.unexplained == ()
    assert all(f"{name}.py:" in cause.place for cause in found.causes)


@pytest.mark.few(0)
@pytest.mark.parametrize(("name", "fault"), NOT_NAMED)
def test_and_in_the_others_nothing_is_guessed(
    name: str, fault: str, opened: Open, port_file: Callable[[str, str], str]
) -> None:
    found = of_a_fault(name, fault, opened, port_file)
    assert found.causes == ()
    assert found.unexplained


def test_numbers_are_read_off_the_ports_own_operations() -> None:
    call = Called("norm", "Any", (), (), {"epsilon": 1e-3, "strides": [2, 2], "name": "norm"})
    arguments = {"eps": 1e-5, "stride": [1], "training": False}
    tried = [h.departure for h in hypotheses(call, [], [Operation("o", arguments, (), (), "", "")])]
    assert {"config": {"epsilon": 1e-5}} in tried
    assert {"config": {"strides": [1, 1]}} in tried
    assert not any("name" in d.get("config", {}) for d in tried)
    assert [h for h in hypotheses(call, [], []) if "config" in h.departure] == []


def test_a_departure_that_cannot_be_built_is_none(
    newcomer: Callable[[list[Edit]], ProgramPair],
) -> None:
    right = newcomer([])
    path = "sequential/conv2d"
    asked = [{"config": {"strides": "many"}}, {"config": {"strides": [1, 1]}}]
    given, result, departed = right.departed(path, asked)
    assert given["0"].shape == (3, 28, 20, 3)
    assert result["0"].shape == (3, 14, 10, 8)
    assert list(departed) == ["1"]
    assert departed["1"].shape == (3, 28, 20, 8)
    assert np.array_equal(departed["1"][:, 1::2, 1::2], result["0"])
