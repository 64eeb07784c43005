from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from recalign.data.catalog import ItemCatalog
from recalign.data.schema import ITEMS
from recalign.errors import ConfigError
from recalign.recommender import Recommender
from recalign.serving.security import ApiKeys, check_host

from .conftest import Running, Start
from .fakes import FakeScorer

KEY, OTHER = "0123456789abcdef", "a-second-key-of-somebody"
ROUTES = [
    ("POST", "/v1/recommend"),
    ("POST", "/v1/score"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/explain"),
    ("GET", "/v1/items?q=film"),
    ("POST", "/v1/events"),
    ("DELETE", "/v1/events?user=u"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/page/"),
    ("GET", "/nowhere"),
]


@pytest.fixture
def guarded(start: Start) -> Running:
    return start(keys=ApiKeys([KEY, OTHER]))


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_401_without_a_key(guarded: Running, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": f"Bearer {KEY}x"}, {"X-API-Key": ""}, {"Authorization": f"Basic {KEY}"}):
        answer = guarded.ask(method, path, {"likes": ["id:1"]} if method == "POST" else None, **headers)
        assert (answer.status, set(answer.json)) == (401, {"error"})
    assert not guarded.scorer.asked


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_needs_no_key(guarded: Running, path: str) -> None:
    assert guarded.get(path).status == 200


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {OTHER}"}, {"authorization": f"bearer  {KEY}"}, {"X-API-Key": KEY}]
)
def test_each_key_opens(guarded: Running, headers: dict[str, str]) -> None:
    assert guarded.ask("GET", "/v1/items?q=film", **headers).status == 200


def test_401_comes_before_the_body_is_read(guarded: Running) -> None:
    head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n"
    assert guarded.open_socket(head).recv(100).startswith(b"HTTP/1.1 401 ")


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    plain: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return plain(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    keys = ApiKeys([KEY, OTHER])
    assert keys.admit(KEY)
    assert not keys.admit("x")
    assert not keys.admit("\udcff")
    assert compared == [(32, 32)] * 6  # hashes of equal length, and no comparison left out after the first that fits


@pytest.mark.parametrize(
    ("text", "word"), [("", "no key"), ("# a comment\n\n", "no key"), ("short\n", "1 shorter"), (None, "FileNotFound")]
)
def test_key_files_that_are_none(tmp_path: Path, text: str | None, word: str) -> None:
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=word) as error:
        ApiKeys.read(path)
    assert "short\n" not in str(error.value)


def test_a_key_file_has_comments_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# of the shop\n  {KEY}  \n\n{OTHER}\n")
    keys = ApiKeys.read(tmp_path / "keys")
    assert keys.admit(KEY)
    assert keys.admit(OTHER)
    assert not keys.admit("# of the shop")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_key(host: str) -> None:
    check_host(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.com", ""])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="without a key"):
        check_host(host, None)
    check_host(host, ApiKeys([KEY]))


def test_without_keys_the_host_must_be_this_machine(server: Running, guarded: Running) -> None:
    """A page of a stranger whose name was made to point here sends its own name."""
    assert server.ask("GET", "/v1/items?q=film", Host="evil.example").status == 400
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert server.ask("GET", "/v1/items?q=film", Host=host).status == 200
    assert guarded.ask("GET", "/v1/items?q=film", Host="shop.example", Authorization=f"Bearer {KEY}").status == 200


@pytest.mark.parametrize("path", ["/livez", "/docs", "/v1/items?q=film", "/nowhere"])
def test_headers_make_answers_harmless(guarded: Running, path: str) -> None:
    for headers in ({}, {"X-API-Key": KEY}):
        found = guarded.ask("GET", path, **headers).headers
        assert "default-src 'self'" in found["content-security-policy"]
        assert "unsafe" not in found["content-security-policy"]
        assert found["x-content-type-options"] == "nosniff"
        assert "server" not in found


def test_hostile_titles_come_as_json_and_nothing_else(start: Start) -> None:
    titles = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[31mred\u202e", "Film 4"]
    rows = [(str(n), title, None, None, None) for n, title in enumerate(titles, start=1)]
    catalog = ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")
    server = start({"m": Recommender(FakeScorer(), catalog)})
    answers = [
        server.post("/v1/recommend", likes=["id:4"]),
        server.get("/v1/items?q=script"),
        server.post("/v1/recommend", likes=["<script>alert(2)</script>"]),
        server.get("/v1/<script>alert(3)</script>"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 422, 404]
    for answer in answers:
        assert answer.headers["content-type"] == "application/json"
    assert {item["title"] for item in answers[0].json["items"]} == set(titles[:3])
    assert "\x1b" not in answers[0].text


@pytest.mark.parametrize("value", ["/etc/passwd", "../../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/"])
def test_no_field_becomes_a_path_or_an_address(
    server: Running, monkeypatch: pytest.MonkeyPatch, value: str, tmp_path: Path
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(Path, "open", lambda self, *_args, **_kwargs: opened.append(self))
    monkeypatch.setattr("builtins.open", lambda path, *_args, **_kwargs: opened.append(path))
    statuses = [
        server.post("/v1/recommend", likes=[value]).status,
        server.post("/v1/recommend", likes=["id:1"], model=value).status,
        server.post("/v1/rerank", query="id:1", documents=[value]).status,
        server.post("/v1/score", likes=["id:1"], items=[value]).status,
    ]
    assert statuses == [422, 404, 422, 422]
    assert opened == []


def test_keys_are_in_no_answer(guarded: Running) -> None:
    answers = [guarded.ask("GET", path, **{"X-API-Key": KEY}) for path in ("/metrics", "/openapi.json", "/docs", "/")]
    assert not [answer for answer in answers if KEY in answer.text or KEY in json.dumps(answer.headers)]
