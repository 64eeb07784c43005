"""Checks a built site: every link, anchor and picture is there, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

# What a browser loads without being asked. A link that a reader may follow is something else.
LOADED: Final = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "form": ("action",),
    "use": ("href",),
    "image": ("href",),
}
# `rel` of a <link> that is no request.
QUIET: Final = {"canonical", "prev", "next", "alternate"}


class Page(HTMLParser):
    """What a page holds: ids, links, what it loads, cross-references that nothing answered."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.unresolved: list[str] = []
        self.styles: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collects from one tag."""
        given = {name: value or "" for name, value in attributes}
        self.ids |= {given[name] for name in ("id", "name") if name in given and (name == "id" or tag == "a")}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and not QUIET & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        self.loads += [given[name].split()[0] for name in LOADED.get(tag, ()) if given.get(name)]
        if tag == "autoref" or "autorefs-identifier" in given or "data-autorefs-identifier" in given:
            self.unresolved.append(given.get("identifier", "") or str(attributes))
        self.styles += [given["style"]] if "style" in given else []
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        """Ends what `handle_starttag` began."""
        self._in_style = False

    def handle_data(self, data: str) -> None:
        """Keeps the text of style sheets."""
        if self._in_style:
            self.styles.append(data)


def problems(site: Path) -> list[str]:
    """One line for each thing that is wrong, in order of the pages; none if the site is whole."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [line for path, page in pages.items() for line in _of_page(site, path, page, pages)]
    for path in sorted(site.rglob("*.css")):
        found += [
            f"{path.relative_to(site)}: loads {address}"
            for address in _foreign_in_css(path.read_text(encoding="utf-8"))
        ]
    return found


def _of_page(site: Path, path: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    name = path.relative_to(site)
    yield from (f"{name}: nothing is called {identifier}" for identifier in page.unresolved)
    for address in [*page.loads, *(address for style in page.styles for address in _foreign_in_css(style))]:
        if _is_foreign(address):
            yield f"{name}: loads {address}"
        elif not address.startswith("data:") and (wrong := _missing(site, path, address, pages)):
            yield f"{name}: {wrong}"
    for address in page.links:
        if not _is_foreign(address) and (wrong := _missing(site, path, address, pages)):
            yield f"{name}: {wrong}"


def _is_foreign(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https", "mailto")


def _missing(site: Path, path: Path, address: str, pages: dict[Path, Page]) -> str:
    """What about an address within the site leads nowhere; "" if it is all there."""
    parts = urlsplit(address)
    target = path if not parts.path else (site if parts.path.startswith("/") else path.parent) / parts.path.lstrip("/")
    target = Path(unquote(str(target))).resolve()
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file() or not target.is_relative_to(site.resolve()):
        return f"no such file: {address}"
    anchor = unquote(parts.fragment)
    there = pages[site / target.relative_to(site.resolve())].ids if target.suffix == ".html" else {anchor}
    return "" if not anchor or anchor in there else f"no such anchor: {address}"


def _foreign_in_css(text: str) -> list[str]:
    addresses = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", text)
    return [first or second for first, second in addresses if _is_foreign(first or second)]
