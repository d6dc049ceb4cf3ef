"""The HTTP server: uvicorn on the process's own event loop, guarded against endless headers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.exchange import ABORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from services.gateway.settings import GatewaySettings

_HEADER_LIMIT_BYTES = 32 << 10
_HEADER_TIMEOUT_S = 10
_LINGER_S = 30
_KEEP_ALIVE_S = 75
_BACKLOG = 512


class Protocol(HttpToolsProtocol):
    """Reads requests; gives the headers of one 10 s and 32 KiB, and lets the app cut a client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **named)
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the clock: a connection that never asks anything is closed."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._start_clock()
        self._header_bytes = 0
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}

    def on_url(self, url: bytes) -> None:
        """Count the request line as part of the headers."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the app; from here on it watches the time."""
        self._stop_clock()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Let a client whose body is not wanted finish sending, so that it reads the answer."""
        super().on_response_complete()
        if self.cycle.more_body:
            self._start_clock(_LINGER_S)

    def on_message_complete(self) -> None:
        """End the request."""
        if self.cycle.response_complete:
            self._stop_clock()
        super().on_message_complete()

    def _count(self, size_bytes: int) -> None:
        self._header_bytes += size_bytes
        if self._header_bytes > _HEADER_LIMIT_BYTES:
            raise ValueError("the headers are too large")

    def _start_clock(self, limit_s: float = _HEADER_TIMEOUT_S) -> None:
        self._stop_clock()
        self._timer = self.loop.call_later(limit_s, self.transport.close)

    def _stop_clock(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


class Listener(uvicorn.Server):
    """Serves an app on a socket that is bound at once, so that a taken port fails the start."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=settings.drain_s,
                backlog=_BACKLOG,
            )
        )
        self._socket = _bind(settings.bind_host, settings.http_port)
        self.port: int = self._socket.getsockname()[1]
        """Port it listens on."""
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled; after `drain` there is nothing left to do but wait for that."""
        await self.serve(sockets=[self._socket])
        self._ended.set()
        await asyncio.Event().wait()

    async def drain(self) -> None:
        """Take no new requests; return once those under way are answered."""
        self.should_exit = True
        await self._ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which runs more than this server."""
        yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound
