"""One file over HTTP, resumable: what was received stays beside the target, and the next call asks for the rest.

Only http and https, redirects included; no proxy settings beyond the environment's; nothing here judges the content,
which is what the caller's SHA-256 is for.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from recalign.artifacts.storage import storage_errors
from recalign.errors import ConfigError, DataError

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far and the total, None where the server does not say."""

MAX_BYTES: Final = 16 * 1024**3
TIMEOUT_SECONDS: Final = 30.0
# Attempts in a row that bring no byte; one that brought some starts the count anew.
_ATTEMPTS: Final = 4
_CHUNK: Final = 256 * 1024
_SCHEMES: Final = ("http", "https")
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


def check_url(url: str) -> None:
    """Refuse an address that is not plain http or https.

    Raises:
        ConfigError: another scheme, no host, or user and password in the address.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme.lower() in _SCHEMES and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ConfigError(f"address {url!r}", found="no plain web address", expected="http(s)://host/path")


def fetch(
    url: str,
    partial: Path,
    *,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
    max_bytes: int = MAX_BYTES,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Bring the file at `url` into `partial`, continuing what is there.

    A cut connection is taken up again a few times here, and after that by the next call.

    Args:
        url: http or https.
        partial: The file to fill; it stays when the transfer fails.
        progress: Told after each chunk.
        timeout: Seconds without a byte after which an attempt is given up.
        max_bytes: Larger files are refused.
        pause: Waits between attempts.

    Returns:
        Whether the content was pieced together from more than one response.

    Raises:
        ConfigError: `url` is not http or https.
        DataError: the server refuses, redirects elsewhere, sends too much, or the connection fails for good.
        ArtifactError: `partial` cannot be written.
    """
    check_url(url)
    failures, pieces = 0, 2 if _size(partial) else 0
    while True:
        before = _size(partial)
        try:
            done = _attempt(url, partial, progress, timeout, max_bytes)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise _refusal(url, error) from error
            done, reason = False, f"HTTP {error.code} {error.reason}"
        except (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError) as error:
            done, reason = False, str(getattr(error, "reason", "") or error) or type(error).__name__
        else:
            reason = "a connection cut short"
        after = _size(partial)
        pieces += after != before
        if done:
            return pieces > 1
        failures = 0 if after > before else failures + 1
        if failures >= _ATTEMPTS:
            raise DataError(
                f"download of {url}",
                found=f"{reason} after {after:,} bytes",
                expected="the whole file",
                hint="Run the same command again to continue from there",
            )
        pause(2.0**failures / 2)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _attempt(url: str, partial: Path, progress: Progress | None, timeout: float, max_bytes: int) -> bool:
    """One request. Whether the file is complete; False if the connection ended early."""
    have = _size(partial)
    headers = {"User-Agent": "recalign", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = _opener().open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # Nothing is left to send, or what is here is longer than the file: then it is another one's beginning.
        if _total(error.headers.get("Content-Range")) != have:
            _start_over(partial)
            return False
        return True
    with response:
        start, total = _place(response, have)
        if total is not None and total > max_bytes:
            raise _too_large(url, total, max_bytes)
        return _receive(response, partial, start, total, progress, url, max_bytes)


def _place(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where the response's first byte belongs, and the size of the whole file."""
    if response.status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match and match[1] is not None and int(match[1]) <= have:
            return int(match[1]), None if match[2] == "*" else int(match[2])
        raise http.client.HTTPException("a part of the file that was not asked for")
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _total(content_range: str | None) -> int | None:
    match = _CONTENT_RANGE.fullmatch((content_range or "").strip())
    return int(match[2]) if match and match[2] != "*" else None


def _receive(
    response: IO[bytes] | http.client.HTTPResponse,
    partial: Path,
    start: int,
    total: int | None,
    progress: Progress | None,
    url: str,
    max_bytes: int,
) -> bool:
    with storage_errors(partial), partial.open("r+b" if partial.exists() else "wb") as handle:
        handle.truncate(start)
        handle.seek(start)
        at = start
        while chunk := _read(response):
            at += len(chunk)
            if at > (max_bytes if total is None else total):
                raise _too_large(url, at, max_bytes if total is None else total)
            handle.write(chunk)
            if progress:
                progress(at, total)
    return total is None or at == total


def _read(response: IO[bytes] | http.client.HTTPResponse) -> bytes:
    """The next chunk. Network failures leave as HTTPException, so that they are not taken for those of the disk."""
    try:
        return response.read(_CHUNK)
    except OSError as error:
        raise http.client.HTTPException(str(error) or type(error).__name__) from error


def _start_over(partial: Path) -> None:
    with storage_errors(partial):
        partial.unlink(missing_ok=True)


def _too_large(url: str, size: int, limit: int) -> DataError:
    return DataError(f"download of {url}", found=f"{size:,} bytes or more", expected=f"at most {limit:,}")


def _refusal(url: str, error: urllib.error.HTTPError) -> DataError:
    hint = "Check the address, or give another one with --url"
    return DataError(f"download of {url}", found=f"HTTP {error.code} {error.reason}", expected="the file", hint=hint)


class _PlainRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https back to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = urllib.parse.urlsplit(newurl).scheme.lower()
        if new not in _SCHEMES or (req.type == "https" and new != "https"):
            expected = "https" if req.type == "https" else "http or https"
            raise DataError(f"download of {req.full_url}", found=f"a redirect to {newurl[:200]}", expected=expected)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """An opener that knows http and https and nothing else (the default one reads file:, ftp: and data: addresses)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _PlainRedirects(),
    ):
        opener.add_handler(handler)
    return opener
