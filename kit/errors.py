"""Refusals a caller can act on: one exception, made by one function per gRPC status."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOMAIN = "elodrome"
DETAILS_KEY = "grpc-status-details-bin"
"""The metadata key under which gRPC carries a serialized `google.rpc.Status`."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RpcError(Exception):
    """A refusal with a status, a stable UPPER_SNAKE reason and a sentence for people.

    `metadata` holds every variable of the sentence, so that clients never parse prose.
    `field` names the request field at fault, or is empty.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str,
        field: str = "",
        metadata: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = {key: str(value) for key, value in (metadata or {}).items()}

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}: {self.message}"

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which a retry makes sense, or None where a retry would not help."""
        value = self.metadata.get("retry_after_s")
        return float(value) if value is not None else None

    def to_status(self) -> status_pb2.Status:
        """Return the rich status with ErrorInfo, and BadRequest or RetryInfo where they apply."""
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=self.metadata
        )
        details = [_pack(info)]
        if self.field:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=self.field, description=self.message, reason=self.reason
            )
            details.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
        if self.retry_after_s is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(int(self.retry_after_s * 1000))
            details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=details)


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def invalid_argument(
    field: str, rule: str, *, reason: str = "INVALID_FIELD", **metadata: object
) -> RpcError:
    """Say which field breaks which rule: `page_size: must lie in 0..200`."""
    return RpcError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"{field}: {rule}",
        reason=reason,
        field=field,
        metadata=metadata,
    )


def not_found(noun: str, key: str, *, reason: str = "") -> RpcError:
    """Say that there is no such thing, or none the caller may know of."""
    return RpcError(
        grpc.StatusCode.NOT_FOUND,
        f"no {noun} {key}",
        reason=reason or f"{noun.upper().replace(' ', '_')}_NOT_FOUND",
        metadata={"id": key},
    )


def already_exists(message: str, *, reason: str, field: str = "", **metadata: object) -> RpcError:
    """Say that the name or number is taken."""
    return RpcError(
        grpc.StatusCode.ALREADY_EXISTS, message, reason=reason, field=field, metadata=metadata
    )


def failed_precondition(message: str, *, reason: str, **metadata: object) -> RpcError:
    """Say that the state forbids it; a retry will not help until the state changes."""
    return RpcError(grpc.StatusCode.FAILED_PRECONDITION, message, reason=reason, metadata=metadata)


def aborted(message: str, *, reason: str, **metadata: object) -> RpcError:
    """Say that a concurrent change won; reading again and retrying may succeed."""
    return RpcError(grpc.StatusCode.ABORTED, message, reason=reason, metadata=metadata)


def permission_denied(message: str, *, reason: str, **metadata: object) -> RpcError:
    """Say that the caller is known and may not."""
    return RpcError(grpc.StatusCode.PERMISSION_DENIED, message, reason=reason, metadata=metadata)


def unauthenticated(message: str, *, reason: str, **metadata: object) -> RpcError:
    """Say that the caller is not known: no token, or one that does not hold."""
    return RpcError(grpc.StatusCode.UNAUTHENTICATED, message, reason=reason, metadata=metadata)


def resource_exhausted(
    message: str, *, reason: str, retry_after_s: float, **metadata: object
) -> RpcError:
    """Say that a quota or rate is used up for `retry_after_s` seconds."""
    return RpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        message,
        reason=reason,
        metadata={**metadata, "retry_after_s": retry_after_s},
    )


def unavailable(
    message: str, *, reason: str = "UNAVAILABLE", retry_after_s: float = 1, **metadata: object
) -> RpcError:
    """Say that something needed is down; the same call may be retried as it is."""
    return RpcError(
        grpc.StatusCode.UNAVAILABLE,
        message,
        reason=reason,
        metadata={**metadata, "retry_after_s": retry_after_s},
    )


def too_large(message: str, *, reason: str = "TOO_LARGE", **metadata: object) -> RpcError:
    """Say that what was sent exceeds a size limit; REST answers 413."""
    metadata["http_status"] = HTTPStatus.REQUEST_ENTITY_TOO_LARGE.value
    return RpcError(grpc.StatusCode.FAILED_PRECONDITION, message, reason=reason, metadata=metadata)


def data_loss(message: str, *, reason: str, **metadata: object) -> RpcError:
    """Say that stored bytes are not what was stored."""
    return RpcError(grpc.StatusCode.DATA_LOSS, message, reason=reason, metadata=metadata)


def out_of_range(message: str, *, reason: str, **metadata: object) -> RpcError:
    """Say that a position lies beyond the end."""
    return RpcError(grpc.StatusCode.OUT_OF_RANGE, message, reason=reason, metadata=metadata)


def deadline_exceeded(message: str, *, reason: str = "DEADLINE_EXCEEDED") -> RpcError:
    """Say that the time the caller gave was not enough."""
    return RpcError(grpc.StatusCode.DEADLINE_EXCEEDED, message, reason=reason)


def from_call(error: grpc.aio.AioRpcError) -> RpcError:
    """Read the refusal out of a failed call; the reason is the status name where none was sent."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            return from_status(status_pb2.Status.FromString(cast("bytes", value)))
    return RpcError(error.code(), error.details() or "", reason=error.code().name)


def from_status(status: status_pb2.Status) -> RpcError:
    """Read the refusal out of a rich status."""
    code = code_of(status.code)
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    for detail in status.details:
        if not detail.Unpack(info):
            detail.Unpack(bad_request)
    violations = bad_request.field_violations
    return RpcError(
        code,
        status.message,
        reason=info.reason or code.name,
        field=violations[0].field if violations else "",
        metadata=dict(info.metadata),
    )


def code_of(number: int) -> grpc.StatusCode:
    """Return the status of a canonical code number."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)
