"""A teacher that plays a script: an OpenAI-compatible server on localhost, for tests of anything that calls a teacher.

    with ScriptedTeacher([Reply.rate_limited(retry_after="3"), Reply.hang()]) as server:
        ...  # base URL: server.base_url; what was asked: server.requests

Each request takes the next reply of the script. After its end, `default` answers: unless told otherwise, with valid
answers to the chain-of-thought questions of the shipped template. The class methods of `Reply` are what can be played.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from recalign.testing.scripted_replies import Reply, Request, answer
from recalign.testing.scripted_server import ScriptedServer

__all__ = ["Reply", "Request", "ScriptedTeacher", "answer"]


class ScriptedTeacher(ScriptedServer):
    """The server; a context manager.

    Attributes:
        requests: All requests so far, in order of arrival.
        peak: Most requests that were open at once.
        mistakes: Errors of the script itself (an answer function that failed); the first is raised at the end.
    """

    def __init__(self, script: Iterable[Reply] = (), *, default: Reply | None = None) -> None:
        """Answer the first requests with `script`, in order of arrival, and all further ones with `default`."""
        self.requests: list[Request] = []
        self.mistakes: list[BaseException] = []
        self.peak = 0
        self._open = 0
        self._script: Iterator[Reply] = iter(script)
        self._default = default or Reply.ok()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        super().__init__(_Server(("127.0.0.1", 0), self))

    @property
    def base_url(self) -> str:
        """Address for clients of OpenAI's API."""
        return f"{self.address}/v1"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        super().__exit__(kind, error, trace)
        if self.mistakes and error is None:
            raise self.mistakes[0]

    def play(self, handler: BaseHTTPRequestHandler) -> None:
        """Take a request and do what the script says."""
        length = int(handler.headers.get("Content-Length") or 0)
        content = handler.rfile.read(length)
        if len(content) < length:
            raise ConnectionResetError("the client went away in the middle of its request")
        body = json.loads(content or b"{}")
        with self._lock:
            authorization = handler.headers.get("Authorization") or ""
            request = Request(len(self.requests), time.monotonic(), handler.path, authorization, body)
            self.requests.append(request)
            reply = self.reply(request)
            self._open += 1
            self.peak = max(self.peak, self._open)
        try:
            if reply.action:
                reply.action(request)
            self._send(handler, request, reply)
        finally:
            with self._lock:
                self._open -= 1

    def reply(self, request: Request) -> Reply:
        """What a request is answered."""
        return next(self._script, self._default).to(request)

    def _send(self, handler: BaseHTTPRequestHandler, request: Request, reply: Reply) -> None:
        if reply.manner == "hang":
            self._closing.wait()
            return
        if reply.manner != "drip":
            self._closing.wait(reply.seconds)
        document = reply.body(request) if callable(reply.body) else reply.body
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if reply.manner == "drip":
            for place in range(len(content)):
                if self._closing.wait(reply.seconds):
                    return
                handler.wfile.write(content[place : place + 1])
                handler.wfile.flush()
        elif reply.manner == "disconnect":
            handler.wfile.write(content[: len(content) // 2])
            handler.close_connection = True
        else:
            handler.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], teacher: ScriptedTeacher) -> None:
        self.teacher = teacher
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up or are killed belong to the script; anything else is told at the end."""
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.teacher.mistakes.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each reply of two pieces takes 40 ms

    def do_POST(self) -> None:
        """Every address answers."""
        assert isinstance(self.server, _Server)
        self.server.teacher.play(self)

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr; `ScriptedTeacher.requests` is the log."""
