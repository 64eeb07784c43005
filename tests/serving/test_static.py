"""The page's files as the server gives them out; `page/` opens them in a browser."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from recalign.serving.files import PAGE
from recalign.serving.security import ApiKeys

from .conftest import Running, Start

KEY = "0123456789abcdef"
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
FILES = sorted(file.name for file in (resources.files("recalign.serving") / "page").iterdir())


def route_of(name: str) -> str:
    return "/" if name == "index.html" else f"/page/{name}"


def texts() -> dict[str, str]:
    return {path: file.content.decode() for path, file in PAGE.items()}


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_a_route_and_its_type(server: Running, name: str) -> None:
    answer = server.get(route_of(name))
    assert answer.status == 200
    assert answer.headers["content-type"].partition(";")[0] == TYPES[name.rpartition(".")[2]]
    assert answer.text == (resources.files("recalign.serving") / "page" / name).read_text(encoding="utf-8")
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/page/", "/page/index.html", "/page/../app.py", "/page/%2e%2e/app.py", "/app.js"])
def test_nothing_else_is_a_file(server: Running, path: str) -> None:
    assert server.get(path).status == 404


def test_the_page_needs_no_key_and_all_that_it_asks_does(start: Start) -> None:
    guarded = start(keys=ApiKeys([KEY]))
    assert {guarded.get(path).status for path in PAGE} == {200}
    asked = set(re.findall(r'["`](/v1/\w+)', "".join(texts().values())))
    assert asked == {"/v1/items", "/v1/recommend", "/v1/explain", "/v1/audit", "/v1/verdicts"}
    for path in asked:
        assert guarded.get(path).status == 401
    assert KEY not in "".join(guarded.get(path).text for path in PAGE)


def test_the_page_is_small() -> None:
    assert sum(len(file.content) for file in PAGE.values()) <= 100_000


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for path, text in texts().items():
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", text)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path
        assert "@import" not in text
        assert "url(" not in text


def test_every_address_in_the_page_is_a_route(server: Running) -> None:
    for text in texts().values():
        for path in re.findall(r'(?:from|src=|href=) ?"([^"]+)"', text):
            assert server.get(path).status == 200, path


def test_no_inline_script_or_style() -> None:
    page = texts()["/"]
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)


def test_no_text_becomes_markup_and_nothing_is_kept() -> None:
    code = "".join(text for path, text in texts().items() if path.endswith(".js"))
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
    ):
        assert word not in code
    for word in ("localStorage", "sessionStorage", "document.cookie", "indexedDB"):
        assert word not in code
