"""The services behind the edge, called with the caller's identity, request id and deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kit import trace
from services.gateway.routes import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc
    from google.protobuf.message import Message

    from services.gateway.caller import Seal
    from services.gateway.credentials import Credentials, Identity
    from services.gateway.exchange import Exchange
    from services.gateway.routes import Rpc

Metadata = list[tuple[str, str]]
OWN = "gateway"
_PASSED_HEADERS = (b"range", b"if-range")


class Backends:
    """Calls any RPC by its descriptor."""

    def __init__(
        self,
        channel: Callable[[str], grpc.aio.Channel],
        credentials: Credentials,
        seal: Seal,
    ) -> None:
        self._channel = channel
        self._credentials = credentials
        self._seal = seal
        self._stubs: dict[str, Callable[..., Any]] = {}

    def call(
        self,
        rpc: Rpc,
        request: Message | None,
        *,
        metadata: Metadata,
        timeout_s: float | None,
    ) -> Any:  # noqa: ANN401 - a call object of grpc.aio, by the shape of the RPC
        """Begin a call; an upload has no request, its messages are written to the call."""
        stub = self._stubs.get(rpc.path) or self._stub(rpc)
        if rpc.shape is Shape.UPLOAD:
            return stub(metadata=metadata, timeout=timeout_s)
        return stub(request, metadata=metadata, timeout=timeout_s)

    def _stub(self, rpc: Rpc) -> Callable[..., Any]:
        channel = self._channel(rpc.backend)
        make = {
            Shape.UNARY: channel.unary_unary,
            Shape.WATCH: channel.unary_stream,
            Shape.DOWNLOAD: channel.unary_stream,
            Shape.UPLOAD: channel.stream_unary,
        }[rpc.shape]
        stub = make(
            rpc.path,
            request_serializer=rpc.request.SerializeToString,
            response_deserializer=rpc.response.FromString,
        )
        self._stubs[rpc.path] = stub
        return stub

    def metadata(self, exchange: Exchange, identity: Identity, rpc: Rpc) -> Metadata:
        """Return what a call carries beside its request."""
        metadata = [("x-request-id", exchange.request_id), (trace.HEADER, trace.current.get())]
        if not identity.is_anonymous:
            token = self._credentials.internal_token(identity.principal)
            metadata.append(("authorization", f"Bearer {token}"))
        if rpc.backend == OWN:
            metadata += self._seal.metadata(exchange)
        if rpc.shape is Shape.DOWNLOAD:
            metadata += [
                (name.decode(), exchange.header(name))
                for name in _PASSED_HEADERS
                if name in exchange.headers
            ]
        return metadata


def http_headers(metadata: grpc.aio.Metadata | None) -> dict[str, str]:
    """Return the `http-…` entries of initial metadata, by header name."""
    return {
        key.removeprefix("http-"): value
        for key, value in metadata or ()
        if key.startswith("http-") and isinstance(value, str)
    }
