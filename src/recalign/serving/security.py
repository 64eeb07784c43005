"""Who may ask, and headers that make answers harmless in a browser."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recalign.errors import ConfigError
from recalign.serving.files import PAGE

OPEN_ROUTES: Final = frozenset({"/livez", "/readyz"})
# A browser cannot send a key when it opens a page. The page holds no data; it asks for a key, and then for data.
KEYLESS_ROUTES: Final = OPEN_ROUTES | PAGE.keys()
UNREAD: Final = frozenset({400, 401, 404, 405, 413})  # answered without reading the body, which may never end
SHORTEST_KEY: Final = 16  # characters
HEADERS: Final = {
    # Nothing from another origin, no inline script, in nobody's frame.
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class ApiKeys:
    """The keys that open a server. Only their hashes are kept."""

    def __init__(self, keys: list[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def read(cls, path: Path) -> ApiKeys:
        """Read a file with one key on each line; empty lines and lines that begin with # are skipped.

        Raises:
            ConfigError: The file cannot be read, has no key, or has one that is shorter than 16 characters.
        """
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"key file {path}", found=type(error).__name__, expected="a text file") from None
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ConfigError(f"key file {path}", found="no key", expected="one on each line")
        if short := sum(len(key) < SHORTEST_KEY for key in keys):
            expected = f"at least {SHORTEST_KEY} characters"
            raise ConfigError(f"key file {path}", found=f"{short} shorter keys", expected=expected)
        return cls(keys)

    def admit(self, key: str) -> bool:
        """Whether `key` is one of them, in a time that does not tell which or how much of it is right."""
        digest = _digest(key)
        compared = [hmac.compare_digest(digest, known) for known in self._digests]  # all, whatever the first ones say
        return any(compared)


class Guard:
    """Adds the headers, and answers 401 to who has no key: before the body is read, on all but `KEYLESS_ROUTES`."""

    def __init__(self, app: ASGIApp, keys: ApiKeys | None) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if message["status"] in UNREAD:
                    headers["Connection"] = "close"
            await send(message)

        app = self._app
        if scope["type"] == "http" and not self._may_pass(scope):
            app = JSONResponse({"error": "a valid API key is needed"}, 401, {"WWW-Authenticate": "Bearer"})
        await app(scope, receive, guarded)

    def _may_pass(self, scope: Scope) -> bool:
        if self._keys is None or scope["path"] in KEYLESS_ROUTES:
            return True
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return self._keys.admit(key)


def check_host(host: str, keys: ApiKeys | None) -> None:
    """Refuse to listen for other machines without a key. Raises ConfigError."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and keys is None:
        hint = "Give a file of keys: --keys FILE"
        raise ConfigError(f"--host {host} without a key", expected="127.0.0.1, ::1 or localhost", hint=hint)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
