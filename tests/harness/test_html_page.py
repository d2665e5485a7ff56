"""The HTML report as a person meets it: in a headless Chromium, at two widths, in two lights.

Each look at a page is also taken at one in which it has to find something.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from parity.tell.render.html import to_html
from tests.harness import browser as browsers
from tests.harness import reports
from tests.harness.browser import DESKTOP, PHONE, visit
from tests.harness.ports import write_port
from tests.harness.test_cli import parity
from tests.harness.test_html import Page, numbers_of, replaced

SIZES = [PHONE, DESKTOP]
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of a wrong port of the project's own, explained."""
    folder = tmp_path_factory.mktemp("real")
    port = write_port(["energies averaged before the gradient"], folder)
    path = folder / "report.json"
    ran = parity("explain", "--golden", "goldens", "--port", port, "--json", str(path))
    assert ran.returncode == 1, ran.stdout + ran.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def pages(real: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind of report."""
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "green": reports.green(),
        "red": reports.red(),
        "mutants": reports.mutants(),
        "real": real,
    }
    return {
        name: written(folder / f"{name}.html", to_html(report)) for name, report in made.items()
    }


KINDS = pytest.mark.parametrize("kind", ["green", "red", "mutants", "real"])


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def with_fault(path: Path, folder: Path, fault: str, *, policy: bool = True) -> Path:
    """The page with something added to its body, with or without its policy."""
    text = path.read_text("utf-8").replace('<main id="main"', f'{fault}<main id="main"', 1)
    return written(folder / "fault.html", text if policy else POLICY.sub("", text))


def test_a_real_report_is_small_quick_and_complete(real: dict[str, Any]) -> None:
    begun = time.process_time()
    text = to_html(real)
    assert time.process_time() - begun < 10
    assert len(text.encode()) < 2_000_000
    page = Page(text)
    assert "1 cause found" in page.words
    assert "torch.autograd.grad(scores.sum(), images)" in page.words
    evidence = real["evidence"]
    for key in ("arrays", "training"):
        assert not numbers_of(evidence[key]) - page.numbers, key
    maps = [gradient["maps"] for gradient in evidence["gradients"]]
    for trajectory in evidence["trajectories"]:
        run = trajectory["free_running"]
        assert not numbers_of([run["residuals"], run["floors"]]) - page.numbers
        maps += [frame["maps"] for frame in run["frames"]]
    for each in maps:
        found = numbers_of([each["reference"], each["difference"]])
        assert not found - page.numbers - {0.0}


@pytest.mark.few(1)
@KINDS
def test_nothing_is_said_on_the_console_and_nothing_is_asked_for(
    browser: Browser, pages: dict[str, Path], kind: str
) -> None:
    with visit(browser, pages[kind]) as seen:
        seen.page.wait_for_timeout(50)
        assert seen.console == []
        assert seen.requests == []


def test_a_picture_from_elsewhere_would_be_asked_for_or_refused(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    picture = '<img src="http://127.0.0.1:9/picture.png" alt="">'
    with visit(browser, with_fault(pages["red"], tmp_path, picture, policy=False)) as seen:
        assert seen.requests == ["http://127.0.0.1:9/picture.png"]
    with visit(browser, with_fault(pages["red"], tmp_path, picture)) as seen:
        assert any("Content Security Policy" in line for line in seen.console)


def test_a_script_that_is_not_the_pages_own_does_not_run(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    script = "<script>console.error('run')</script>"
    with visit(browser, with_fault(pages["red"], tmp_path, script, policy=False)) as seen:
        assert seen.console == ["run"]
    with visit(browser, with_fault(pages["red"], tmp_path, script)) as seen:
        assert "run" not in seen.console
        assert any("Content Security Policy" in line for line in seen.console)


@pytest.mark.few(3)
@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
@KINDS
def test_the_verdict_is_in_view_and_the_page_is_as_wide_as_the_screen(
    browser: Browser, pages: dict[str, Path], kind: str, size: dict[str, int]
) -> None:
    with visit(browser, pages[kind], viewport=size) as seen:
        assert seen.in_view(seen.page.locator("h1 .word"))
        assert seen.in_view(seen.page.locator("h1 .verdict"))
        assert seen.width <= size["width"]
        seen.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert seen.width <= size["width"]


def test_that_a_verdict_out_of_view_and_a_wide_page_would_be_seen(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    path = with_fault(pages["red"], tmp_path, '<div class="wide-as-never">x</div>', policy=False)
    text = path.read_text("utf-8").replace(
        "</style>", ".wide-as-never { width: 50rem } .banner { padding-top: 60rem }</style>"
    )
    with visit(browser, written(path, text), viewport=PHONE) as seen:
        assert not seen.in_view(seen.page.locator("h1 .word"))
        assert seen.width > PHONE["width"]


def test_hostile_and_endless_text_does_nothing_and_breaks_no_phone(
    browser: Browser, tmp_path: Path
) -> None:
    for make in (reports.red, reports.mutants):
        text = to_html(
            replaced(make(), hostile="<script>document.title='run'</script>" + "x" * 300)
        )
        with visit(browser, written(tmp_path / "hostile.html", text), viewport=PHONE) as seen:
            seen.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert seen.width <= PHONE["width"]
            assert seen.in_view(seen.page.locator("h1 .verdict"))
            assert seen.console == seen.requests == []
            assert "<script>" in seen.page.title()


def hover_mark(seen: browsers.Visit) -> None:
    seen.page.locator("[data-mark]").first.scroll_into_view_if_needed()
    seen.page.locator("[data-mark] .shape").first.hover(force=True)


def test_pointing_at_a_mark_shows_its_numbers(browser: Browser, pages: dict[str, Path]) -> None:
    with visit(browser, pages["red"]) as seen:
        assert seen.tip() is None
        hover_mark(seen)
        assert seen.tip() == "energies: rounding, residual 1.38 noise floors, 64 allowed"
        seen.page.keyboard.press("Escape")
        assert seen.tip() is None


def test_pointing_at_a_pixel_shows_both_sides(browser: Browser, pages: dict[str, Path]) -> None:
    with visit(browser, pages["red"]) as seen:
        picture = seen.page.locator("#gradients img[data-side=port]").first
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        assert box is not None
        picture.hover(position={"x": box["width"] * 0.25, "y": box["height"] * 0.75})
        assert seen.tip() == (
            "row 1, column 0, channel 0\nreference 0.375\nport 0.375\ndifference -2.5e-18"
        )
        assert seen.page.locator(".cursor").count() == 3  # in all three pictures


def test_a_finger_shows_numbers_until_it_is_put_elsewhere(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with visit(browser, pages["red"], viewport=PHONE, has_touch=True) as seen:
        seen.page.locator("#gradients img[data-side=difference]").first.tap()
        assert "difference" in str(seen.tip())
        seen.page.locator("#gradients h2").tap()
        assert seen.tip() is None
        seen.page.locator("#arrays [data-mark]").first.tap()
        assert "energies: rounding" in str(seen.tip())


def test_the_keyboard_reaches_charts_and_goes_through_them(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with visit(browser, pages["red"], reduced_motion="reduce") as seen:
        assert seen.focused("#trajectories [data-mark]", most=120)
        assert seen.tip() == (
            "step 1, teacher-forced: residual 0, 2.24e-14 allowed, floor 3.5e-16: inside"
        )
        seen.page.keyboard.press("End")
        assert "beyond the horizon" in str(seen.tip()) or "not finite" in str(seen.tip())
        seen.page.keyboard.press("ArrowLeft")
        assert seen.tip() == (
            "step 2, free-running: residual 0.0312, 4.64e-14 allowed, floor 7.25e-16: outside"
        )


def test_the_keyboard_reaches_pictures_and_goes_over_them(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with visit(browser, pages["red"], reduced_motion="reduce") as seen:
        assert seen.focused("#gradients img", most=120)
        assert str(seen.tip()).startswith("row 0, column 0, channel 0\nreference 0.125")
        seen.page.keyboard.press("ArrowDown")
        seen.page.keyboard.press("ArrowRight")
        assert str(seen.tip()).startswith("row 1, column 1, channel 0\nreference 0.0625")
        assert "row 1, column 1" in seen.page.locator("#said").inner_text()
        assert seen.focused("#trajectories img")
        seen.page.keyboard.press("PageDown")
        assert "reference 0.6875\nport 0.75\ndifference 0.0625" in str(seen.tip())


def test_what_is_focused_is_shown_where_the_page_moved_to(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with visit(browser, pages["red"], reduced_motion="reduce") as seen:
        assert seen.focused("#arrays [data-mark]", most=120)
        seen.page.mouse.wheel(0, 60)
        seen.page.wait_for_timeout(200)
        assert seen.tip() is not None


def test_that_a_page_without_its_script_would_be_seen(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    text = re.sub(r"<script>.*?</script>", "", pages["red"].read_text("utf-8"), flags=re.DOTALL)
    with visit(browser, written(tmp_path / "still.html", text)) as seen:
        hover_mark(seen)
        assert seen.tip() is None
        assert not seen.focused("[data-mark]", most=120)


def test_a_command_is_copied(browser: Browser, pages: dict[str, Path]) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with visit(browser, pages["red"], permissions=permissions) as seen:
        seen.page.locator("#failures .copy").first.click()
        seen.page.locator("#failures .copy", has_text="Copied").wait_for()
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert copied == "parity check mine.pair:pair --only activations"


def test_a_link_opens_what_it_leads_to(browser: Browser, pages: dict[str, Path]) -> None:
    with visit(browser, pages["red"]) as seen:
        said = seen.page.get_by_text("the port raised ValueError: too small")
        assert not said.is_visible()
        seen.page.get_by_role("link", name="losses").click()
        said.wait_for(state="visible")


@pytest.mark.few(1)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@KINDS
def test_it_keeps_the_rules_of_accessibility(
    browser: Browser, pages: dict[str, Path], kind: str, scheme: str
) -> None:
    """Of a real report without its tables of pixels: 40,000 cells of the one kind in the others."""
    opened = "details" if kind != "real" else "details:not(.numbers)"
    with visit(browser, pages[kind], color_scheme=scheme) as seen:
        assert seen.violations(opened) == []


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ('<p style="color: #bbb; background: #fff">pale</p>', "color-contrast"),
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "image-alt"),
        ('<svg role="img" width="9" height="9"></svg>', "svg-img-alt"),
        ("<table><tr><th></th></tr></table>", "empty-table-header"),
    ],
)
def test_that_a_broken_rule_would_be_seen(
    browser: Browser, pages: dict[str, Path], tmp_path: Path, fault: str, rule: str
) -> None:
    with visit(browser, with_fault(pages["red"], tmp_path, fault, policy=False)) as seen:
        assert [line for line in seen.violations() if line.startswith(f"{rule} ")]


def unread(browser: Browser, path: Path) -> list[str]:
    """What a reader without JavaScript misses."""
    wanted: dict[str, Callable[[browsers.Visit], bool]] = {
        "verdict": lambda seen: seen.in_view(seen.page.locator("h1 .verdict")),
        "cause": lambda seen: seen.page.get_by_text("F.pad(x, (0, 1, 0, 1))").is_visible(),
        "checks": lambda seen: seen.page.locator("#checks table").first.is_visible(),
        "chart": lambda seen: seen.page.locator(".chart").first.is_visible(),
        "picture": lambda seen: seen.page.locator("#gradients img").first.is_visible(),
        "words of a mark": lambda seen: seen.page.locator("[data-mark] title").count() > 0,
        "no dead button": lambda seen: not seen.page.locator(".copy").first.is_visible(),
    }
    with visit(browser, path, java_script_enabled=False) as seen:
        missed = [name for name, look in wanted.items() if not look(seen)]
        seen.page.locator("#arrays .numbers summary").click()
        if not seen.page.locator("#arrays table").is_visible():
            missed.append("numbers")
    return missed


def test_it_is_complete_without_javascript(browser: Browser, pages: dict[str, Path]) -> None:
    assert unread(browser, pages["red"]) == []


@pytest.mark.few(0)
def test_that_a_page_which_needs_javascript_would_be_seen(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    text = pages["red"].read_text("utf-8").replace('<section id="checks"', "<section hidden")
    assert unread(browser, written(tmp_path / "hidden.html", text)) == ["checks"]


def test_where_there_is_no_browser_a_run_says_so_and_ci_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs a browser"), browsers.chromium():
        pass
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="needs a browser"), browsers.chromium():
        pass
