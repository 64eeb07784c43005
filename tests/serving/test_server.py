from __future__ import annotations

import http.client
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from recalign.errors import ConfigError
from recalign.serving.server import listen

from .conftest import Running, Start
from .fakes import LONG

# Says its port, and "scoring" when the scorer is asked, which waits until it reads a line.
PROGRAM = """
import asyncio, sys, threading
sys.path.insert(0, sys.argv[1])
from fakes import FakeScorer, catalogue
from recalign.recommender import Recommender
from recalign.serving.app import create_app
from recalign.serving.server import Server, listen

class Slow(FakeScorer):
    def score(self, lists):
        print("scoring", flush=True)
        sys.stdin.readline()
        return super().score(lists)

listener = listen("127.0.0.1", 0)
server = Server(create_app({"m": Recommender(Slow(), catalogue())}), listener, drain_seconds=0)
print(listener.getsockname()[1], flush=True)
asyncio.run(server.serve())
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def status(port: int, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)) as connection:
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_readiness_first_and_accepted_work_is_finished(
    process: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(process.stdout.readline())
    waiting = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    body = '{"likes": ["id:1"], "items": ["id:2"]}'
    waiting.request("POST", "/v1/score", body, {"Content-Type": "application/json"})
    assert process.stdout.readline() == "scoring\n"
    assert status(port, "/readyz") == 200
    process.send_signal(number)
    while status(port, "/readyz") == 200:  # until the signal has arrived
        pass
    assert status(port, "/readyz") == 503
    assert status(port, "/livez") == 200
    while status(port, "/metrics") == 200:  # until nothing new is accepted
        pass
    assert status(port, "/metrics") == 503
    assert process.poll() is None
    process.stdin.write("\n")
    process.stdin.flush()
    with closing(waiting), waiting.getresponse() as response:
        assert response.status == 200
    assert process.wait(LONG) == 0


def test_requests_are_accepted_while_it_drains(start: Start) -> None:
    server = start(drain_seconds=LONG)
    server.loop.call_soon_threadsafe(server.server.drain)
    server.until(lambda: server.get("/readyz").status == 503)
    assert server.post("/v1/score", likes=["id:1"], items=["id:2"]).status == 200
    server.stop()  # a second signal does not wait


def test_an_idle_server_stops_at_once(server: Running) -> None:
    server.get("/livez")
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        server.get("/livez")


def test_sent_is_answered_when_it_stops_under_load(start: Start) -> None:
    server = start()
    server.scorer.gate.clear()
    answers = [server.in_background("/v1/score", likes=["id:1"], items=["id:2"]) for _ in range(8)]
    server.until(lambda: server.application.thread.cost == 8)
    server.loop.call_soon_threadsafe(server.server.drain)
    server.until(lambda: not server.application.life.accepting)
    server.scorer.gate.set()
    assert [answer().status for answer in answers] == [200] * 8
    server.thread.join(LONG)
    assert not server.thread.is_alive()


def test_a_port_that_is_taken_is_told() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match="cannot listen on"):
        listen("127.0.0.1", taken.getsockname()[1])
