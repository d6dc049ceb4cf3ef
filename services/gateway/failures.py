"""How a refusal looks through REST: one JSON body, and the HTTP status of its gRPC status."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import grpc
import orjson

from kit import errors

if TYPE_CHECKING:
    from kit.errors import RpcError

Headers = list[tuple[bytes, bytes]]

STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.OUT_OF_RANGE: 422,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""HTTP status by gRPC status; every other is 500. The refusal's metadata may say otherwise."""

# A server that ends drops the calls it has just accepted as cancelled; nobody here cancels one and
# then looks at its status.
_GONE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
_INTERNAL = 500
_RANGE_NOT_SATISFIABLE = 416


def http_status(error: RpcError) -> int:
    """Return the HTTP status of a refusal."""
    if chosen := error.metadata.get("http_status"):
        return int(chosen)
    if error.code is grpc.StatusCode.OUT_OF_RANGE and "RANGE" in error.reason:
        return _RANGE_NOT_SATISFIABLE
    return STATUS.get(error.code, _INTERNAL)


def payload(error: RpcError, request_id: str) -> dict[str, object]:
    """Return the JSON object that every refusal is."""
    known = {"retry_after_s", "http_status"}
    details = {key: value for key, value in error.metadata.items() if key not in known}
    internal = http_status(error) == _INTERNAL and error.code is not grpc.StatusCode.DATA_LOSS
    body: dict[str, object] = {
        "code": error.code.name,
        "reason": error.reason,
        "message": "internal error" if internal else error.message,
        "field": error.field or None,
        "request_id": request_id,
    }
    if details and not internal:
        body["details"] = details
    return {"error": body}


def render(error: RpcError, request_id: str) -> tuple[int, bytes, Headers]:
    """Return status, body and extra headers of a refusal."""
    status = http_status(error)
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if error.code is grpc.StatusCode.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b'Bearer realm="elodrome"'))
    if total := error.metadata.get("size_bytes") if status == _RANGE_NOT_SATISFIABLE else None:
        headers.append((b"content-range", f"bytes */{total}".encode()))
    return status, orjson.dumps(payload(error, request_id)), headers


def from_backend(error: grpc.aio.AioRpcError, backend: str) -> RpcError:
    """Read the refusal out of a failed call; what gRPC says of the network stays inside."""
    refused = errors.from_call(error)
    if refused.reason != error.code().name:
        return refused
    if refused.code in _GONE:
        message = f"the {backend} service does not answer"
        return errors.unavailable(message, reason="SERVICE_UNAVAILABLE", service=backend)
    if refused.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.deadline_exceeded(f"the {backend} service took longer than it may")
    return refused


def refusal(status: int, message: str, *, reason: str, code: grpc.StatusCode) -> RpcError:
    """Return a refusal that HTTP has a status of its own for."""
    return errors.RpcError(code, message, reason=reason, metadata={"http_status": status})
