"""The page that a browser shows: the files of `page/`, read once, by the route that a server gives them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Final

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_START: Final = "index.html"


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page, with the content type that it is served as."""

    content: bytes
    media_type: str


def _read() -> dict[str, PageFile]:
    files = {}
    for file in (resources.files("recalign.serving") / "page").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        path = "/" if file.name == _START else f"/page/{file.name}"
        files[path] = PageFile(file.read_bytes(), _TYPES[suffix])
    return files


# By route. A request never names a file: what is not here is 404.
PAGE: Final = _read()
