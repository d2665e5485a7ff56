"""The report as a page: one file that needs nothing else, made from the JSON report alone.

Whatever a report says is untrusted text here: it may quote a port's exception, or come from a file
that somebody sent. The template escapes all of it, and the page's own policy lets nothing run or
load but the script, the style and the pictures that are written into it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup, escape

from parity.tell.render import drawlog, images, numbers, overview, pictures, series
from parity.tell.render.kills import kill_matrix
from parity.tell.render.reading import Node, opened
from parity.verdict.comparison import FLOAT64_FLOORS, POOLED_RATIO, SINGLE_RATIO, Verdict

SYMBOLS = {
    Verdict.IDENTICAL: "=",
    Verdict.ROUNDING: "\N{ALMOST EQUAL TO}",
    Verdict.UNCHECKED: "?",
    Verdict.IMPRECISE: "~",
    Verdict.DIVERGENT: "\N{NOT EQUAL TO}",
    Verdict.INVALID: "\N{MULTIPLICATION SIGN}",
}
MEANINGS = {
    Verdict.IDENTICAL: "the same bits, in float32 and float64",
    Verdict.ROUNDING: "the same program; what differs is rounding",
    Verdict.UNCHECKED: "nothing was compared, or what was compared proves nothing",
    Verdict.IMPRECISE: "the same program, but float32 loses more than the reference does",
    Verdict.DIVERGENT: "not the same program",
    Verdict.INVALID: "could not be compared",
}


def to_html(report: Mapping[str, Any]) -> str:
    """The page of a report.

    Args:
        report: the JSON report, schema 1, as ``Report.to_dict`` gives it or a file holds it.

    Raises:
        BadFile: it is no such report.
    """
    node = opened(report)
    style, script = _asset("page.css"), _asset("page.js")
    hashes = {"style_hash": _hash(style), "script_hash": _hash(script)}
    return _template().render(_page(node), style=style, script=script, **hashes).lstrip()


def _page(report: Node) -> dict[str, Any]:
    checks = tuple(overview.check(node) for node in report["checks"].items())
    causes = tuple(overview.cause(node) for node in report["causes"].items())
    evidence = report.get("evidence")
    gradients = pictures.gradients(evidence)
    return {
        "banner": overview.banner(report, checks, causes),
        "causes": causes,
        "unexplained": [
            (node["where"].text(), node["evidence"].text())
            for node in report.get("unexplained").items()
        ],
        "attribution": report.get("attribution").text(""),
        "environment_differences": [
            (
                node["name"].text(),
                overview.said(node.get("recorded")),
                overview.said(node.get("here")),
            )
            for node in report.get("environment_differences").items()
        ],
        "margins": [
            {
                "check": node["check"].text(),
                **{key: node.get(key).number() for key in ("recorded", "now", "factor")},
                "worse": node.get("worse").flag(),
            }
            for node in report.get("margins").items()
        ],
        "checks": checks,
        "failures": [c for c in checks if not c.verdict.green],
        "arrays": series.arrays(evidence),
        "gradients": gradients,
        "trajectories": series.trajectories(evidence, gradients),
        "training": series.training(evidence),
        "draws": drawlog.draws(evidence),
        "kills": kill_matrix(report),
        "environment": [
            (key, overview.said(node)) for key, node in report["environment"].entries()
        ],
        "seconds": [(key, node.number()) for key, node in report["seconds"].entries()],
    }


def _case_title(title: str) -> Markup:
    """How a case was drawn, its settings in the background."""
    before, mark, after = title.partition("settings {")
    settings, brace, after = after.rpartition("}")
    if not mark or not brace:
        return escape(title)
    return Markup('{}<span class="settings">settings {{{}}}</span>{}').format(
        before, settings, after
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": numbers.short, "num": numbers.cell, "case": _case_title}
    environment.globals |= {
        "SYMBOLS": SYMBOLS,
        "MEANINGS": MEANINGS,
        "ALLOWED": {"floors": FLOAT64_FLOORS, "pooled": POOLED_RATIO, "single": SINGLE_RATIO},
        "DIVERGING": images.diverging_scale(),
        "GREY": images.grey_scale(),
    }
    return environment.get_template("page.html.j2")


@functools.cache
def _asset(name: str) -> str:
    return (importlib.resources.files("parity.tell.render") / "page" / name).read_text("utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
