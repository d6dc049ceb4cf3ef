"""Bytes through the edge, in pieces: a gigabyte passes without the gateway growing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message

from kit import errors
from kit.channel import Verdict
from services.gateway.backends import http_headers
from services.gateway.compose import Target, answer_body, compose
from services.gateway.failures import from_backend
from services.gateway.unary import Outcome, Unary, refused

if TYPE_CHECKING:
    from services.gateway.backends import Backends
    from services.gateway.credentials import Identity
    from services.gateway.exchange import Exchange
    from services.gateway.failures import Headers
    from services.gateway.settings import GatewaySettings

PIECE_BYTES = 256 << 10
_DATA, _SIZE = "data", "size_bytes"
_PASSED_ON = (
    "content-length",
    "content-type",
    "content-disposition",
    "content-range",
    "etag",
    "digest",
)
_DOWNLOAD_POLICY: Headers = [
    (b"accept-ranges", b"bytes"),
    (b"cache-control", b"private, no-cache"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
]


class Download:
    """Serves the routes whose RPC streams bytes."""

    def __init__(self, settings: GatewaySettings, backends: Backends) -> None:
        self._settings = settings
        self._backends = backends

    async def serve(self, exchange: Exchange, target: Target, identity: Identity) -> None:
        """Send a file, or the range of it that was asked for."""
        rpc = target.route.rpc
        call = self._backends.call(
            rpc,
            compose(target, exchange.query(), b""),
            metadata=self._backends.metadata(exchange, identity, rpc),
            timeout_s=self._settings.transfer_timeout_s,
        )
        try:
            await self._send(exchange, call)
        finally:
            call.cancel()

    async def _send(self, exchange: Exchange, call: grpc.aio.UnaryStreamCall[Any, Message]) -> None:
        # Read before answering: a refusal deserves its HTTP status.
        message = await call.read()
        described = http_headers(await call.initial_metadata())
        headers = [
            (name.encode(), described[name].encode()) for name in _PASSED_ON if name in described
        ]
        if described.get("etag") and described["etag"] == exchange.header(b"if-none-match"):
            await exchange.begin(304, [(b"etag", described["etag"].encode())])
            await exchange.write(b"", more=False)
            return
        status = int(described.get("status", "200"))
        await exchange.begin(status, [*headers, *_DOWNLOAD_POLICY])
        if exchange.method != "HEAD":
            await self._relay(exchange, call, message)
        await exchange.write(b"", more=False)

    async def _relay(
        self,
        exchange: Exchange,
        call: grpc.aio.UnaryStreamCall[Any, Message],
        message: object,
    ) -> None:
        gone = asyncio.ensure_future(exchange.gone())
        try:
            while isinstance(message, Message) and not gone.done():
                async with asyncio.timeout(self._settings.stall_s):
                    await exchange.write(getattr(message, _DATA))
                message = await call.read()
        except (TimeoutError, grpc.aio.AioRpcError):
            # The status is sent; a broken connection is the only way left to say "incomplete".
            exchange.abort()
            raise
        finally:
            gone.cancel()


class Upload:
    """Serves the routes whose RPC takes a stream of bytes."""

    def __init__(self, settings: GatewaySettings, backends: Backends, unary: Unary) -> None:
        self._settings = settings
        self._backends = backends
        self._unary = unary

    async def serve(self, exchange: Exchange, target: Target, identity: Identity) -> None:
        """Pass a body on as it arrives, and answer what the service makes of it."""
        length = exchange.length()
        if length > self._settings.upload_limit_bytes:
            raise self._too_large()
        first = compose(target, exchange.query(), b"")
        if _SIZE in first.DESCRIPTOR.fields_by_name and not getattr(first, _SIZE):
            setattr(first, _SIZE, length)
        rpc = target.route.rpc
        call = self._backends.call(
            rpc,
            None,
            metadata=self._backends.metadata(exchange, identity, rpc),
            timeout_s=self._settings.transfer_timeout_s,
        )
        verdict = Verdict(call)
        try:
            await self._pass_on(exchange, target, call, first)
            outcome = await _outcome(exchange, target, verdict)
        finally:
            call.cancel()
        await self._unary.record(exchange, target, identity, outcome)
        if outcome.error:
            await exchange.refuse(outcome.error)
        else:
            await exchange.answer(outcome.http_status, outcome.body, outcome.headers)

    async def _pass_on(
        self,
        exchange: Exchange,
        target: Target,
        call: grpc.aio.StreamUnaryCall[Message, Message],
        message: Message,
    ) -> None:
        """Write the body in pieces of 256 KiB; stops early when the service has answered."""
        received = 0
        waiting = bytearray()
        async for part in exchange.parts(timeout_s=self._settings.body_timeout_s):
            received += len(part)
            if received > self._settings.upload_limit_bytes:
                raise self._too_large()
            waiting += part
            while len(waiting) >= PIECE_BYTES:
                if not await _write(call, message, target.route.body, waiting[:PIECE_BYTES]):
                    return
                message = target.route.rpc.request()
                del waiting[:PIECE_BYTES]
            if call.done():
                return
        if await _write(call, message, target.route.body, waiting):
            await call.done_writing()

    def _too_large(self) -> errors.RpcError:
        limit = self._settings.upload_limit_bytes
        return errors.too_large(f"the file may have {limit} bytes", limit_bytes=limit)


async def _write(
    call: grpc.aio.StreamUnaryCall[Message, Message], message: Message, field: str, data: bytearray
) -> bool:
    """Write one message; return False when the service has ended the call."""
    setattr(message, field, bytes(data))
    try:
        await call.write(message)
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
        return False
    return True


async def _outcome(exchange: Exchange, target: Target, verdict: Verdict) -> Outcome:
    try:
        response = await verdict
    except grpc.aio.AioRpcError as error:
        return refused(from_backend(error, target.route.rpc.backend), exchange.request_id)
    body = answer_body(target.route, response)
    return Outcome(target.route.rpc.success, body, [], response=response)
