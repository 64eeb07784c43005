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
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def check_url(url: str) -> None:
    """Raise a ConfigError for an address with another scheme than http(s), without host, or with user or password."""
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
            error.close()  # it holds the connection
            done, reason = False, f"HTTP {error.code} {error.reason}"
            if error.code < 500:
                hint = "Check the address, or give another one with --url"
                raise DataError(f"download of {url}", found=reason, expected="the file", hint=hint) from error
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
        opener = urllib.request.build_opener(_PlainRedirects)
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        error.close()
        # Nothing is left to send, or what is here is longer than the file: then it is another one's beginning.
        complete = error.headers.get("Content-Range", "").strip() == f"bytes */{have}"
        if not complete:
            with storage_errors(partial):
                partial.unlink()
        return complete
    with response:
        at, total = _place(response, have)
        limit = max_bytes if total is None else total
        if limit > max_bytes:
            raise _too_large(url, limit, max_bytes)
        with storage_errors(partial), partial.open("r+b" if have else "wb") as handle:
            handle.truncate(at)
            handle.seek(at)
            while chunk := _read(response):
                at += len(chunk)
                if at > limit:
                    raise _too_large(url, at, limit)
                handle.write(chunk)
                if progress:
                    progress(at, total)
    return total is None or at == total


def _place(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where the response's first byte belongs, and the size of the whole file."""
    if response.status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match and int(match[1]) <= have:
            return int(match[1]), None if match[2] == "*" else int(match[2])
        raise http.client.HTTPException("a part of the file that was not asked for")
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _read(response: http.client.HTTPResponse) -> bytes:
    """The next chunk. Network failures leave as HTTPException, so that they are not taken for those of the disk."""
    try:
        return response.read(_CHUNK)
    except OSError as error:
        raise http.client.HTTPException(str(error) or type(error).__name__) from error


def _too_large(url: str, size: int, limit: int) -> DataError:
    return DataError(f"download of {url}", found=f"{size:,} bytes or more", expected=f"at most {limit:,}")


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
