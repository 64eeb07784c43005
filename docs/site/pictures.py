"""Takes README's two pictures, of the quickstart's report and of the page of `recalign serve`, with Chromium.

    make demo && make pictures

Everything on them is generated data.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES: Final = Path(__file__).parent.parent / "images"
WIDTH: Final = 1280
LIKES: Final = ("A Comet Too Galactic", "A Comet Too Lunar", "Secret Letter")
DISLIKES: Final = ("Bloody Zombie", "Iron Squadron")
_BEGIN: Final = 1_000  # milliseconds
_PATIENCE: Final = 120_000  # milliseconds
_READY: Final = 120.0  # seconds for a server to load a model


def take_report(browser: Browser, report: Path, picture: Path) -> None:
    """The top of a report: what came out, and the first figures."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 800})
    page.goto(report.resolve().as_uri())
    end = page.locator("section").nth(2).bounding_box()  # after what came out and the figures
    assert end is not None
    page.set_viewport_size({"width": WIDTH, "height": round(end["y"])})
    page.screenshot(path=picture)
    page.close()


def take_page(browser: Browser, address: str, picture: Path) -> None:
    """The page with likes and dislikes, two models side by side, and the reasons of the first item."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 760})
    page.goto(address)
    for titles, key in ((LIKES, "Enter"), (DISLIKES, "Shift+Enter")):
        for title in titles:
            page.locator("#search").fill(title)
            page.locator("#suggestions li[aria-selected=true]", has_text=title).wait_for()
            page.keyboard.press(key)
            page.locator("#history li", has_text=title).wait_for()
    page.wait_for_timeout(_BEGIN)  # a title begins new lists; those of the last one are meant
    for column in (page.locator(".column").nth(number) for number in (0, 1)):
        column.and_(page.locator("[aria-busy=false]")).locator("li").nth(9).wait_for(timeout=_PATIENCE)
    page.locator(".reasons .effect").first.wait_for(timeout=_PATIENCE)  # the first item says why by itself
    page.screenshot(path=picture)
    page.close()


def shrink(picture: Path) -> None:
    """Keep 128 colours: a third of the bytes, and no difference that is seen."""
    with Image.open(picture) as image:
        smaller = image.convert("RGB").quantize(128)
    smaller.save(picture, optimize=True)


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address of a server with a run's zero-shot model, and the priors beside it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model, data = run / "models" / "it-cot-rt", run / "data" / "source"
    command = [
        str(Path(sys.executable).with_name("recalign")),
        "serve",
        str(model),
        "--data",
        str(data),
        "--port",
        str(port),
    ]
    address = f"http://127.0.0.1:{port}/"
    with subprocess.Popen(command) as process:
        try:
            _wait(f"{address}readyz", process)
            yield address
        finally:
            process.terminate()


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _READY
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise SystemExit(f"no answer from {address}")


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"), help="the run of the quickstart")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        take_report(browser, options.run / "report.html", IMAGES / "report.png")
        with served(options.run) as address:
            take_page(browser, address, IMAGES / "page.png")
        browser.close()
    for picture in (IMAGES / "report.png", IMAGES / "page.png"):
        shrink(picture)


if __name__ == "__main__":
    main()
