"""The HTML report as text: what is in it, in which order, and what never is."""

from __future__ import annotations

import copy
import html
import html.parser
import importlib.resources
import itertools
import json
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.errors import BadFile
from parity.tell.render import images
from parity.tell.render.html import to_html
from parity.tell.render.numbers import cell, short
from parity.tell.render.plots import LinearAxis, LogAxis
from parity.verdict.comparison import Verdict
from tests.harness import reports

HOSTILE = "</script></style><script>alert('x')</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}"


class Page(html.parser.HTMLParser):
    """A page taken apart: its elements, their text, and the cells of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.cells: list[str] = []
        self.words = ""
        self._within: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text.setdefault(tag, []).append("")
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "data":
            self.cells.append(dict(attrs)["value"] or "")
            self.cells.append("")
        self._within = [tag]

    def handle_endtag(self, tag: str) -> None:
        self._within = []

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._within:
            self.text[self._within[-1]][-1] += data
        if self.cells:
            self.cells[-1] += data

    @property
    def numbers(self) -> set[float]:
        """Those in cells of tables."""
        found = set()
        for text in self.cells:
            try:
                found.add(float(text.strip().splitlines()[0]))
            except (ValueError, IndexError):
                continue
        return found

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def numbers_of(value: Any) -> set[float]:
    if isinstance(value, dict):
        return set().union(*map(numbers_of, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers_of, value))
    return {float(value)} if isinstance(value, (int, float)) and value is not True else set()


ALL = [reports.green, reports.red, reports.mutants]


@pytest.mark.parametrize(
    ("make", "word", "tone"),
    [
        (reports.green, "Parity", "good"),
        (reports.red, "No parity", "bad"),
        (reports.mutants, "Not all caught and named", "bad"),
    ],
)
def test_the_verdict_comes_first(make: Callable[[], dict[str, Any]], word: str, tone: str) -> None:
    report = make()
    text = to_html(report)
    page = Page(text)
    assert page.text["span"][:2] == [word, ""]
    assert page.words.index(word) < page.words.index(report["verdict"], page.words.index(word))
    assert text.index("<h1>") < text.index("<h2")
    assert f'<header class="banner {tone}">' in text


def test_a_problem_makes_a_run_of_green_checks_red() -> None:
    text = to_html(reports.green() | {"problems": ["accept entry 1 expired"]})
    assert "No parity" in text
    assert "accept entry 1 expired" in text


def test_everything_that_a_report_says_is_there() -> None:
    words = html.unescape(to_html(reports.red()))
    for said in (
        "mine.pair:pair",
        "mine/port.py",
        "goldens",
        "only energies, activations, losses were run",
        "2 of 4 checks are not green; the first is activations.",
        "The padding is not TensorFlow's SAME",
        "x = F.pad(x, (0, 1, 0, 1)) before conv2",
        "mine/net.py:71",
        "conv2 is reproduced by padding 1",
        "padding ((1, 0), (1, 0))",
        "of-a-later-catalogue",
        "keep the order",
        "nothing reproduces dense1",
        "The library differs, the port does not.",
        "2.12.0",
        "activations: divergent first at activations/conv2",
        "2 of 6 elements differ by more than the bound",
        "<code>parity check mine.pair:pair --only activations</code>",
        "<code>from parity.testing import reproduce\nreproduce('mine.pair:pair'",
        "<code>[tool.parity] accept = [{check = 'activations'}]</code>",
        "the port raised ValueError: too small",
        "accepted: known, until the next release",
        "Draw 101 is the first that differs; the reference makes 103, the port 102.",
        "no draw",
        "The horizon is 2 steps",
        "beyond the horizon",
        "Each place stands for 3 x 3 pixels",
        "A pixel that is not finite is magenta.",
    ):
        assert said in words, said


def test_a_heading_keeps_the_names_of_the_code() -> None:
    report = reports.red()
    report["causes"][0]["id"] = "gradient-non-leaf"
    assert ">requires_grad, .grad or a change in place" in to_html(report)


def test_the_order_is_that_of_a_reader() -> None:
    text = to_html(reports.red())
    sections = re.findall(r'<section[^>]* aria-labelledby="(\w+)-title"', text)
    assert sections == [
        "causes",
        "elsewhere",
        "checks",
        "failures",
        "arrays",
        "gradients",
        "trajectories",
        "training",
        "draws",
        "environment",
    ]
    for name in sections:
        assert f'id="{name}-title"' in text


def test_what_a_report_lacks_leaves_nothing_behind() -> None:
    text = to_html(reports.green())
    assert re.findall(r'<section id="(\w+)"', text) == ["checks", "environment"]
    assert "None" not in Page(text).words


def test_every_number_of_the_evidence_is_in_a_table() -> None:
    report = reports.red()
    page = Page(to_html(report))
    evidence = report["evidence"]
    shown = {key: evidence[key] for key in ("arrays", "training", "draws")}
    shown["draws"] = [{k: d[k] for k in ("reference", "port")} for d in shown["draws"]]
    shown["gradients"] = [g["maps"] for g in evidence["gradients"]]
    shown["gradients"] = [
        {k: m[k] for k in ("reference", "difference")} for m in shown["gradients"]
    ]
    for key, value in shown.items():
        assert not numbers_of(value) - page.numbers, key
    for trajectory in evidence["trajectories"]:
        for run in (trajectory["free_running"], trajectory["teacher_forced"]):
            assert not numbers_of([run["residuals"], run["floors"]]) - page.numbers
            assert not {step + 1 for step in run["steps"]} - page.numbers
            assert not {64 * floor for floor in run["floors"]} - page.numbers  # what is allowed
        for frame in trajectory["free_running"]["frames"]:
            assert not numbers_of(frame["maps"]["reference"]) - page.numbers


def test_numbers_of_any_size_are_shown() -> None:
    report = reports.red()
    run = report["evidence"]["trajectories"][0]["free_running"]
    extreme = reports.maps([[1.7e308, -1.7e308]], [[1.7e308, 5e-324]])
    run["frames"] = [{"after": 1, "maps": extreme}]
    run["residuals"] = [1.7e308, 5e-324, None]
    report["evidence"]["gradients"][0]["maps"] = extreme
    page = Page(to_html(report))
    assert {1.7e308, 5e-324} <= page.numbers
    assert "1.7e308" in page.words


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ([], "No check was run."),
        (["rounding"], "1 check, each of them green."),
        (["rounding", "unchecked"], "1 of 2 checks is not green; the first is check1."),
    ],
)
def test_the_first_sentence_says_how_many_are_green(checks: list[str], said: str) -> None:
    made = [reports.check(f"check{i}", verdict) for i, verdict in enumerate(checks)]
    assert said in to_html(reports.green() | {"checks": made})


def test_what_is_accepted_is_counted_apart() -> None:
    made = [
        reports.check("energies", "rounding"),
        reports.check("validation", "divergent", accepted="known"),
    ]
    assert "2 checks: 1 accepted, the others green." in to_html(reports.green() | {"checks": made})


def test_that_a_missing_number_would_be_seen() -> None:
    report = reports.red()
    page = Page(to_html(report))
    report["evidence"]["training"][0]["curves"]["loss"]["port"][1] = -1.9375
    assert numbers_of(report["evidence"]["training"]) - page.numbers == {-1.9375}


def test_a_large_map_lists_its_largest_differences_and_says_so() -> None:
    report = reports.red()
    values = np.arange(1, 40 * 40 + 1, dtype=float).reshape(40, 40, 1)
    large = {"block": 1, "reference": (values / 8).tolist(), "difference": (values / 1e9).tolist()}
    report["evidence"]["gradients"][0]["maps"] = large
    text = to_html(report)
    assert "The 200 largest of 1600 differences" in text
    assert "39, 39, 0" in text
    assert "35, 0, 0" in text
    assert "34, 39, 0" not in text


def test_a_large_report_stays_small() -> None:
    """Images of as many pixels and channels as a report can hold."""
    report = reports.red()
    values = np.random.default_rng(0).normal(size=(64, 64, 3))
    large = {"block": 2, "reference": values.tolist(), "difference": (values * 1e-9).tolist()}
    evidence = report["evidence"]
    evidence["gradients"] = [evidence["gradients"][0] | {"maps": large} for _ in range(3)]
    run = evidence["trajectories"][0]["free_running"]
    run["frames"] = [{"after": i, "maps": large} for i in range(9)]
    evidence["trajectories"] *= 2
    text = to_html(report)
    assert len(text.encode()) < 2_000_000
    assert "of these frames are left out to keep this page small" in text


def replaced(value: Any, key: str = "", hostile: str = HOSTILE) -> Any:
    """The report with every text in it hostile."""
    if isinstance(value, dict):
        names = key in ("environment", "curves")
        return {(hostile + k if names else k): replaced(v, k, hostile) for k, v in value.items()}
    if isinstance(value, list):
        return [replaced(each, key, hostile) for each in value]
    return hostile if isinstance(value, str) and value not in list(Verdict) else value


@pytest.mark.parametrize("make", ALL)
def test_whatever_a_report_says_stays_text(make: Callable[[], dict[str, Any]]) -> None:
    page = Page(to_html(replaced(make())))
    plain = Page(to_html(make()))
    script = importlib.resources.files("parity.tell.render") / "page" / "page.js"
    assert page.text["script"] == [script.read_text("utf-8")]
    assert page.count("style") == 1
    assert "{{ 7*7 }}" in page.words
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert tag != "img" or str(attributes["src"]).startswith("data:image/png;base64,")
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}


def test_that_text_which_is_not_escaped_would_be_seen() -> None:
    page = Page(html.unescape(to_html(replaced(reports.red()))))
    assert page.count("script") > 1
    assert any("onerror" in attributes for _, attributes in page.tags)


def test_nothing_is_fetched_and_nothing_else_may_run() -> None:
    page = Page(to_html(reports.red()))
    policy = next(
        str(attributes["content"])
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            target = attributes.get(name)
            if target is not None and tag != "a":
                assert target.startswith("data:"), (tag, target)
        assert "style" not in attributes, tag


def test_tables_have_captions_and_headers_have_scopes() -> None:
    for make in ALL:
        page = Page(to_html(make()))
        assert page.count("table") == page.count("caption") > 0
        assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_mutants_are_a_matrix_of_fault_by_check() -> None:
    text = to_html(reports.mutants())
    page = Page(text)
    assert "Kill matrix" in page.words
    assert "padding 1 + noise squared" in page.words
    (row,) = re.findall(r"<tr><th scope=\"row\">padding 1</th>.*?</tr>", text, re.DOTALL)
    assert "padding-same" in row
    assert row.count('class="unseen">red') == 1
    assert row.count('class="unseen">green') == 1
    assert '<tr class="wrong"><th scope="row">noise squared</th>' in text
    assert "Gradient maps" not in page.words


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema is 2, not 1"),
        ({"schema": True}, "schema is True, not 1"),
        ({"schema": None}, "schema is None, not 1"),
        ({"verdict": "fine"}, "verdict is 'fine', not one of identical, rounding"),
        ({"pair": 3}, "pair is 3, not text"),
        ({"seed": "x"}, "seed is 'x', not a whole number"),
        ({"checks": {}}, "checks is {}, not a list"),
        ({"checks": [{"name": "energies"}]}, "checks[0].verdict is missing"),
        ({"checks": [3]}, "checks[0] is 3, not an object"),
        ({"causes": [{"id": 1}]}, "causes[0].id is 1, not text"),
        ({"seconds": {"total": "soon"}}, "seconds.total is 'soon', not a number"),
        ({"evidence": []}, "evidence is [], not an object"),
        ({"evidence": {"arrays": 1}}, "evidence.arrays is 1, not a list"),
        ({"mutants": [{"id": "a", "faults": "b"}]}, "mutants[0].faults is 'b', not a list"),
    ],
)
def test_what_is_no_report_is_refused_with_its_place_and_value(
    change: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadFile, match=re.escape(f"no report of schema 1: {said}")):
        to_html(reports.green() | change)


def bend(report: dict[str, Any], path: str, value: Any) -> None:
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    at: Any = report
    for part in way:
        at = at[part]
    at[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("gradients.0.maps.reference", [[1, 2]], "maps.reference is [[1, 2]], not an image"),
        ("gradients.0.maps.reference", [[["a"]]], "maps.reference is [[['a']]], not an image"),
        ("gradients.0.maps.reference", [[[1], [1, 2]]], "not an image: rows of pixels"),
        ("gradients.0.maps.difference", [[[1.0]]], "of the shape of the reference's, (2, 2, 1)"),
        ("trajectories.0.free_running.floors", [1.0], "not one number for each of 3 steps"),
        ("arrays.0.floors", "many", "evidence.arrays[0].floors is 'many', not a number"),
        ("draws.0.reference.0.served", 1, "reference[0].served is 1, not true or false"),
        ("draws.0.lengths", [1], "not two numbers"),
        ("arrays.0.floors", 10**400, "not a number of 64 bits"),
        (
            "trajectories.0.free_running.frames.1.maps",
            reports.maps([[1.0]], [[0.0]]),
            "not an image of the first's shape, (1, 2, 1)",
        ),
        ("training.0.curves.loss.port", [True], "port[0] is True, not a number"),
    ],
)
def test_evidence_of_another_form_is_refused(path: str, value: Any, said: str) -> None:
    report = copy.deepcopy(reports.red())
    bend(report["evidence"], path, value)
    with pytest.raises(BadFile, match=re.escape(said)):
        to_html(report)


@pytest.mark.parametrize("value", [None, [], "report", 3])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(BadFile, match=r"the report is .*, not an object"):
        to_html(value)


def test_a_report_read_from_a_file_makes_the_same_page() -> None:
    report = reports.red()
    assert to_html(json.loads(json.dumps(report))) == to_html(report)


def test_it_is_quick() -> None:
    begun = time.process_time()
    to_html(reports.red())
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (None, 3, "\N{EN DASH}"),
        (0.0, 3, "0"),
        (64.0, 2, "64"),
        (-1.0, 3, "-1"),
        (1.2345e-14, 3, "1.23e-14"),
        (5.6e14, 3, "5.6e14"),
        (1e-5, 3, "1e-5"),
        (float("inf"), 3, "inf"),
        (float("-inf"), 3, "-inf"),
        (float("nan"), 3, "nan"),
        (0.1 + 0.2, 17, "0.30000000000000004"),
    ],
)
def test_numbers_are_short(value: float | None, digits: int, said: str) -> None:
    assert short(value, digits) == said


def test_a_rounded_cell_holds_the_whole_number() -> None:
    assert cell(0.5) == "0.500"
    assert 'data value="1.2345e-14"' in cell(1.2345e-14)
    assert ">1.23e-14<" in cell(1.2345e-14)


def test_axes_place_what_no_logarithm_has_at_their_ends() -> None:
    axis = LogAxis([1e-16, 1.0])
    assert [axis.percent(v) for v in (1e-16, 1e-8, 1.0)] == [0.0, 50.0, 100.0]
    assert axis.percent(0.0) == 0.0
    assert axis.percent(None) == axis.percent(float("inf")) == axis.percent(float("nan")) == 100.0
    assert LogAxis([]).percent(1.0) == 0.0
    same = LinearAxis([0.5, 0.5 + 1e-16])
    assert same.percent(0.5) == 50.0
    assert len({label for _, label in same.ticks}) == len(same.ticks) >= 2
    assert LinearAxis([]).ticks


def test_colours_tell_signs_apart_and_what_is_not_finite() -> None:
    blue, pale, orange, strange = images.diverging(np.array([[-2.0, 0, 2, np.nan]]), 2.0)[0]
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert tuple(pale) == images.ZERO
    assert tuple(strange) == images.NOT_FINITE
    assert images.diverging(np.zeros((1, 1)), 0.0).tolist() == [[list(images.ZERO)]]
    assert images.grey(np.array([[-1.0, 1.0]]), -1, 1).tolist() == [[[0, 0, 0], [255, 255, 255]]]
