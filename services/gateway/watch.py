"""Server-sent events for every RPC that streams: resumable, cancellable, never silent for long.

The stream is paused while its client reads slowly, back to the service that sends it, so a slow
client costs no memory; one that does not read at all is cut and may resume from its last event.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import orjson
from google.protobuf.message import Message
from prometheus_client import Gauge

from services.gateway import decode
from services.gateway.compose import Target, compose
from services.gateway.encode import encoder
from services.gateway.failures import from_backend, payload
from services.gateway.signing_in import signed_out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kit.errors import RpcError
    from services.gateway.backends import Backends
    from services.gateway.credentials import Credentials, Identity
    from services.gateway.exchange import Exchange
    from services.gateway.failures import Headers
    from services.gateway.settings import GatewaySettings

    Judge = Callable[[], Awaitable[bool]]

open_streams = Gauge("elodrome_event_streams_open", "Event streams with a client")

_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_RETRY = b"retry: 2000\n\n"
_HEARTBEAT = b": heartbeat\n\n"
_FIRST_ANSWER_S = 0.25
_TICK_S = 2.0


class Watch:
    """Serves the routes whose RPC streams messages."""

    def __init__(
        self,
        settings: GatewaySettings,
        backends: Backends,
        credentials: Credentials,
        draining: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._backends = backends
        self._credentials = credentials
        self._draining = draining

    async def serve(self, exchange: Exchange, target: Target, identity: Identity) -> None:
        """Stream events until the RPC ends, the client leaves or its session does."""
        request = compose(target, exchange.query(), b"")
        if cursor := exchange.header(b"last-event-id"):
            decode.merge_text(request, "cursor", [cursor])
        if exchange.method == "HEAD":
            await exchange.begin(target.route.rpc.success, _HEADERS)
            await exchange.write(b"", more=False)
            return
        rpc = target.route.rpc
        metadata = self._backends.metadata(exchange, identity, rpc)
        call = self._backends.call(rpc, request, metadata=metadata, timeout_s=None)
        open_streams.inc()
        try:
            await _Stream(exchange, call, rpc.backend, self._settings).run(
                self._draining, lambda: self._credentials.still_holds(identity)
            )
        finally:
            open_streams.dec()
            call.cancel()


class _Stream:
    """One client's stream."""

    def __init__(
        self,
        exchange: Exchange,
        call: grpc.aio.UnaryStreamCall[Message, Message],
        backend: str,
        settings: GatewaySettings,
    ) -> None:
        self._exchange = exchange
        self._backend = backend
        self._call = call
        self._settings = settings
        self._written_at = time.monotonic()
        self._judged_at = self._written_at

    async def run(self, draining: asyncio.Event, still_holds: Judge) -> None:
        reading = asyncio.ensure_future(self._call.read())
        # A refusal comes at once and deserves its HTTP status; silence is a stream that is open.
        await asyncio.wait({reading}, timeout=_FIRST_ANSWER_S)
        if reading.done() and (error := reading.exception()):
            raise error
        await self._exchange.begin(200, _HEADERS)
        await self._write(_RETRY)
        ends = [
            asyncio.ensure_future(self._exchange.gone()),
            asyncio.ensure_future(draining.wait()),
        ]
        try:
            await self._relay(reading, ends, still_holds)
        except TimeoutError:
            self._exchange.abort()
        except grpc.aio.AioRpcError as error:
            await self._say_error(from_backend(error, self._backend))
        finally:
            for task in ends:
                task.cancel()

    async def _relay(
        self, reading: asyncio.Future[Any], ends: list[asyncio.Future[Any]], still_holds: Judge
    ) -> None:
        tick_s = min(_TICK_S, self._settings.stream_heartbeat_s)
        while True:
            await asyncio.wait(
                {reading, *ends}, timeout=tick_s, return_when=asyncio.FIRST_COMPLETED
            )
            if any(task.done() for task in ends):
                break
            if reading.done():
                message = reading.result()
                if not isinstance(message, Message):
                    break
                await self._write(event(message))
                reading = asyncio.ensure_future(self._call.read())
            elif time.monotonic() - self._written_at >= self._settings.stream_heartbeat_s:
                await self._write(_HEARTBEAT)
            if not await self._is_welcome(still_holds):
                await self._say_error(signed_out())
                return
        await self._write(b"", more=False)

    async def _is_welcome(self, still_holds: Judge) -> bool:
        now = time.monotonic()
        if now - self._judged_at < _TICK_S:
            return True
        self._judged_at = now
        return await still_holds()

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece; raises TimeoutError when the client does not read."""
        async with asyncio.timeout(self._settings.stall_s):
            await self._exchange.write(data, more=more)
        self._written_at = time.monotonic()

    async def _say_error(self, error: RpcError) -> None:
        self._exchange.reason = error.reason
        data = orjson.dumps(payload(error, self._exchange.request_id))
        await self._write(b"event: error\ndata: " + data + b"\n\n", more=False)


def event(message: Message) -> bytes:
    """Return a message as one event: its cursor is the id, its oneof the event and the data."""
    descriptor = message.DESCRIPTOR
    name, data = "message", None
    if descriptor.oneofs and (chosen := message.WhichOneof(descriptor.oneofs[0].name)):
        name, data = chosen, encoder(descriptor)(message)[chosen]
    else:
        data = encoder(descriptor)(message)
    lines = [b"event: " + name.encode(), b"data: " + orjson.dumps(data), b"\n"]
    if cursor := getattr(message, "cursor", ""):
        lines.insert(0, b"id: " + cursor.replace("\n", "").encode())
    return b"\n".join(lines)
