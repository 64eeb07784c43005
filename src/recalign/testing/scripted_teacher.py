"""A teacher that plays a script: an OpenAI-compatible server on localhost, for tests of anything that calls a teacher.

    with ScriptedTeacher([Reply.rate_limited(retry_after="3"), Reply.hang()]) as server:
        ...  # base URL: server.base_url; what was asked: server.requests

Each request takes the next reply of the script; behind its end, `default` answers (by itself, with valid answers to the
chain-of-thought questions of the shipped template). Everything that goes wrong with endpoints can be played: limits,
refusals, hung and dripping sockets, answers that are cut or off-schema, connections that break.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Literal, Self

Manner = Literal["whole", "hang", "drip", "disconnect"]

_QUOTED: Final = re.compile(r'"[^"]*" written by [^",]+|"([^"]*)"')
_LIST: Final = re.compile(r"(?:Candidate Set|[A-Z]\w* [A-Z]\w*): ")
_COUNT: Final = re.compile(r"exactly (\d+) lines")


@dataclass(frozen=True)
class Request:
    """One request as it came in.

    Attributes:
        number: From 0.
        moment: `time.monotonic` of its arrival.
        path: Of the URL.
        authorization: Header of that name, or "".
        body: Parsed JSON.
    """

    number: int
    moment: float
    path: str
    authorization: str
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Reply:
    """What the server does with one request. Use the class methods.

    Attributes:
        status: HTTP status.
        body: The JSON document, or bytes sent as they are, or a function from the request to a document.
        headers: Additional headers.
        manner: How it is sent.
        seconds: Between two bytes of a dripping reply; else before anything is sent.
        action: Called with the request before anything is sent, for example to kill the client.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    manner: Manner = "whole"
    seconds: float = 0.0
    action: Callable[[Request], None] | None = None

    @classmethod
    def ok(
        cls,
        text: str | Callable[[str], str] | None = None,
        *,
        finish_reason: str | None = "stop",
        refusal: str | None = None,
        usage: tuple[int, int] | None = (100, 20),
    ) -> Reply:
        """An answer: `text`, or what a function makes of the prompt (`answer` if not given)."""

        def document(request: Request) -> dict[str, Any]:
            content = text if isinstance(text, str) else (text or answer)(request.prompt)
            message = {"role": "assistant", "content": content, "refusal": refusal}
            choices = [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}]
            model = request.body.get("model")
            head = {"id": f"reply-{request.number}", "object": "chat.completion", "created": 0, "model": model}
            counts = {} if usage is None else {"usage": dict(zip(_USAGE, (*usage, sum(usage)), strict=True))}
            return {**head, "choices": choices, **counts}

        return cls(body=document)

    @classmethod
    def length(cls, text: str = "The user seems to enj") -> Reply:
        """An answer that was cut off at the length limit."""
        return cls.ok(text, finish_reason="length")

    @classmethod
    def refused(cls, text: str = "I'm sorry, but I can't help with that.") -> Reply:
        """A refusal in the message's own field."""
        return cls.ok("", refusal=text)

    @classmethod
    def empty(cls) -> Reply:
        """An answer without any text."""
        return cls.ok("")

    @classmethod
    def error(cls, status: int, message: str = "scripted", code: str | None = None, **headers: str) -> Reply:
        """An error document; underscores in names of headers become hyphens."""
        body = {"error": {"message": message, "type": code, "param": None, "code": code}}
        return cls(status, body, {name.replace("_", "-"): value for name, value in headers.items()})

    @classmethod
    def rate_limited(cls, retry_after: str | None = None) -> Reply:
        """429, with or without ``Retry-After``."""
        headers = {} if retry_after is None else {"Retry_After": retry_after}
        return cls.error(429, "Rate limit reached", "rate_limit_exceeded", **headers)

    @classmethod
    def no_quota(cls) -> Reply:
        """429 that no waiting helps against."""
        return cls.error(429, "You exceeded your current quota", "insufficient_quota")

    @classmethod
    def hang(cls) -> Reply:
        """Nothing is ever sent; the connection stays open until the server ends."""
        return cls(manner="hang")

    @classmethod
    def drip(cls, seconds: float = 1.0) -> Reply:
        """A good answer, one byte every `seconds`."""
        return replace(cls.ok(), manner="drip", seconds=seconds)

    @classmethod
    def disconnect(cls) -> Reply:
        """The connection is closed in the middle of the answer."""
        return replace(cls.ok(), manner="disconnect")

    @classmethod
    def garbage(cls, content: bytes = b'{"choices": [') -> Reply:
        """Status 200 and these bytes."""
        return cls(body=content)

    def after(self, seconds: float) -> Reply:
        """The same, later."""
        return replace(self, seconds=seconds)

    def doing(self, action: Callable[[Request], None]) -> Reply:
        """The same, behind `action`."""
        return replace(self, action=action)


_USAGE: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


def answer(prompt: str) -> str:
    """A valid answer to a chain-of-thought question of the shipped English template: the first items of its lists."""
    candidates, consumed = (_items(line) for line in prompt.split("\n") if _LIST.match(line))
    if "Stage 3:" in prompt:
        asked = _COUNT.search(prompt)
        chosen = candidates[: int(asked[1])] if asked else candidates
        return "\n".join(f"{number}. {consumed[0]} - {item}" for number, item in enumerate(chosen, start=1))
    if "Stage 2:" in prompt:
        return "\n".join(f"{number}. {item}" for number, item in enumerate(consumed[:5], start=1))
    return f"The user seems to enjoy things such as {consumed[-1]}."


def _items(line: str) -> list[str]:
    return [found.group() for found in _QUOTED.finditer(line)]


class ScriptedTeacher:
    """The server; a context manager.

    Attributes:
        requests: All requests so far, in order of arrival.
        peak: Most requests that were open at once.
        mistakes: Errors of the script itself (an answer function that failed); the first is raised at the end.
    """

    def __init__(self, script: Iterable[Reply] = (), *, default: Reply | None = None) -> None:
        """Args:
        script: Replies to the first requests, in order of arrival.
        default: Reply to all further ones; `Reply.ok` if not given.
        """
        self.requests: list[Request] = []
        self.mistakes: list[BaseException] = []
        self.peak = 0
        self._open = 0
        self._script: Iterator[Reply] = iter(script)
        self._default = default or Reply.ok()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        """Address for clients."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self.mistakes and error is None:
            raise self.mistakes[0]

    def play(self, handler: BaseHTTPRequestHandler) -> None:
        """Take a request and do what the script says."""
        length = int(handler.headers.get("Content-Length") or 0)
        content = handler.rfile.read(length)
        if len(content) < length:
            raise ConnectionResetError("the client went away in the middle of its request")
        body = json.loads(content)
        with self._lock:
            authorization = handler.headers.get("Authorization") or ""
            request = Request(len(self.requests), time.monotonic(), handler.path, authorization, body)
            self.requests.append(request)
            reply = next(self._script, self._default)
            self._open += 1
            self.peak = max(self.peak, self._open)
        try:
            if reply.action:
                reply.action(request)
            self._send(handler, request, reply)
        finally:
            with self._lock:
                self._open -= 1

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

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr; `ScriptedTeacher.requests` is the log."""
