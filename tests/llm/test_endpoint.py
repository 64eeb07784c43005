"""The client of endpoints: keys, replies in odd forms. (Faults on the whole way are in test_faults.)"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from recalign.errors import ConfigError
from recalign.llm.base import CallFailed, Completion, Question, Teacher, Usage
from recalign.llm.config import OPENAI_URL, ClientConfig
from recalign.llm.endpoint import EndpointTeacher
from recalign.testing.scripted_teacher import Reply, ScriptedTeacher

QUESTION = Question("What?", 99, 0.5)


def ask(server: ScriptedTeacher, environment: dict[str, str] | None = None, **settings: Any) -> Completion:
    config = ClientConfig(base_url=server.base_url, **settings)

    async def call() -> Completion:
        teacher = EndpointTeacher("m", config, environment=environment)
        try:
            return await teacher.complete(QUESTION)
        finally:
            await teacher.close()

    return asyncio.run(call())


def test_a_key_is_needed_where_openai_is_asked() -> None:
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY; found no API key.*--key-env"):
        EndpointTeacher("m", ClientConfig(), environment={})
    teacher = EndpointTeacher("m", ClientConfig(), environment={"OPENAI_API_KEY": "k"})
    assert teacher.settings == {"model": "m", "base_url": OPENAI_URL}
    assert isinstance(teacher, Teacher)


def test_a_key_of_another_name_and_none_at_all() -> None:
    with ScriptedTeacher(default=Reply.ok("Fine, thank you.")) as server:
        ask(server, {"MY_KEY": "abc", "OPENAI_API_KEY": "not this one"}, key_env="MY_KEY")
        ask(server, {})
    assert [request.authorization for request in server.requests] == ["Bearer abc", "Bearer none"]


@pytest.mark.parametrize("key", ["sk-ä", "two words", "line\nbreak"])
def test_what_is_no_key_is_not_shown(key: str) -> None:
    with pytest.raises(ConfigError) as stop:
        EndpointTeacher("m", ClientConfig(), environment={"OPENAI_API_KEY": key})
    assert key not in str(stop.value)


def test_the_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match="pip install openai"):
        EndpointTeacher("m", ClientConfig(), environment={"OPENAI_API_KEY": "k"})


def test_what_is_read_of_a_reply() -> None:
    with ScriptedTeacher(
        [Reply.ok("Fine.", usage=(7, 3)), Reply.ok("Fine.", usage=None, finish_reason=None)]
    ) as server:
        assert ask(server) == Completion("Fine.", "stop", Usage(7, 3), None, "m")
        assert ask(server, length_parameter="max_completion_tokens") == Completion("Fine.", None, None, None, "m")
    first, second = (request.body for request in server.requests)
    assert (first["max_tokens"], first["temperature"]) == (99, 0.5)
    assert second["max_completion_tokens"] == 99
    assert "max_tokens" not in second


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": null}]}',
        b"<html>",
        b'"\xff"',
    ],
)
def test_replies_that_are_none(body: bytes) -> None:
    with ScriptedTeacher([Reply.garbage(body)]) as server, pytest.raises(CallFailed, match="malformed reply") as stop:
        ask(server)
    assert stop.value.billed


@pytest.mark.parametrize(
    "message",
    [
        b'{"content": null}',
        b'{"content": ["a"]}',
        b"{}",
        b'{"content": 5}',
        b'{"content": null, "reasoning_content": "Yes"}',
    ],
)
def test_messages_without_text_are_empty(message: bytes) -> None:
    body = b'{"choices": [{"message": ' + message + b'}], "usage": {"prompt_tokens": -1, "completion_tokens": "x"}}'
    with ScriptedTeacher([Reply.garbage(body)]) as server:
        completion = ask(server)
    assert (completion.text, completion.usage) == ("", None)


def test_a_message_may_come_in_parts() -> None:
    parts = b'[{"type": "text", "text": "Ye"}, {"type": "image_url", "text": null}, {"type": "text", "text": "s."}]'
    with ScriptedTeacher([Reply.garbage(b'{"choices": [{"message": {"content": ' + parts + b"}}]}")]) as server:
        assert ask(server).text == "Yes."


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            Reply.garbage(b'{"error": {"message": "model \\n overloaded", "code": 502}}'),
            "an error in it: model overloaded",
        ),
        (Reply.garbage(b'{"error": "quota"}'), "an error in it: quota"),
        (Reply.error(500, "CUDA out of memory"), r"HTTP 500 \(CUDA out of memory\)"),
        (Reply.garbage(b"{}"), "no answer in it"),
    ],
)
def test_what_a_server_says_of_its_trouble_is_shown_in_one_line(reply: Reply, message: str) -> None:
    with ScriptedTeacher([reply]) as server, pytest.raises(CallFailed, match=message) as stop:
        ask(server)
    assert "\n" not in stop.value.reason


def test_a_key_in_a_servers_message_is_masked_before_the_message_is_cut() -> None:
    key = "sk-canary-1234"
    for filler in range(270, 301):
        body = b'{"error": "' + b"x" * filler + key.encode() + b'"}'
        with ScriptedTeacher([Reply.garbage(body)]) as server, pytest.raises(CallFailed) as stop:
            ask(server, {"OPENAI_API_KEY": key})
        assert "sk-" not in stop.value.reason


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry_After": "1.5"}, 1.5), ({"retry_after_ms": "250"}, 0.25), ({"Retry_After": "-3"}, None), ({}, None)],
)
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_may_be_tried_again(status: int, headers: dict[str, str], seconds: float | None) -> None:
    with ScriptedTeacher([Reply.error(status, **headers)]) as server, pytest.raises(CallFailed) as stop:
        ask(server)
    assert len(server.requests) == 1, "the client library itself tries nothing again"
    assert (stop.value.retry_after, stop.value.billed) == (seconds, False)


def test_nobody_there() -> None:
    with ScriptedTeacher() as server:
        pass
    with pytest.raises(CallFailed, match="connection: ConnectError") as stop:
        ask(server)
    assert not stop.value.billed
