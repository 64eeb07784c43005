"""Downloads against a scripted server on localhost: resume, refuse, check, and never half-unpack."""

from __future__ import annotations

import errno
import hashlib
import io
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recalign.data import transfer
from recalign.data.download import MARK, download, find_download
from recalign.data.readers import READERS
from recalign.data.transfer import check_url, fetch
from recalign.errors import ArtifactError, ConfigError, DataError

NAME = "movielens-100k"


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("ml-100k/u.data", b"1\t1\t5\t1\n" + random.Random(0).randbytes(300_000))
        bundle.writestr("ml-100k/u.item", b"x")
    return buffer.getvalue()


CONTENT = archive()
HASH = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Script:
    """What the server does; each request is noted."""

    content: bytes = CONTENT
    ranges: bool = True
    # Bytes after which the n-th answer is cut; the rest of the answers are whole.
    cuts: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    redirect: str | None = None
    length: bool = True
    wrong_range: bool = False
    requests: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    script: Script

    def do_GET(self) -> None:
        script = self.script
        asked = self.headers.get("Range")
        script.requests.append(asked)
        if script.status and (status := script.status.pop(0)) != 200:
            self.send_error(status)
            return
        if script.redirect is not None and self.path != "/moved":
            self.send_response(302)
            self.send_header("Location", script.redirect)
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and script.ranges else 0
        size = len(script.content)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_response(206 if asked and script.ranges else 200)
        if asked and script.ranges:
            claimed = start + 7 if script.wrong_range else start
            self.send_header("Content-Range", f"bytes {claimed}-{size - 1}/{size}")
        if script.length:
            self.send_header("Content-Length", str(size - start))
        self.end_headers()
        cut = script.cuts.pop(0) if script.cuts else size
        self.wfile.write(script.content[start : start + cut])

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[Script]:
    script = Script()
    handler = type("Scripted", (Handler,), {"script": script})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{httpd.server_address[1]}/file.zip"
    yield script
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(transfer.fetch, "__kwdefaults__", {**(fetch.__kwdefaults__ or {}), "pause": waits.append})
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return waits


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_unpacked_in_place(server: Script, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    folder = download(NAME, tmp_path / "new" / "data", HASH, url=server.url, progress=lambda *now: seen.append(now))
    assert folder == tmp_path / "new" / "data"
    assert (folder / "ml-100k" / "u.item").read_bytes() == b"x"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert left_over(tmp_path / "new") == ["data"]


def test_a_cut_connection_is_taken_up_again(server: Script, tmp_path: Path) -> None:
    server.cuts = [1000, 50_000, 0, 70_000]
    download(NAME, tmp_path / "data", HASH, url=server.url)
    assert server.requests == [None, "bytes=1000-", "bytes=51000-", "bytes=51000-", "bytes=121000-"]


def test_the_next_call_continues(server: Script, tmp_path: Path, no_waiting: list[float]) -> None:
    server.cuts = [1000, *[0] * 4]
    with pytest.raises(DataError, match=r"cut short after 1,000 bytes.*same command again"):
        download(NAME, tmp_path / "data", HASH, url=server.url)
    assert left_over(tmp_path) == [f".data.{HASH[:16]}.part"]
    assert len(no_waiting) == 4
    server.requests.clear()
    download(NAME, tmp_path / "data", HASH, url=server.url)
    assert server.requests == ["bytes=1000-"]
    assert left_over(tmp_path) == ["data"]


def test_a_server_without_ranges_starts_over(server: Script, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [1000]
    download(NAME, tmp_path / "data", HASH, url=server.url)
    assert server.requests == [None, "bytes=1000-"]


def test_a_server_without_lengths(server: Script, tmp_path: Path) -> None:
    server.length = False
    download(NAME, tmp_path / "data", HASH, url=server.url)
    assert server.requests == [None]


def test_a_complete_archive_is_not_fetched_again(server: Script, tmp_path: Path) -> None:
    (tmp_path / f".data.{HASH[:16]}.part").write_bytes(CONTENT)
    download(NAME, tmp_path / "data", HASH, url=server.url)
    assert server.requests == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("rest", [b"x" * 500, b"x" * (len(CONTENT) + 5), b"x" * len(CONTENT)])
def test_a_wrong_rest_is_thrown_away_once(server: Script, tmp_path: Path, rest: bytes) -> None:
    (tmp_path / f".data.{HASH[:16]}.part").write_bytes(rest)
    download(NAME, tmp_path / "data", HASH, url=server.url)
    assert server.requests[-1] is None


def test_a_part_that_was_not_asked_for_is_not_used(server: Script, tmp_path: Path) -> None:
    server.wrong_range, server.cuts = True, [1000]
    with pytest.raises(DataError, match="not asked for"):
        download(NAME, tmp_path / "data", HASH, url=server.url)


def test_an_altered_download_stops_before_unpacking(server: Script, tmp_path: Path) -> None:
    server.content = CONTENT[:5000] + b"!" + CONTENT[5001:]
    with pytest.raises(DataError, match=r"SHA-256.*deleted and nothing was unpacked"):
        download(NAME, tmp_path / "data", HASH, url=server.url)
    assert left_over(tmp_path) == []
    assert len(server.requests) == 1


def test_a_truncated_file_has_another_hash(server: Script, tmp_path: Path) -> None:
    server.content = CONTENT[:-10]
    with pytest.raises(DataError, match="SHA-256"):
        download(NAME, tmp_path / "data", HASH, url=server.url)
    assert left_over(tmp_path) == []


def test_refusals_stop_at_once_and_server_errors_are_tried_again(server: Script, tmp_path: Path) -> None:
    server.status = [404]
    with pytest.raises(DataError, match=r"HTTP 404.*--url"):
        download(NAME, tmp_path / "data", HASH, url=server.url)
    assert len(server.requests) == 1
    assert left_over(tmp_path) == []
    server.status = [503, 500]
    download(NAME, tmp_path / "data", HASH, url=server.url)
    assert len(server.requests) == 4


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"refused.*after 0 bytes"):
        download(NAME, tmp_path / "data", HASH, url="http://127.0.0.1:9/file.zip")
    assert left_over(tmp_path) == []


def test_a_silent_server_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(DataError, match="timed out"):
            download(NAME, tmp_path / "data", HASH, url=url, timeout=0.05)


def test_redirects(server: Script, tmp_path: Path) -> None:
    server.redirect = server.url.replace("file.zip", "moved")
    download(NAME, tmp_path / "data", HASH, url=server.url)
    for number, target in enumerate(["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "gopher://x"]):
        server.redirect = target
        with pytest.raises(DataError, match=r"[Rr]edirect.*(not allowed|expected http)"):
            download(NAME, tmp_path / f"data{number}", HASH, url=server.url)
    server.redirect = server.url
    with pytest.raises(DataError, match="HTTP 302"):
        download(NAME, tmp_path / "loop", HASH, url=server.url)


def test_too_much_is_refused(server: Script, tmp_path: Path) -> None:
    for server.length in (True, False):
        with pytest.raises(DataError, match="at most 1,000"):
            fetch(server.url, tmp_path / "part", max_bytes=1000)
    assert not (tmp_path / "part").exists() or (tmp_path / "part").stat().st_size <= 1000


def test_a_full_disk_is_one_line_and_no_reason_to_try_again(
    server: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *_: Full())
    with pytest.raises(ArtifactError, match=r"cannot write .*no space left"):
        fetch(server.url, tmp_path / "part")
    assert server.requests == [None]


def test_an_archive_that_is_refused_leaves_nothing(server: Script, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("good", b"1")
        bundle.writestr("../evil", b"2")
    server.content = buffer.getvalue()
    with pytest.raises(DataError, match="leaves its folder"):
        download(NAME, tmp_path / "data", hashlib.sha256(server.content).hexdigest(), url=server.url)
    assert [name for name in left_over(tmp_path) if not name.endswith(".part")] == []


def test_what_a_killed_unpacking_left_is_swept(server: Script, tmp_path: Path) -> None:
    rubbish = tmp_path / ".data.unpacking" / "half"
    rubbish.mkdir(parents=True)
    download(NAME, tmp_path / "data", HASH, url=server.url)
    assert left_over(tmp_path) == ["data"]
    assert left_over(tmp_path / "data") == [MARK, "ml-100k"]
    requests, told = len(server.requests), list[str]()
    assert download(NAME, tmp_path / "data", HASH, url=server.url, note=told.append) == tmp_path / "data"
    assert told == [f"already downloaded from these inputs and settings: {tmp_path / 'data'}"]
    assert len(server.requests) == requests


def test_a_used_folder_is_left_alone(server: Script, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("data", "file", "link"):
        with pytest.raises(DataError, match="Choose another --output"):
            download(NAME, tmp_path / name, HASH, url=server.url)
    assert server.requests == []
    (tmp_path / "data" / "mine").unlink()
    download(NAME, tmp_path / "data", HASH, url=server.url)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda out: download("netflix", out, HASH), r"movielens-100k.*bring your own copy"),
        (lambda out: download(NAME, out), r"no pinned SHA-256; expected --sha256 HEX"),
        (lambda out: download(NAME, out, "abc"), "64 hexadecimal digits"),
        (lambda out: download(NAME, out, "z" * 64), "64 hexadecimal digits"),
        (lambda out: download("bookcrossing", out, HASH), "--url of a copy"),
        (lambda out: download(NAME, out, HASH, url="file:///etc/passwd"), "http"),
    ],
)
def test_bad_options_touch_neither_network_nor_disk(
    tmp_path: Path, call: Callable[[Path], Path], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recalign.data.download.fetch", lambda *_, **__: pytest.fail("fetched"))
    with pytest.raises(ConfigError, match=words):
        call(tmp_path / "sub" / "data")
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/x",
        "file:///x",
        "//h/x",
        "h/x",
        "http://",
        "http://u:p@h/x",
        "http://h:99999/",
        "http://[",
        "http://h/a b",
        "",
    ],
)
def test_addresses_that_are_not_plain_web_addresses(url: str) -> None:
    with pytest.raises(ConfigError):
        check_url(url)


def test_the_registry_names_terms_readers_and_no_invented_hash() -> None:
    archives = [archive for _, reader in READERS.all() for archive in reader.archives]
    assert {archive.name for archive in archives} >= {"movielens-100k", "movielens-1m", "bookcrossing"}
    for archive in archives:
        known, dataset, reader = find_download(archive.name)
        assert known is archive
        assert reader.licence
        assert "\n" not in reader.licence
        assert archive in READERS.find(dataset).archives
        assert archive.sha256 is None
        if archive.url:
            check_url(archive.url)
            assert archive.url.startswith("https://")
