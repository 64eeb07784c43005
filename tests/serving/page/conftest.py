"""The page in a real browser: Debian's Chromium, or the one that Playwright brings."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from ..conftest import Running
from ..fakes import LONG

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

_FOCUSED = """(() => {
    const focused = document.activeElement;
    return focused.getAttribute("aria-label") ?? (focused.id || focused.innerText);
})()"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make test-browser")
    with api.sync_playwright() as playwright:
        path = shutil.which("chromium")
        try:
            # Without the sandbox, which containers do not allow; the only page that is opened is our own.
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium starts here: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that is open, what its console said, and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def find(self, text: str, key: str = "Enter") -> None:
        """Type a title into the search field, wait for the list, and choose its first entry."""
        self.page.locator("#search").focus()
        self.page.keyboard.type(text)
        self.page.locator("#suggestions li[aria-selected=true]").wait_for()
        self.press(key)

    @property
    def columns(self) -> Locator:
        return self.page.locator(".column")

    @property
    def focused(self) -> str:
        """Label, id or text of what has the focus."""
        return str(self.page.evaluate(_FOCUSED))

    def tab_to(self, label: str) -> None:
        """Press Tab until the focus is there; the test fails where it never comes there."""
        for _ in range(100):
            if self.focused == label:
                return
            self.press("Tab")
        pytest.fail(f"the keyboard does not reach {label}")


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Open a server's page, or the file of one; `width` is that of the window, `scheme` light or dark."""
    contexts = []

    def go(shown: Running | Path, width: int = 1200, scheme: Literal["light", "dark"] = "light") -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(LONG * 1000 / 3)
        visit = Visit(context.new_page())
        visit.page.on("console", lambda message: visit.said.append(message.text))
        visit.page.on("pageerror", lambda error: visit.said.append(error.message))
        address = shown.as_uri() if isinstance(shown, Path) else f"http://127.0.0.1:{shown.port}/"
        visit.page.on("request", lambda request: visit.asked.append(request.url))
        visit.page.goto(address)
        visit.page.locator(".column").first.wait_for()
        return visit

    yield go
    for context in contexts:
        context.close()
