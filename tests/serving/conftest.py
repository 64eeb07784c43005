"""A real server on a real socket, in a thread of this process."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recalign.data.samples import SampleSet
from recalign.recommender import Recommender
from recalign.serving.app import Application, create_app
from recalign.serving.server import Server, listen
from recalign.serving.store import EventStore

from . import postgresql as servers
from .fakes import LONG, FakeScorer, catalogue, films


@dataclass
class Answer:
    """A response; `json` where it is JSON, else `text`."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Running:
    """A server that runs, and how to ask it."""

    application: Application
    server: Server
    port: int
    scorer: FakeScorer
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    sockets: list[socket.socket] = field(default_factory=list)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)
        try:
            data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
            own = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method, path, data, {**own, **headers})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read().decode())
        finally:
            connection.close()

    def post(self, path: str, **body: object) -> Answer:
        return self.ask("POST", path, body)

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def in_background(self, path: str, **body: object) -> Callable[[], Answer]:
        """Send a request from another thread; what is returned waits for its answer."""
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(self.post(path, **body)))
        thread.start()

        def result() -> Answer:
            thread.join(LONG)
            return answers[0]

        return result

    def open_socket(self, data: bytes = b"") -> socket.socket:
        """A raw connection on which `data` was sent; it is closed at the end of the test."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=LONG)
        self.sockets.append(connection)
        connection.sendall(data)
        return connection

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; the test fails where it never does."""
        pause = threading.Event()
        for _ in range(int(LONG / 0.01)):
            if holds():
                return
            pause.wait(0.01)
        pytest.fail("it never came to that")

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.server.drain)
        self.thread.join(LONG)
        assert not self.thread.is_alive()


Start = Callable[..., Running]


def raw_post(path: str, body: object, length: int | None = None) -> bytes:
    """A request as bytes; with `length` it promises that many bytes of body."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data) if length is None else length}\r\n\r\n".encode() + data


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server with a fake scorer (or with `models`); it is stopped at the end of the test."""
    started: list[Running] = []

    def begin(models: dict[str, Recommender] | None = None, *, drain_seconds: float = 0.0, **options: Any) -> Running:
        scorer = FakeScorer()
        application = create_app(models or {"fake": Recommender(scorer, catalogue())}, **options)
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        server = Server(application, listener, drain_seconds=drain_seconds)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve()))
        running = Running(application, server, port, scorer, thread, loop)
        thread.start()
        running.until(lambda: server.started)
        started.append(running)
        return running

    yield begin
    for running in started:
        running.scorer.gate.set()
        for connection in running.sockets:
            connection.close()
        if running.thread.is_alive():
            running.stop()
        running.loop.close()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    """Prepared data of the films that `FakeScorer` scores."""
    return films(tmp_path_factory.mktemp("films") / "films")


@pytest.fixture
def model(data: SampleSet) -> Recommender:
    """A fake model of the catalogue of `data`."""
    return Recommender(FakeScorer(), data.catalog)


@pytest.fixture
def server(start: Start) -> Running:
    return start()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[servers.PostgreSQL]:
    """A PostgreSQL server for all tests; they are skipped where it is not installed."""
    with servers.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store can be made: a file, and a URL of PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "events.sqlite")
    server: servers.PostgreSQL = request.getfixturevalue("postgresql")
    return server.url()


@pytest.fixture
def store(place: str) -> Iterator[EventStore]:
    """A new store in each database."""
    with closing(EventStore(place, like_above=3.5)) as store:
        yield store
