"""What goes wrong with endpoints, played by a scripted server on localhost: the whole way from data to artefact."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recalign.artifacts import read_manifest
from recalign.cot.config import TeachConfig
from recalign.cot.statistics import TeachStatistics
from recalign.cot.teach import teach
from recalign.cot.teachers import make_teacher
from recalign.data.samples import SampleSet
from recalign.errors import TeacherError
from recalign.llm.endpoint import EndpointTeacher
from recalign.llm.ledger import Ledger, ledger_path
from recalign.testing.scripted_teacher import Reply, Request, ScriptedTeacher, answer

from ..llm.conftest import FakeClock

MODEL = "openai:test-model"
ROWS = ("stage1.jsonl", "stage2.jsonl", "stage3.jsonl")


class Desk:
    """Calls `teach` against one server, with little data."""

    def __init__(self, samples: SampleSet, folder: Path, clock: FakeClock) -> None:
        self.samples, self.output, self.clock = samples, folder / "cot", clock

    def config(self, server: ScriptedTeacher, **settings: Any) -> TeachConfig:
        usual = {
            "teacher": MODEL,
            "base_url": server.base_url,
            "limit": 60,
            "filter": "valid-only",
            "concurrency": 1,
        }
        return TeachConfig.model_validate({**usual, **settings})

    def teach(self, server: ScriptedTeacher, **settings: Any) -> TeachStatistics:
        config = self.config(server, **settings)
        teacher = make_teacher(self.samples, config)
        return teach(self.samples, teacher, config, self.output, overwrite=True, clock=self.clock)

    def rows(self) -> list[str]:
        return [(self.output / name).read_text() for name in ROWS]

    @property
    def ledger(self) -> Ledger:
        return Ledger(ledger_path(self.output))


@pytest.fixture
def desk(movies: SampleSet, tmp_path: Path, clock: FakeClock) -> Desk:
    return Desk(movies, tmp_path, clock)


def test_a_run_without_faults(desk: Desk) -> None:
    with ScriptedTeacher() as server:
        statistics = desk.teach(server)
    assert statistics.kept == statistics.valid == statistics.asked > 3
    assert len(server.requests) == 3 * statistics.asked == statistics.calls
    first = server.requests[0]
    assert first.path == "/v1/chat/completions"
    assert {name: first.body[name] for name in ("model", "temperature", "max_tokens")} == {
        "model": "test-model",
        "temperature": 0.2,
        "max_tokens": 512,
    }
    assert "Stage 3:" in server.requests[2].prompt
    assert "<Answer 1>: The user seems to enjoy" in server.requests[2].prompt, "each prompt carries the answers before"
    assert [len(text.splitlines()) for text in desk.rows()] == [statistics.kept] * 3


@pytest.mark.parametrize("told", ["3", "soon", None])
def test_429_waits_as_told_or_at_random(desk: Desk, told: str | None) -> None:
    with ScriptedTeacher([Reply.rate_limited(told)] * 3) as server:
        statistics = desk.teach(server)
    assert statistics.failed_attempts == {"HTTP 429": 3}
    assert len(server.requests) == 3 * statistics.asked + 3
    waits = desk.clock.waits
    assert len(waits) == 3
    if told == "3":
        assert all(3.0 <= wait < 4.0 for wait in waits)
    else:
        assert all(wait <= 2.0**attempt for attempt, wait in enumerate(waits))


def test_retry_after_as_a_date(desk: Desk) -> None:
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 50))
    with ScriptedTeacher([Reply.rate_limited(soon)]) as server:
        desk.teach(server)
    assert 45 < desk.clock.waits[0] < 52


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply.error(401, "Incorrect API key provided"), "HTTP 401.*--key-env names"),
        (Reply.error(400, "Unsupported parameter: max_tokens"), "HTTP 400 .Unsupported parameter"),
        (Reply.error(403, "not yours"), "HTTP 403"),
        (Reply.error(404, "no such model"), "HTTP 404.*the model's name"),
        (Reply.no_quota(), "no quota left"),
        (Reply.error(302, "elsewhere", Location="http://127.0.0.1:9/"), "HTTP 302"),
    ],
)
def test_what_no_retry_helps_against_stops_at_once(desk: Desk, reply: Reply, message: str) -> None:
    with ScriptedTeacher([Reply.ok(), reply]) as server, pytest.raises(TeacherError, match=message):
        desk.teach(server)
    assert len(server.requests) == 2
    assert desk.clock.waits == []
    assert not desk.output.exists()
    with desk.ledger as ledger:
        assert (ledger.count(), ledger.spent().total, ledger.pending) == (1, 120, 0), "the first answer is kept"


@pytest.mark.parametrize("reply", [Reply.hang(), Reply.drip(0.05)])
def test_hung_and_dripping_sockets_end_at_the_deadline(desk: Desk, reply: Reply) -> None:
    start = time.monotonic()
    with ScriptedTeacher([reply]) as server:
        statistics = desk.teach(server, deadline=0.4)
        seconds = time.monotonic() - start
    assert statistics.failed_attempts == {"no complete answer within 0.4 s": 1}
    assert statistics.kept == statistics.asked, "the second attempt had an answer"
    assert 0.3 < server.requests[1].moment - server.requests[0].moment < 3
    assert seconds < 10


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply.length(), "stage 1: cut at the length limit"),
        (Reply.refused(), "stage 1: refusal"),
        (Reply.ok("I'm sorry, but I can't assist with that request."), "stage 1: refusal"),
        (Reply.ok("", finish_reason="content_filter"), "stage 1: refusal"),
        (Reply.empty(), "stage 1: empty"),
        (Reply.ok("Movies."), "stage 1: off-schema"),
    ],
)
def test_bad_answers_are_rejected_counted_and_no_success(desk: Desk, reply: Reply, reason: str) -> None:
    with ScriptedTeacher([reply]) as server:
        statistics = desk.teach(server)
        rejected = server.requests[0].prompt
        assert statistics.dropped == {reason: 1}
        assert statistics.kept == statistics.asked - 1
        assert not any(json.loads(line)["sample_id"] in _dropped(desk) for line in desk.rows()[0].splitlines())
        asked = len(server.requests)
        again = desk.teach(server)
        assert (again.dropped, len(server.requests)) == ({reason: 1}, asked), "rejected still, and not paid for twice"
        mended = desk.teach(server, retry_rejected=True)
        assert (mended.dropped, mended.kept) == ({}, mended.asked)
        assert server.requests[asked].prompt == rejected


@pytest.mark.parametrize("step", [2, 3])
def test_lists_that_name_nothing_known_are_off_schema(desk: Desk, step: int) -> None:
    def play(prompt: str) -> str:
        return '1. "No Such Movie" - "Nor This One"' if f"Stage {step}:" in prompt.split("\n\n")[1] else answer(prompt)

    with ScriptedTeacher(default=Reply.ok(play)) as server, pytest.raises(TeacherError, match="no sample was kept"):
        desk.teach(server)
    assert max(prompt_step(request) for request in server.requests) == step


@pytest.mark.parametrize("reply", [Reply.garbage(), Reply.garbage(b"{}"), Reply.garbage(b""), Reply.disconnect()])
def test_replies_that_are_none_are_tried_again(desk: Desk, reply: Reply) -> None:
    with ScriptedTeacher([reply]) as server:
        statistics = desk.teach(server)
    assert sum(statistics.failed_attempts.values()) == 1
    assert statistics.kept == statistics.asked


def test_a_teacher_that_is_gone_ends_the_run(desk: Desk) -> None:
    with (
        ScriptedTeacher(default=Reply.error(500)) as server,
        pytest.raises(TeacherError, match=r"4 questions in a row given up, the last for: HTTP 500"),
    ):
        desk.teach(server, failures=4, attempts=2)
    assert len(server.requests) == 8


def test_one_question_without_an_answer_is_one_lost_sample(desk: Desk) -> None:
    with ScriptedTeacher([Reply.error(500)] * 2) as server:
        statistics = desk.teach(server, attempts=2)
    assert statistics.dropped == {"stage 1: no answer": 1}
    assert statistics.kept == statistics.asked - 1


def test_permits_are_never_exceeded_and_never_lost(desk: Desk) -> None:
    """A storm of failures; then four replies that are sent only once four requests are open at the same time."""
    kinds = [Reply.rate_limited(), Reply.error(503), Reply.disconnect(), Reply.ok(), Reply.length()]
    together = threading.Barrier(4, timeout=20)
    storm = [Reply.hang()] * 4 + kinds * 4
    meeting = [Reply.ok().doing(lambda _: together.wait())] * 4
    with ScriptedTeacher([*storm, *meeting]) as server:
        statistics = desk.teach(server, concurrency=4, deadline=2.0, attempts=9, limit=120)
    assert not together.broken, "four workers were left"
    assert statistics.kept + sum(statistics.dropped.values()) == statistics.asked
    assert server.peak <= 4 + 4, "what hangs is still open at the server when its client has gone"


@pytest.mark.parametrize("concurrency", [1, 6])
def test_the_budget_stops_before_it_is_overspent(desk: Desk, concurrency: int) -> None:
    with ScriptedTeacher() as server, pytest.raises(TeacherError, match="budget is used up"):
        desk.teach(server, max_tokens_total=9000, concurrency=concurrency)
    sent = len(server.requests)
    with desk.ledger as ledger:
        assert ledger.spent().total == 120 * sent
        assert 9000 - 5000 < ledger.spent().total <= 9000
        assert (ledger.count(), ledger.pending) == (sent, 0), "whatever was paid for is kept"
    with ScriptedTeacher() as server, pytest.raises(TeacherError, match="budget is used up"):
        desk.teach(server, max_cost=0.05, price_in=10.0, price_out=30.0)


def test_a_resumed_run_counts_what_was_spent_before(desk: Desk) -> None:
    with ScriptedTeacher() as server:
        with pytest.raises(TeacherError, match="budget is used up"):
            desk.teach(server, max_tokens_total=6000)
        sent = len(server.requests)
        with pytest.raises(TeacherError, match="budget is used up"):
            desk.teach(server, max_tokens_total=6000)
        assert len(server.requests) == sent, "nothing is left of it"
        statistics = desk.teach(server)
        assert (statistics.from_ledger, statistics.calls) == (sent, 3 * statistics.asked - sent)


@pytest.mark.parametrize(
    "changed", [{"temperature": 0.3}, {"max_tokens": 500}, {"teacher": "openai:other"}, {"recommend": 9}]
)
def test_changed_settings_are_asked_anew(desk: Desk, changed: dict[str, Any]) -> None:
    with ScriptedTeacher() as server:
        statistics = desk.teach(server)
        assert desk.teach(server).calls == 0
        again = desk.teach(server, **changed)
    steps = 1 if "recommend" in changed else 3  # the first two prompts do not say how many are wanted
    assert again.calls == steps * statistics.asked


def test_a_torn_record_is_asked_again(desk: Desk) -> None:
    import sqlite3

    with ScriptedTeacher() as server:
        desk.teach(server)
        rows, sent = desk.rows(), len(server.requests)
        connection = sqlite3.connect(ledger_path(desk.output))
        connection.execute("UPDATE exchange SET body = substr(body, 1, 30) WHERE rowid = 2")
        connection.commit()
        connection.close()
        statistics = desk.teach(server)
        assert (len(server.requests), statistics.damaged) == (sent + 1, 1)
        assert server.requests[-1].prompt == server.requests[1].prompt
    assert desk.rows() == rows


CLIENT = "from recalign.cli.main import run; run()"


def _client(samples: SampleSet, output: Path, server: ScriptedTeacher) -> list[str]:
    options = {
        "--teacher": MODEL,
        "--base-url": server.base_url,
        "--output": str(output),
        "--limit": "60",
        "--filter": "valid-only",
        "--set": "concurrency=3",
    }
    flat = [part for option in options.items() for part in option]
    return [sys.executable, "-c", CLIENT, "teach", str(samples.path), *flat]


@pytest.mark.slow
def test_a_killed_client_repeats_only_what_was_in_flight(movies: SampleSet, tmp_path: Path, key: str) -> None:
    killed = threading.Event()
    process: list[subprocess.Popen[bytes]] = []

    def kill(_: Request) -> None:
        os.kill(process[0].pid, signal.SIGKILL)
        process[0].wait()
        killed.set()

    script = [Reply.ok().after(0.02)] * 10 + [Reply.ok().doing(kill)]
    with ScriptedTeacher(script, default=Reply.ok().after(0.02)) as server:
        process.append(subprocess.Popen(_client(movies, tmp_path / "cut", server), stderr=subprocess.DEVNULL))
        assert killed.wait(120)
        time.sleep(0.1)  # what the client had sent before it died has arrived by then
        before = [request.prompt for request in server.requests]
        assert not (tmp_path / "cut").exists()
        done = subprocess.run(_client(movies, tmp_path / "cut", server), capture_output=True, text=True, check=True)
        asked = Counter(request.prompt for request in server.requests)
        whole = subprocess.run(_client(movies, tmp_path / "whole", server), capture_output=True, text=True, check=True)
    repeated = [prompt for prompt, times in asked.items() if times > 1]
    assert set(repeated) <= set(before[-6:])
    assert 1 <= len(repeated) <= 3, "no more than the three calls in flight"
    assert max(asked.values()) == 2
    for name in ROWS:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    kept = json.loads((tmp_path / "whole" / "manifest.json").read_text())["info"]["rows"]
    assert f"kept: {kept}" in done.stdout
    assert f"kept: {kept}" in whole.stdout


def test_the_key_is_sent_and_is_nowhere_else(
    desk: Desk, tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = Reply.error(401, f"Incorrect API key provided: {key}", x_key="no")
    told = Reply.ok(f"The user seems to enjoy {key} very much.")
    with ScriptedTeacher([told]) as server:
        desk.teach(server)
        assert {request.authorization for request in server.requests} == {f"Bearer {key}"}
    teacher = EndpointTeacher("test-model", desk.config(server))
    assert key not in repr(teacher) + json.dumps(teacher.settings) + desk.config(server).model_dump_json()
    with ScriptedTeacher(default=echo) as server:
        command = _client(desk.samples, tmp_path / "refused", server)
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == 2
        bare = f"from recalign.cli.main import app; app({command[3:]!r}, standalone_mode=False)"
        trace = subprocess.run([sys.executable, "-c", bare], capture_output=True, text=True, check=False)
        with pytest.raises(TeacherError) as stop:
            desk.teach(server)
    assert "TeacherError" in trace.stderr, "a traceback, for once"
    assert stop.value.__cause__ is None
    told_anybody = [process.stdout, process.stderr, trace.stdout, trace.stderr, str(stop.value), caplog.text]
    assert key not in "".join(told_anybody)
    assert "[key]" in str(stop.value)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name.endswith(".sqlite") for path in files)
    assert [path for path in files if key.encode() in path.read_bytes()] == []
    assert "[key]" in desk.rows()[0], "a key that an answer repeats is taken out of it"


def test_the_manifest_says_where_it_comes_from(desk: Desk) -> None:
    with ScriptedTeacher() as server:
        statistics = desk.teach(server, filter="hit", price_in=1.0, price_out=2.0)
    manifest = read_manifest(desk.output, kind="cot")
    assert manifest.parents["samples"] == desk.samples.fingerprint
    assert manifest.config["teacher"] == {"name": MODEL, "model": "test-model", "base_url": server.base_url}
    assert manifest.config["labels_seen"][desk.samples.fingerprint]["train"] == statistics.considered
    assert manifest.info["statistics"] == statistics.model_dump()
    assert statistics.cost == pytest.approx((100 * 1.0 + 20 * 2.0) * statistics.calls / 1e6)
    row = json.loads((desk.output / "provenance.jsonl").read_text().splitlines()[0])
    assert (row["teacher"], row["settings"]["temperature"]) == (MODEL, 0.2)
    assert [step["asked"] for step in row["stages"]] == ["t1000"] * 3
    assert {step["model"] for step in row["stages"]} == {"test-model"}


def _dropped(desk: Desk) -> set[str]:
    return {json.loads(line)["sample_id"] for line in (desk.output / "dropped.jsonl").read_text().splitlines()}


def prompt_step(request: Request) -> int:
    return max(step for step in (1, 2, 3) if f"Stage {step}:" in request.prompt)
