"""Connections: work of a client that went away is cancelled, and a client that sends too slowly is dropped.

All of it is plain ASGI: middleware that hands on a wrapped request, as Starlette's does, hides that a client is gone.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Final

import h11
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0
BODY_SECONDS: Final = 20.0


class CancelOnDisconnect:
    """Cancels a request's work when its client goes away; a body that is not there in time is a 408."""

    def __init__(self, app: ASGIApp, *, on_cancel: Callable[[], None], body_seconds: float) -> None:
        self._app, self._on_cancel, self._body_seconds = app, on_cancel, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application as a task beside one that waits for the client to go away."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = _Client(receive, send)
        work = asyncio.ensure_future(self._app(scope, client.receive, client.send))
        watches = [asyncio.ensure_future(client.wait_until_gone()), asyncio.ensure_future(self._too_slow(client))]
        try:
            await asyncio.wait([work, *watches], return_when=asyncio.FIRST_COMPLETED)
            if client.answered:
                await asyncio.wait([work])
            elif not work.done():
                work.cancel()
                await asyncio.wait([work])
                if client.gone:
                    self._on_cancel()
                else:
                    answer = JSONResponse({"error": "the body did not come in time"}, 408, {"Connection": "close"})
                    await answer(scope, receive, send)
            if not work.cancelled():
                work.result()
        finally:
            for task in (work, *watches):
                task.cancel()

    async def _too_slow(self, client: _Client) -> None:
        """Returns when the body is late; never, where it is there in time."""
        try:
            async with asyncio.timeout(self._body_seconds):
                await client.complete.wait()
        except TimeoutError:
            return
        await asyncio.Future()


class _Client:
    """What a client sends: the body, read only as fast as the application asks for it, and then that it is gone."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.complete = asyncio.Event()  # nothing but a disconnect can come any more
        self.gone = self.answered = False

    async def send(self, message: Message) -> None:
        self.answered = message["type"] == "http.response.body" and not message.get("more_body")
        await self._send(message)

    async def receive(self) -> Message:
        if self.complete.is_set():
            await asyncio.Future()  # `wait_until_gone` hears of it, and cancels who waits here
        message = await self._receive()
        if not message.get("more_body"):
            self.complete.set()
        self.gone = message["type"] == "http.disconnect"
        return message

    async def wait_until_gone(self) -> None:
        await self.complete.wait()
        while not self.gone:
            self.gone = (await self._receive())["type"] == "http.disconnect"


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that drops a connection on which the head of a request is not complete after `head_seconds`."""

    head_seconds = HEAD_SECONDS
    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start the clock: also a connection on which nothing comes at all is dropped."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a head is complete; start it with the first bytes of the next one."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._timer is None:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self._drop)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        self.transport.close()
