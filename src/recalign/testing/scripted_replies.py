"""What a scripted teacher is asked, and the replies that it can be told to give."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

Manner = Literal["whole", "hang", "drip", "disconnect"]
Document = dict[str, Any]  # JSON
# Tokens of an answer, each with the log probabilities of what may stand in its place, its own among them.
Tokens = Sequence[tuple[str, Mapping[str, float]]]

_QUOTED: Final = re.compile(r'"[^"]*" written by [^",]+|"([^"]*)"')
_LIST: Final = re.compile(r"(?:Candidate Set|[A-Z]\w* [A-Z]\w*): ")
_COUNT: Final = re.compile(r"exactly (\d+) lines")


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    number: int  # from 0
    moment: float  # `time.monotonic` of its arrival
    path: str
    authorization: str  # header of that name, or ""
    body: Document

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
        otherwise: What is done instead with requests that do not ask for log probabilities.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    manner: Manner = "whole"
    seconds: float = 0.0
    action: Callable[[Request], None] | None = None
    otherwise: Reply | None = None

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

        def document(request: Request) -> Document:
            content = text if isinstance(text, str) else (text or answer)(request.prompt)
            message = {"role": "assistant", "content": content, "refusal": refusal}
            choices = [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}]
            model = request.body.get("model")
            head = {"id": f"reply-{request.number}", "object": "chat.completion", "created": 0, "model": model}
            counts = {} if usage is None else {"usage": dict(zip(_USAGE, (*usage, sum(usage)), strict=True))}
            return {**head, "choices": choices, **counts}

        return cls(body=document)

    @classmethod
    def tokens(cls, tokens: Tokens | Callable[[str], Tokens], text: str | None = None, **options: Any) -> Reply:
        """An answer of these tokens, or those that a function makes of the prompt; options are those of `ok`.

        Their log probabilities are given where they are asked for, as many alternatives as are asked for. `text` is the
        message, where it is not what the tokens spell (a server that shows no thoughts).
        """

        def document(request: Request) -> Document:
            told = tokens(request.prompt) if callable(tokens) else tokens
            content = "".join(token for token, _ in told) if text is None else text
            reply: Document = cls.ok(content, **options).body(request)
            if request.body.get("logprobs"):
                count = int(request.body.get("top_logprobs") or 0)
                listed = [_told(token, likely[token], top_logprobs=_top(likely, count)) for token, likely in told]
                reply["choices"][0]["logprobs"] = {"content": listed, "refusal": None}
            return reply

        return cls(body=document)

    @classmethod
    def logprobs_refused(
        cls,
        otherwise: Reply | None = None,
        *,
        status: int = 400,
        message: str = "This model does not support the 'logprobs' parameter.",
    ) -> Reply:
        """An error where log probabilities are asked for; else `otherwise` (`ok` if not given)."""
        return replace(cls.error(status, message), otherwise=otherwise or cls.ok())

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

    def to(self, request: Request) -> Reply:
        """The reply to this request."""
        return self.otherwise if self.otherwise is not None and not request.body.get("logprobs") else self

    def after(self, seconds: float) -> Reply:
        """The same, later."""
        return replace(self, seconds=seconds)

    def doing(self, action: Callable[[Request], None]) -> Reply:
        """The same, after `action`."""
        return replace(self, action=action)


_USAGE: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


def _told(token: str, logprob: float, **more: object) -> Document:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), **more}


def _top(likely: Mapping[str, float], count: int) -> list[Document]:
    """The `count` likeliest tokens, the likeliest first."""
    return [_told(*pair) for pair in sorted(likely.items(), key=lambda pair: -pair[1])[:count]]


def answer(prompt: str) -> str:
    """A valid answer to a chain-of-thought question of the shipped English template: the first items of its lists."""
    lists = (line for line in prompt.split("\n") if _LIST.match(line))
    candidates, consumed = ([item.group() for item in _QUOTED.finditer(line)] for line in lists)
    if "Stage 3:" in prompt:
        asked = _COUNT.search(prompt)
        chosen = candidates[: int(asked[1])] if asked else candidates
        return "\n".join(f"{number}. {consumed[0]} - {item}" for number, item in enumerate(chosen, start=1))
    if "Stage 2:" in prompt:
        return "\n".join(f"{number}. {item}" for number, item in enumerate(consumed[:5], start=1))
    return f"The user seems to enjoy things such as {consumed[-1]}."
