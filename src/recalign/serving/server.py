"""The running server: sockets, signals, and how it goes down.

On SIGTERM (or Ctrl-C) `/readyz` says 503 at once, while requests are still answered, so that a load balancer has time
to notice. After that new requests are refused, those accepted are finished, and the process exits with 0.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from recalign.errors import ConfigError
from recalign.serving.app import Application
from recalign.serving.connections import ImpatientProtocol

_POLL_SECONDS = 0.02
_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any free one. Raises ConfigError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}", found=str(error), hint="Choose another --port"
        ) from error


class Server(uvicorn.Server):
    """uvicorn, which by itself closes its listener first and dies of the signal."""

    def __init__(self, application: Application, listener: socket.socket, *, drain_seconds: float = 2.0) -> None:
        """Prepare to serve.

        Args:
            application: What `recalign.serving.app.create_app` made; its thread is started and closed here.
            listener: What `listen` made; it is closed here.
            drain_seconds: How long requests are still accepted after the signal.
        """
        super().__init__(
            uvicorn.Config(
                application.asgi,
                http=ImpatientProtocol,
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
            )
        )
        self._application, self._listener, self._drain_seconds = application, listener, drain_seconds
        self._draining: asyncio.Task[None] | None = None

    def drain(self) -> None:
        """Go down in good order; a second call goes down at once. To be called in the server's event loop."""
        if self._draining is None:
            self._application.life.draining = True
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        else:
            self.should_exit = self.force_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `drain`; then finish what was accepted. `sockets` are further listeners."""
        self._application.thread.start()
        try:
            await super().serve([self._listener, *(sockets or [])])
        finally:
            self._application.thread.close(timeout=0.0)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on SIGTERM and SIGINT, without dying of them afterwards."""
        signals = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
        loop = asyncio.get_running_loop()
        for number in signals:
            loop.add_signal_handler(number, self.drain)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def _drain(self) -> None:
        life = self._application.life
        await asyncio.sleep(self._drain_seconds)
        life.accepting = False
        while life.in_flight:  # each has a deadline, so this ends
            await asyncio.sleep(_POLL_SECONDS)
        self.should_exit = True
