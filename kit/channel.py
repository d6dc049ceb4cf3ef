"""Channels to peers: safe retries, deadlines that travel along, quick return of a lost peer.

And what gRPC's asyncio client forgets of an upload that was refused.
"""

from __future__ import annotations

import ipaddress
import json
import sys
from typing import TYPE_CHECKING, Any

import grpc

from kit.rpc import time_left

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from kit.tls import Certificates

MAX_MESSAGE_BYTES = 4 << 20
CALL_LIMIT_S = 10
"""Deadline of a unary call that is given none."""

_MARGIN_S = 0.02
# Calls that change nothing, or the same thing when repeated, may be sent again by the channel.
_REPEATABLE = ("Get", "List", "Resolve", "Watch", "Download", "Compare", "Diff", "Check")
_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def open_channel(
    address: str,
    *,
    limits_calls: bool = True,
    certificates: Certificates | None = None,
    name: str = "",
) -> grpc.aio.Channel:
    """Return a channel to `host:port`, connected when first used.

    A name that has several addresses gets a call each in turn. An address that is gone is noticed
    within a second, as pods come and go.

    UNAVAILABLE is retried up to three times for reading RPCs; retries stop when more than a tenth
    of the calls fail. A unary call without a deadline gets 10 s, or what is left of the deadline
    of the RPC being served, whichever is shorter. Without `limits_calls` it does not: that saves a
    caller who always names a deadline and serves no RPC two tasks per call.

    With `certificates` calls go over TLS, and the peer's certificate has to be for the host of
    `address`, or for `name` where one is given.
    """
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A peer that hangs, or whose machine is gone, is left alone after 20 s. Servers let
        # nobody ask more often than every 10 s.
        ("grpc.keepalive_time_ms", 15_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        # Calls fail at once while a peer is away, so its return has to be noticed soon.
        ("grpc.max_reconnect_backoff_ms", 300),
        # Names are asked again after 30 s otherwise, however often a connection is lost.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.service_config", json.dumps(_service_config(address))),
        ("grpc.enable_retries", 1),
    ]
    interceptors = [_Deadline()] if limits_calls else None
    if certificates is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    return certificates.channel(
        lambda credentials: grpc.aio.secure_channel(
            address, credentials, options=options, interceptors=interceptors
        )
    )


def _service_config(address: str) -> dict[str, Any]:
    names = [
        {"service": service.full_name, "method": method.name}
        for service in _known_services()
        for method in service.methods
        if method.name.startswith(_REPEATABLE)
    ]
    # Behind an address there is one peer, which is looked for when somebody calls. The policy for
    # many would go on looking while it is away, and then may miss its return for a moment.
    policy = {} if _is_address(address) else {"loadBalancingConfig": [{"round_robin": {}}]}
    return {
        **policy,
        "methodConfig": [{"name": names, "retryPolicy": _RETRY}] if names else [],
        "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1},
    }


def _is_address(target: str) -> bool:
    """Say whether `host:port` names a host by its number."""
    try:
        ipaddress.ip_address(target.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


def _known_services() -> list[Any]:
    """Return the descriptors of every service whose stubs this process has imported."""
    return [
        service
        for name, module in list(sys.modules.items())
        if name.startswith("elodrome.") and name.endswith("_pb2")
        for service in module.DESCRIPTOR.services_by_name.values()
    ]


class Verdict:
    """What a service says of an upload, also while a piece of it is being written.

    Await it in place of the call: a write that fails puts an internal error of gRPC's own in the
    place of a status that has come. Raises `grpc.aio.AioRpcError` with what the service said.
    """

    def __init__(self, call: grpc.aio.StreamUnaryCall[Any, Any]) -> None:
        self._call = call
        self._refusal: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    def __await__(self) -> Generator[Any, None, Any]:
        """Return the answer."""
        return self._response().__await__()

    async def _response(self) -> Any:  # noqa: ANN401 - any message
        try:
            return await self._call
        except grpc.aio.AioRpcError as error:
            raise (self._refusal or error) from None

    def _note(self, call: grpc.aio.StreamUnaryCall[Any, Any]) -> None:
        """Keep the status, as it may be replaced before anybody awaits it."""
        code, details = _at_once(call.code()), _at_once(call.details())
        if code not in (grpc.StatusCode.OK, grpc.StatusCode.INTERNAL):
            trailing = _at_once(call.trailing_metadata())
            self._refusal = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)


def _at_once(known: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever is known
    """Return what a coroutine of an ended call says, as it says it without waiting."""
    try:
        known.send(None)
    except StopIteration as answer:
        return answer.value
    raise AssertionError


class _Deadline(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # noqa: ANN401 - any message
    ) -> Any:  # noqa: ANN401 - a call object of grpc
        """Give the call the shortest of its own, the default and the inherited deadline."""
        limit_s = client_call_details.timeout or CALL_LIMIT_S
        left_s = time_left()
        if left_s is not None:
            limit_s = min(limit_s, max(left_s - _MARGIN_S, _MARGIN_S))
        details: Any = client_call_details
        return await continuation(details._replace(timeout=limit_s), request)
