"""The scripted server itself, spoken to without any client library."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import pytest

from recalign.data.domain import Domain
from recalign.prompting.prompts import CotFields
from recalign.prompting.template import PromptTemplate
from recalign.testing.scripted_teacher import Reply, ScriptedTeacher, answer


def post(
    server: ScriptedTeacher, prompt: str = "What?", timeout: float = 5.0, **more: Any
) -> tuple[int, dict[str, str], Any]:
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host, timeout=timeout)
    try:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}], **more})
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer k"})
        response = connection.getresponse()
        return response.status, dict(response.headers), json.loads(response.read())
    finally:
        connection.close()


def test_the_script_is_played_in_order_then_the_default() -> None:
    script = [Reply.rate_limited("7"), Reply.error(400, "bad"), Reply.length("cut"), Reply.refused("no")]
    with ScriptedTeacher(script, default=Reply.ok("fine", usage=(5, 2))) as server:
        replies = [post(server) for _ in range(6)]
    assert [status for status, _, _ in replies] == [429, 400, 200, 200, 200, 200]
    assert replies[0][1]["Retry-After"] == "7"
    choices = [reply["choices"][0] for _, _, reply in replies[2:]]
    assert choices[0]["finish_reason"] == "length"
    assert choices[1]["message"]["refusal"] == "no"
    assert choices[3]["message"]["content"] == "fine"
    assert replies[5][2]["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert [request.number for request in server.requests] == list(range(6))
    assert server.requests[0].prompt == "What?"
    assert server.requests[0].authorization == "Bearer k"


def test_hanging_and_dripping() -> None:
    with ScriptedTeacher([Reply.hang(), Reply.drip(0.05)]) as server:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            post(server, timeout=0.2)
        with pytest.raises(TimeoutError):  # each byte comes in time; all of them do not
            _read_for(server, 0.3)
        assert time.monotonic() - start < 3


def test_a_broken_connection() -> None:
    with ScriptedTeacher([Reply.disconnect()]) as server, pytest.raises((http.client.HTTPException, OSError)):
        post(server, _prompt(1))


def test_log_probabilities_are_given_ignored_or_refused() -> None:
    given = Reply.tokens(lambda prompt: [(prompt, {"No": -0.5, prompt: -1.5, "I": -3.0}), (".", {".": 0.0})])
    script = [given, given, Reply.ok("fine"), Reply.logprobs_refused(status=422)]
    with ScriptedTeacher(script, default=Reply.logprobs_refused(Reply.ok("fine"))) as server:
        wanted = {"logprobs": True, "top_logprobs": 2}
        replies = [post(server, "Yes", **wanted), post(server, "Yes")]
        replies += [post(server, "Yes", **wanted) for _ in range(2)] + [post(server, "Yes")]
    assert [status for status, _, _ in replies] == [200, 200, 200, 422, 200]
    choices = [reply.get("choices", [{}])[0] for _, _, reply in replies]
    assert [choices[place]["message"]["content"] for place in (0, 1, 2, 4)] == ["Yes.", "Yes.", "fine", "fine"]
    first, second = choices[0]["logprobs"]["content"]
    assert (first["token"], first["logprob"], first["bytes"]) == ("Yes", -1.5, [89, 101, 115])
    assert [(each["token"], each["logprob"]) for each in first["top_logprobs"]] == [("No", -0.5), ("Yes", -1.5)]
    assert [each["token"] for each in second["top_logprobs"]] == ["."]
    assert [choices[place]["logprobs"] for place in (1, 2, 4)] == [None, None, None]
    assert "logprobs" in replies[3][2]["error"]["message"]


def test_a_mistake_of_the_script_is_told() -> None:
    def wrong(_: str) -> str:
        raise LookupError("a mistake in the test")

    with (
        pytest.raises(LookupError, match="a mistake in the test"),
        ScriptedTeacher(default=Reply.ok(wrong)) as server,
        pytest.raises((http.client.HTTPException, OSError)),
    ):
        post(server)


def test_something_can_happen_before_the_reply() -> None:
    seen: list[int] = []
    with ScriptedTeacher([Reply.ok("x").doing(lambda request: seen.append(request.number))]) as server:
        post(server)
    assert seen == [0]


@pytest.mark.parametrize("domain", [Domain(noun="movie"), Domain(noun="book")])
def test_its_own_answers_are_valid(domain: Domain) -> None:
    from recalign.cot.answers import Accepted, read_answer
    from recalign.llm.base import Completion

    fields = CotFields(('"A" written by X', '"B, C" written by Y'), tuple(f"T{n}" for n in range(19)))
    template = PromptTemplate.load("tlrec-cot")
    for stage in (1, 2, 3):
        result = read_answer(stage, Completion(answer(template.cot_question(domain, stage, fields))), fields)
        assert isinstance(result, Accepted)
        fields = result.fields
    assert len(fields.pairs) == 10


def _prompt(stage: int) -> str:
    return PromptTemplate.load("tlrec-cot").cot_question(Domain(noun="movie"), stage, CotFields(("A",), ("B",)))


def _read_for(server: ScriptedTeacher, seconds: float) -> None:
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host, timeout=1)
    try:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": _prompt(1)}]})
        connection.request("POST", "/v1/chat/completions", body)
        response, end = connection.getresponse(), time.monotonic() + seconds
        while response.read(1):
            if time.monotonic() > end:
                raise TimeoutError
    finally:
        connection.close()
