"""The language model at any OpenAI-compatible endpoint: OpenAI itself, vLLM, Ollama, ...

The key comes from the environment and goes into the request's header, nowhere else. Where a server repeats it, in an
error or even in an answer, it is taken out before anybody reads the text. Redirects are not followed, and errors of the
client library are not chained, because they hold the request with its headers.
"""

from __future__ import annotations

import email.utils
import math
import os
import re
import sys
import time
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any, Final

from recalign.errors import ConfigError, TeacherError
from recalign.llm.base import CallFailed, Completion, LogprobsRefused, Question, TokenLogprobs, Usage
from recalign.llm.config import OPENAI_URL, ClientConfig

_RETRY: Final = frozenset({408, 409, 425, 429})  # and all from 500 on
_NO_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_BAD_REQUEST: Final = frozenset({400, 403, 422})  # how servers refuse a parameter
_MESSAGE: Final = 300  # characters of a server's message that are shown
_ROUNDING: Final = 1e-3  # how far above 0 rounding may lift the logarithm of a probability near 1


class EndpointTeacher:
    """An OpenAI-compatible endpoint. One user message per question; the client's own retries are off."""

    ledgered = True
    max_concurrency = None

    def __init__(self, model: str, config: ClientConfig, *, environment: Mapping[str, str] | None = None) -> None:
        """Make the client; nothing is sent.

        Raises:
            ConfigError: The package ``openai`` is missing, or there is no (usable) key where one is needed.
        """
        self.name = f"openai:{model}"
        self._model, self._url = model, config.base_url or OPENAI_URL
        self.settings: Mapping[str, object] = {"model": model, "base_url": self._url}
        self._length = config.length_parameter
        self._most_alternatives = sys.maxsize
        self._key = _key_of(config, os.environ if environment is None else environment)
        try:
            import openai
        except ImportError as error:
            hint = "Install it: pip install openai."
            raise ConfigError("teacher openai needs the package openai", hint=hint) from error
        self._errors = openai
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none",  # the client insists on one
            base_url=self._url,
            max_retries=0,
            timeout=config.deadline,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, timeout=config.deadline),
        )

    async def close(self) -> None:
        await self._client.close()

    async def complete(self, question: Question) -> Completion:
        """One call; see `recalign.llm.base.Teacher`."""
        errors = self._errors
        try:
            reply = await self._sent(question)
            return self._read(reply, logprobs=question.top_logprobs > 0)
        except errors.APIStatusError as error:
            raised: Exception = self._refused(error, logprobs=question.top_logprobs > 0)
        except errors.APITimeoutError:
            raised = CallFailed("timeout", billed=True)
        except errors.APIConnectionError as error:
            # Without a connection nothing was asked; a connection that broke later may have been billed.
            cause = type(error.__cause__).__name__
            raised = CallFailed(f"connection: {cause}", billed=cause not in ("ConnectError", "ConnectTimeout"))
        except _MalformedReply as error:
            raised = CallFailed(f"malformed reply: {error}", billed=True)
        except (errors.OpenAIError, JSONDecodeError, UnicodeDecodeError) as error:
            raised = CallFailed(f"malformed reply: {type(error).__name__}", billed=True)
        raise raised from None

    async def _sent(self, question: Question) -> Any:
        """The reply. A server that lists fewer alternatives than were asked for is asked for as many as it allows."""
        options: dict[str, Any] = {self._length: question.max_tokens, "temperature": question.temperature}
        asked = min(question.top_logprobs, self._most_alternatives)
        if asked:
            options |= {"logprobs": True, "top_logprobs": asked}
        messages: Any = [{"role": "user", "content": question.prompt}]
        try:
            return await self._client.chat.completions.create(model=self._model, messages=messages, **options)
        except self._errors.APIStatusError as error:
            allowed = _allowed_alternatives(error, asked)
            if not allowed:
                raise
            self._most_alternatives = allowed
        return await self._sent(question)

    def _read(self, reply: Any, *, logprobs: bool) -> Completion:
        """A reply of the client; servers leave fields out and put others in."""
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list) or not choices or getattr(choices[0], "message", None) is None:
            raise _MalformedReply(self._redact(_instead_of_choices(reply))[:_MESSAGE])
        message = choices[0].message
        text, refusal = _joined(getattr(message, "content", None)), getattr(message, "refusal", None)
        reason, model = getattr(choices[0], "finish_reason", None), getattr(reply, "model", None)
        return Completion(
            text=self._redact(text),
            finish_reason=self._redact(reason) if isinstance(reason, str) else None,
            usage=_usage(getattr(reply, "usage", None)),
            refusal=self._redact(refusal) if isinstance(refusal, str) and refusal else None,
            model=self._redact(model) if isinstance(model, str) else None,
            logprobs=self._keyless(_logprobs(getattr(choices[0], "logprobs", None))) if logprobs else None,
        )

    def _keyless(self, told: tuple[TokenLogprobs, ...] | None) -> tuple[TokenLogprobs, ...] | None:
        """None where the tokens spell the key: taken apart it cannot be masked, and no label needs such an answer."""
        if not self._key or told is None:
            return told
        listed = [alternative for place in told for alternative, _ in place.top]
        spelled = ["".join(place.token for place in told), *listed]
        return None if any(self._key in text for text in spelled) else told

    def _refused(self, error: Any, *, logprobs: bool) -> Exception:
        status, body = int(error.status_code), error.body
        fields = body if isinstance(body, dict) else {}
        message = self._redact(" ".join(str(fields.get("message") or body or "").split()))[:_MESSAGE]
        codes = {str(fields.get("code")), str(fields.get("type"))}
        if codes & _NO_QUOTA:
            return self._fatal(f"no quota left ({message})", "Add credit; all answers are kept in the ledger.")
        if status in _RETRY or status >= 500:
            said = f"HTTP {status} ({message})" if status >= 500 and fields.get("message") else f"HTTP {status}"
            return CallFailed(said, retry_after=_retry_after(error.response.headers))
        # Servers word it in many ways, but all name the parameter. Were it about something else, the question that is
        # then asked without it meets the same answer, and that one counts.
        if logprobs and status in _BAD_REQUEST and "logprobs" in str(body).casefold():
            found = f"HTTP {status} ({message})"
            return LogprobsRefused(f"logprobs of {self.name}", found=found, hint="Ask without: --no-logprobs.")
        hints = {
            401: "Check the key in the environment variable that --key-env names.",
            403: "Check what the key is allowed to do.",
            404: "Check --base-url and the model's name.",
        }
        return self._fatal(f"HTTP {status} ({message})", hints.get(status, "Nothing was retried."))

    def _fatal(self, found: str, hint: str) -> TeacherError:
        return TeacherError(f"teacher {self.name} at {self._url}", found=found, hint=hint)

    def _redact(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _usage(usage: Any) -> Usage | None:
    """What a reply says it was billed; None where it does not say, or nothing sensible."""
    numbers = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    known = [number for number in numbers if isinstance(number, int) and number >= 0]
    return Usage(*known) if len(known) == len(numbers) else None


def _logprobs(told: Any) -> tuple[TokenLogprobs, ...] | None:
    """What ``choices[0].logprobs`` of a reply holds, whole or not at all.

    None where it holds nothing, has another form (servers send what older APIs had), or the number of one of the
    answer's own tokens is no logarithm of a probability: a list with holes could show the wrong token as the first that
    decides. An alternative without such a number (null, -inf) is left out alone.
    """
    content = getattr(told, "content", None)
    if not isinstance(content, list) or not content:
        return None
    places = []
    for entry in content:
        own, top = _token(entry), getattr(entry, "top_logprobs", None)
        listed = [_token(alternative) for alternative in top] if isinstance(top, list) else []
        if own is None:
            return None
        places.append(TokenLogprobs(*own, tuple(pair for pair in listed if pair is not None)))
    return tuple(places)


def _token(told: Any) -> tuple[str, float] | None:
    token, value = getattr(told, "token", None), getattr(told, "logprob", None)
    if not isinstance(token, str) or not isinstance(value, int | float):
        return None
    return (token, min(float(value), 0.0)) if math.isfinite(value) and value <= _ROUNDING else None


class _MalformedReply(Exception):
    """A reply of status 200 without a message in it; its text says what there was instead."""


def _instead_of_choices(reply: Any) -> str:
    """What a reply without an answer holds, for a message: the server's own error, a page, or neither."""
    error = getattr(reply, "error", None)
    if error:
        said = error.get("message") if isinstance(error, dict) else error
        return f"an error in it: {' '.join(str(said or error).split())}"
    if isinstance(reply, str) and reply.lstrip()[:1] == "<":
        return "a page (HTML) instead of JSON; check --base-url, which often ends in /v1"
    return "no answer in it"


def _joined(content: Any) -> str:
    """The text of a message: a string, or the texts of a list of parts."""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _allowed_alternatives(error: Any, asked: int) -> int:
    """How many alternatives a server allows that refuses so many; 0 where it says nothing of it."""
    said = str(error.body)
    if int(error.status_code) not in _BAD_REQUEST or "top_logprobs" not in said:
        return 0
    numbers = [int(number) for number in re.findall(r"(?<![\w.])\d+(?![\w.]*\w)", said)]
    return max((number for number in numbers if 0 < number < asked), default=0)


def read_key(variable: str, environment: Mapping[str, str]) -> str:
    """The API key in an environment variable, or "" where there is none. Raises ConfigError where it cannot be one."""
    key = environment.get(variable, "").strip()
    if key and (not key.isascii() or not key.isprintable() or " " in key):
        raise ConfigError(f"environment variable {variable}", found="characters that no key has")
    return key


def _key_of(config: ClientConfig, environment: Mapping[str, str]) -> str:
    """The key, or "" where none is set and the endpoint is not OpenAI's own."""
    key = read_key(config.key_env, environment)
    if not key and config.base_url is None:
        hint = f"Set it: export {config.key_env}=..., or name another variable with --key-env."
        raise ConfigError(f"environment variable {config.key_env}", found="no API key", hint=hint)
    return key


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from ``Retry-After`` (a number or a date) or ``retry-after-ms``; None where there is nothing usable."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / scale
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        moment = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())
