"""Log probabilities: read from replies whole or not at all, kept in the ledger, refused by some endpoints."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recalign.errors import TeacherError
from recalign.llm.base import CallFailed, Completion, LogprobsRefused, Question, TokenLogprobs, Usage
from recalign.llm.calls import Calls, Clock
from recalign.llm.config import ClientConfig
from recalign.llm.endpoint import EndpointTeacher
from recalign.llm.ledger import Exchange, Ledger
from recalign.testing.scripted_teacher import Reply, ScriptedTeacher

PLAIN = Question("What?", 9, 0.0)
ASKED = replace(PLAIN, top_logprobs=2)
YES = [("Yes", {"Yes": -0.25, "No": -1.75, "Perhaps": -4.0}), (".", {".": 0.0})]
TOLD = (
    TokenLogprobs("Yes", -0.25, (("Yes", -0.25), ("No", -1.75))),
    TokenLogprobs(".", 0.0, ((".", 0.0),)),
)


def ask(server: ScriptedTeacher, question: Question = ASKED, key: str = "") -> Completion:
    config = ClientConfig(base_url=server.base_url)

    async def call() -> Completion:
        teacher = EndpointTeacher("m", config, environment={"OPENAI_API_KEY": key})
        try:
            return await teacher.complete(question)
        finally:
            await teacher.close()

    return asyncio.run(call())


def test_they_are_asked_for_and_read() -> None:
    with ScriptedTeacher(default=Reply.tokens(YES)) as server:
        assert ask(server) == Completion("Yes.", "stop", Usage(100, 20), None, "m", TOLD)
        assert ask(server, PLAIN).logprobs is None
    first, second = (request.body for request in server.requests)
    assert (first["logprobs"], first["top_logprobs"]) == (True, 2)
    assert not {"logprobs", "top_logprobs"} & set(second)


def test_an_endpoint_that_ignores_them() -> None:
    with ScriptedTeacher(default=Reply.ok("Yes.")) as server:
        assert ask(server) == Completion("Yes.", "stop", Usage(100, 20), None, "m")


@pytest.mark.parametrize(
    "told",
    [
        {},
        [],
        {"content": None},
        {"content": []},
        {"content": [None]},
        {"content": [{"token": "Yes"}]},
        {"content": [{"token": 5, "logprob": -1}]},
        {"content": [{"token": "Yes", "logprob": "-1"}]},
        {"content": [{"token": "Yes", "logprob": 3.5}]},  # no probability has this logarithm
        {"content": [{"token": "Yes", "logprob": float("nan")}]},
        {"content": [{"token": "Yes", "logprob": -1, "top_logprobs": []}, {"token": "."}]},
        {"tokens": ["Yes"], "token_logprobs": [-0.25], "top_logprobs": [{"Yes": -0.25, "No": -1.75}]},
    ],
)
def test_other_forms_are_none(told: Any) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Yes."}, "logprobs": told}
    with ScriptedTeacher([Reply.garbage(json.dumps({"choices": [choice]}).encode())]) as server:
        completion = ask(server)
    assert (completion.text, completion.logprobs) == ("Yes.", None)


def test_lists_may_be_left_out_and_rounding_may_pass_one() -> None:
    content = [{"token": "Yes", "logprob": 1e-7, "top_logprobs": None}, {"token": ".", "logprob": -9999.0}]
    choice = {"message": {"content": "Yes."}, "logprobs": {"content": content}}
    with ScriptedTeacher([Reply.garbage(json.dumps({"choices": [choice]}).encode())]) as server:
        assert ask(server).logprobs == (TokenLogprobs("Yes", 0.0), TokenLogprobs(".", -9999.0))


def test_an_alternative_without_a_number_is_left_out_alone() -> None:
    """Servers say null or -Infinity of what a grammar forbids; the others of the list still count."""
    listed = [
        {"token": "No", "logprob": None},
        {"token": "Y", "logprob": float("-inf")},
        {"token": "no", "logprob": -2},
    ]
    content = [{"token": "Yes", "logprob": -1, "top_logprobs": listed}]
    choice = {"message": {"content": "Yes"}, "logprobs": {"content": content}}
    with ScriptedTeacher([Reply.garbage(json.dumps({"choices": [choice]}).encode())]) as server:
        assert ask(server).logprobs == (TokenLogprobs("Yes", -1.0, (("no", -2.0),)),)


@pytest.mark.parametrize(
    "message",
    [
        "top_logprobs must be less than or equal to 1",
        "Invalid value for 'top_logprobs': must be between 0 and 1.",
        "top_logprobs: Input should be less than or equal to 1, got 2 (see v1.2)",
    ],
)
def test_a_server_that_lists_fewer_is_asked_for_as_many_as_it_allows(message: str) -> None:
    with ScriptedTeacher([Reply.error(400, message)], default=Reply.tokens(YES)) as server:
        told = ask(server).logprobs
    assert told is not None
    assert told[0] == TokenLogprobs("Yes", -0.25, (("Yes", -0.25),))
    assert [request.body["top_logprobs"] for request in server.requests] == [2, 1]


def test_tokens_that_spell_the_key_are_dropped() -> None:
    key = "sk-canary-1234"
    spelled = [("Yes", {"Yes": -0.1, "No": -2.0}), (" sk-can", {" sk-can": -0.1}), ("ary-1234", {"ary-1234": -0.1})]
    listed = [("Yes", {"Yes": -0.1, f"No{key}": -2.0})]
    with ScriptedTeacher([Reply.tokens(spelled), Reply.tokens(listed), Reply.tokens(YES)]) as server:
        first, second, third = (ask(server, key=key) for _ in range(3))
    assert (first.text, first.logprobs) == ("Yes [key]", None)
    assert (second.text, second.logprobs) == ("Yes", None)
    assert third.logprobs == TOLD


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model does not support the 'logprobs' parameter."),
        (400, "Logprobs is not enabled for models/x"),
        (403, "You are not allowed to request logprobs from this model"),
        (422, "top_logprobs: Extra inputs are not permitted"),
    ],
)
def test_endpoints_that_refuse_them(status: int, message: str) -> None:
    refusing = Reply.logprobs_refused(Reply.ok("Yes."), status=status, message=message)
    with ScriptedTeacher(default=refusing) as server:
        with pytest.raises(LogprobsRefused, match="--no-logprobs") as refusal:
            ask(server)
        assert ask(server, PLAIN).text == "Yes."
    assert refusal.value.found == f"HTTP {status} ({message})"


def test_the_parameter_may_be_named_outside_of_the_message() -> None:
    body = {"detail": [{"loc": ["body", "logprobs"], "msg": "Extra inputs are not permitted"}]}
    with ScriptedTeacher([Reply(422, body)]) as server, pytest.raises(LogprobsRefused, match="HTTP 422"):
        ask(server)


@pytest.mark.parametrize(
    ("reply", "question"),
    [(Reply.error(400, "no such model"), ASKED), (Reply.error(400, "no logprobs"), PLAIN), (Reply.error(401), ASKED)],
)
def test_other_refusals_end_the_run(reply: Reply, question: Question) -> None:
    with ScriptedTeacher([reply]) as server, pytest.raises(TeacherError) as stop:
        ask(server, question)
    assert not isinstance(stop.value, LogprobsRefused)


def test_a_server_in_trouble_is_asked_again_with_them() -> None:
    with ScriptedTeacher([Reply.error(500, "logprobs")]) as server, pytest.raises(CallFailed, match="HTTP 500"):
        ask(server)


def calls(server: ScriptedTeacher, ledger: Ledger) -> Calls[Question]:
    config = ClientConfig(base_url=server.base_url, attempts=3)
    return Calls(EndpointTeacher("m", config, environment={}), config, ledger, template={"t": 1}, clock=Clock())


def test_calls_with_and_without_are_other_calls(tmp_path: Path) -> None:
    async def run(server: ScriptedTeacher, ledger: Ledger) -> None:
        desk = calls(server, ledger)
        assert len({desk.key(PLAIN), desk.key(ASKED), desk.key(replace(ASKED, top_logprobs=5))}) == 3
        for question, told in ((ASKED, TOLD), (PLAIN, None), (ASKED, TOLD), (PLAIN, None)):
            assert (await desk.ask(question)).exchange.completion.logprobs == told
        assert desk.stored(ASKED)
        assert desk.stored(PLAIN)
        assert not desk.stored(replace(PLAIN, prompt="Other?"))
        await desk.teacher.close()

    with ScriptedTeacher(default=Reply.tokens(YES)) as server, Ledger(tmp_path / "ledger") as ledger:
        asyncio.run(run(server, ledger))
        assert len(server.requests) == 2


def test_a_refusal_is_not_tried_again_and_costs_nothing(tmp_path: Path) -> None:
    async def run(server: ScriptedTeacher, ledger: Ledger) -> None:
        desk = calls(server, ledger)
        with pytest.raises(LogprobsRefused):
            await desk.ask(ASKED)
        assert desk.budget.spent == ledger.spent() == Usage(0, 0)
        await desk.teacher.close()

    with ScriptedTeacher(default=Reply.logprobs_refused()) as server, Ledger(tmp_path / "ledger") as ledger:
        asyncio.run(run(server, ledger))
        assert len(server.requests) == 1


def test_the_ledger_gives_them_back_and_writes_others_as_before(tmp_path: Path) -> None:
    with_them, without = (
        Exchange(Completion("Yes.", logprobs=TOLD), "t0", "t1"),
        Exchange(Completion("Yes."), "t0", "t1"),
    )
    with Ledger(tmp_path / "ledger") as ledger:
        for key, exchange in (("with", with_them), ("without", without)):
            ledger.finish(ledger.begin(Usage(1, 1)), key, exchange, Usage(1, 1))
    with Ledger(tmp_path / "ledger") as ledger:
        assert ledger.get("with") == with_them
        assert ledger.get("without") == without
    connection = sqlite3.connect(tmp_path / "ledger")
    body = connection.execute("SELECT body FROM exchange WHERE key = 'without'").fetchone()[0]
    connection.close()
    # What a ledger of the first format holds, field for field: older ledgers are read, and older keys found.
    old = '{"finish_reason": "stop", "model": null, "refusal": null, "text": "Yes.", "usage": null}'
    assert body == f'{{"answered": "t1", "asked": "t0", "completion": {old}}}'


def test_keys_do_not_change(tmp_path: Path) -> None:
    """These keys stand in ledgers: another value would have every paid answer asked again."""
    config = ClientConfig(base_url="http://localhost:1/v1")
    wording = {"template": "tlrec-cot", "task": "in-context"}
    question = Question("Was mag die Nutzerin? Amélie", 9, 0.0)
    with Ledger(tmp_path / "ledger") as ledger:
        teacher = EndpointTeacher("m", config, environment={})
        calls = Calls(teacher, config, ledger, template=wording, clock=Clock())
        keys = [calls.key(question), calls.key(replace(question, top_logprobs=20))]
    assert keys == [
        "e2ede7d94fc8b725b9f28b8f66b54316db08bc1d1ce2b65d9e096c2456aebfed",
        "11382e36bd53897e0222cc2a6c2b54bbd955316a6cc17a8a4ddd2654cf350f51",
    ]


def test_keys_of_older_ledgers_are_found(tmp_path: Path) -> None:
    from recalign.artifacts import fingerprint

    config = ClientConfig(base_url="http://localhost:1/v1")
    settings = {"model": "m", "base_url": "http://localhost:1/v1"}
    old = {"format": 1, "teacher": "openai:m", "settings": settings, "t": 1}
    old |= {"prompt": "What?", "max_tokens": 9, "temperature": 0.0}
    with Ledger(tmp_path / "ledger") as ledger:
        teacher = EndpointTeacher("m", config, environment={})
        assert Calls(teacher, config, ledger, template={"t": 1}, clock=Clock()).key(PLAIN) == fingerprint(old)
