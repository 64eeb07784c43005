from __future__ import annotations

import pytest

from recalign.serving.connections import ImpatientProtocol

from .conftest import Running, Start, raw_post

SCORE = {"likes": ["id:1"], "items": ["id:2"]}


def test_a_client_that_goes_away_takes_its_work_along(server: Running) -> None:
    server.scorer.gate.clear()
    busy = server.in_background("/v1/score", **SCORE)
    server.scorer.wait_until_asked()
    gone = [server.open_socket(raw_post("/v1/score", {"likes": ["id:1"], "items": ["id:3"]})) for _ in range(3)]
    server.until(lambda: server.application.thread.cost == 4)
    for connection in gone:
        connection.close()
    server.until(lambda: server.application.thread.cost == 1)
    server.until(lambda: server.application.life.in_flight == 1)
    server.scorer.gate.set()
    assert busy().status == 200
    assert server.post("/v1/score", likes=["id:1"], items=["id:4"]).status == 200
    assert server.scorer.asked_items == ["2", "4"]
    assert "recalign_cancelled_total 3.0" in server.get("/metrics").text


def test_answered_requests_do_not_count_as_cancelled(server: Running) -> None:
    for _ in range(20):
        assert server.post("/v1/score", **SCORE).status == 200
    assert "recalign_cancelled_total 0.0" in server.get("/metrics").text


def test_a_client_that_goes_away_within_its_body_does_no_harm(server: Running) -> None:
    connection = server.open_socket(raw_post("/v1/score", SCORE, length=1000))
    server.until(lambda: server.application.life.in_flight == 1)
    connection.close()
    server.until(lambda: server.application.life.in_flight == 0)
    assert not server.scorer.asked
    assert server.post("/v1/score", **SCORE).status == 200


@pytest.mark.parametrize("sent", [b"", b"POST /v1/sc", b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nX: y"])
def test_a_head_that_never_ends_is_dropped(server: Running, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(ImpatientProtocol, "head_seconds", 0.02)
    assert server.open_socket(sent).recv(100) == b""


def test_the_second_head_on_a_connection_has_to_end_as_well(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = server.open_socket(raw_post("/v1/score", SCORE))
    with connection, connection.makefile("rb") as stream:
        while (line := stream.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
        stream.read(length)
        monkeypatch.setattr(ImpatientProtocol, "head_seconds", 0.02)
        connection.sendall(b"GET /livez HT")
        assert stream.read() == b""


def test_a_body_that_never_ends_is_408(start: Start) -> None:
    server = start(body_seconds=0.02)
    connection = server.open_socket(raw_post("/v1/score", SCORE, length=1000))
    assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
    server.until(lambda: server.application.life.in_flight == 0)


def test_a_slow_answer_is_no_slow_body(start: Start) -> None:
    server = start(body_seconds=1.0)
    server.scorer.gate.clear()
    answer = server.in_background("/v1/score", **SCORE)
    server.scorer.wait_until_asked()
    assert server.open_socket(raw_post("/v1/score", SCORE, length=1000)).recv(100).startswith(b"HTTP/1.1 408 ")
    server.scorer.gate.set()  # by now the time for a body is over
    assert answer().status == 200


def test_a_huge_body_is_413_by_what_it_says(server: Running) -> None:
    connection = server.open_socket(raw_post("/v1/score", SCORE, length=10**9))
    assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_huge_body_in_chunks_is_413_after_its_first_megabyte(server: Running) -> None:
    head = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    connection = server.open_socket(head + b"\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = 0
    try:
        while sent < 1 << 30:
            connection.sendall(chunk)
            sent += 0x10000
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server has hung up
    assert sent < 1 << 26  # what the sockets' buffers hold, and no more
    assert server.post("/v1/score", **SCORE).status == 200
    assert 'route="/v1/score",status="413"' in server.get("/metrics").text
