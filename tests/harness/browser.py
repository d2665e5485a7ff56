"""A headless Chromium for the tests of pages, and what may be wrong with a page in it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, sync_playwright

PHONE = {"width": 360, "height": 800}
DESKTOP = {"width": 1280, "height": 900}
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find() -> str | None:
    """The browser's path, if there is one."""
    found = (shutil.which(name) for name in NAMES)
    return os.environ.get("CHROMIUM") or next((path for path in found if path), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Skips the test where there is no browser, but fails it in CI, where nobody reads of skips."""
    path = find()
    if path is None:
        why = f"needs a browser: none of {', '.join(NAMES)} is here, and CHROMIUM names none"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclasses.dataclass
class Visit:
    """A page that was opened, and what happened since.

    Attributes:
        console: errors, warnings and uncaught exceptions.
        requests: what was asked for besides the file itself and what stands in it.
    """

    page: Page
    console: list[str] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)

    @property
    def width(self) -> int:
        """Of the whole page, in pixels."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def in_view(self, words: Locator) -> bool:
        """Whether it can be read without scrolling."""
        if not words.is_visible():
            return False
        box, size = words.bounding_box(), self.page.viewport_size
        assert box is not None
        assert size is not None
        right, bottom = box["x"] + box["width"], box["y"] + box["height"]
        return min(box["x"], box["y"]) >= 0 and right <= size["width"] and bottom <= size["height"]

    def violations(self, opened: str = "details") -> list[str]:
        """Of the rules of accessibility, once those of the closed parts are opened."""
        self.page.evaluate(
            "s => document.querySelectorAll(s).forEach(d => { d.open = true })", opened
        )
        return Axe().run(self.page).generate_snapshot().splitlines()

    def tip(self) -> str | None:
        """The words beside what is pointed at, if there are any."""
        tip = self.page.locator("#tip")
        return tip.inner_text() if tip.is_visible() else None

    def focused(self, selector: str, most: int = 80) -> bool:
        """Whether the Tab key reaches such an element."""
        for _ in range(most):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("s => document.activeElement.matches(s)", selector):
                return True
        return False


@contextlib.contextmanager
def visit(browser: Browser, path: Path, **options: Any) -> Iterator[Visit]:
    """Open a file; ``options`` are those of a browser context, such as ``color_scheme``."""
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    page = context.new_page()
    seen = Visit(page)
    own = path.resolve().as_uri()
    page.on(
        "console",
        lambda m: seen.console.append(m.text) if m.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: seen.console.append(str(error)))
    page.on(
        "request",
        lambda r: seen.requests.append(r.url) if not r.url.startswith((own, "data:")) else None,
    )
    try:
        page.goto(own)
        yield seen
    finally:
        context.close()
