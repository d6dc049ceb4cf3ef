"""Check request fields once, at the edge; every refusal names the field and the rule."""

from __future__ import annotations

import math
import re
import uuid as uuids
from datetime import UTC
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict

from kit import errors

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
    from google.protobuf.struct_pb2 import Struct
    from google.protobuf.timestamp_pb2 import Timestamp

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
# C0 and C1 controls would reach terminals and logs, NUL is refused by Postgres, and a lone
# surrogate cannot be encoded; tab and newline are text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SAFE_INTEGER = 1 << 53


def uuid(value: str, field: str) -> str:
    """Return the UUID in lower case."""
    if not _UUID.fullmatch(value):
        raise errors.invalid_argument(field, "must be a UUID")
    return str(uuids.UUID(value))


def optional_uuid(value: str, field: str) -> str | None:
    """Return the UUID in lower case, or None where the field is empty."""
    return uuid(value, field) if value else None


def sha256(value: str, field: str) -> str:
    """Return a SHA-256 written as 64 lowercase hex characters."""
    if not _SHA256.fullmatch(value):
        raise errors.invalid_argument(field, "must be 64 lowercase hex characters")
    return value


def text(value: str, field: str, *, max_length: int, min_length: int = 1) -> str:
    """Return text of `min_length` to `max_length` characters without surrounding blanks."""
    stripped = value.strip()
    if len(stripped) < min_length:
        rule = "must not be empty" if min_length == 1 else f"must have {min_length} characters"
        raise errors.invalid_argument(field, rule, min_length=min_length)
    if len(stripped) > max_length:
        raise errors.invalid_argument(
            field, f"must have at most {max_length} characters", max_length=max_length
        )
    if _CONTROL.search(stripped):
        raise errors.invalid_argument(field, "must not hold control characters")
    return stripped


def slug(value: str, field: str, *, max_length: int = 64) -> str:
    """Return a name made of lowercase letters, digits, dots, dashes and underscores."""
    if len(value) > max_length or not _SLUG.fullmatch(value):
        rule = (
            f"must be 1..{max_length} lowercase letters, digits, '.', '-' or '_', "
            "beginning and ending with a letter or digit"
        )
        raise errors.invalid_argument(field, rule, max_length=max_length)
    return value


def integer(value: int, field: str, *, minimum: int, maximum: int) -> int:
    """Return a whole number in `minimum`..`maximum`, both included."""
    if not minimum <= value <= maximum:
        raise errors.invalid_argument(
            field, f"must lie in {minimum}..{maximum}", minimum=minimum, maximum=maximum
        )
    return value


def number(value: float, field: str, *, minimum: float, maximum: float) -> float:
    """Return a finite number in `minimum`..`maximum`, both included."""
    if not math.isfinite(value) or not minimum <= value <= maximum:
        raise errors.invalid_argument(
            field, f"must lie in {minimum}..{maximum}", minimum=minimum, maximum=maximum
        )
    return value


def enum_value(value: int, field: str, enum: EnumTypeWrapper) -> int:
    """Return a known value of a proto enum; the zero value counts as missing."""
    known = enum.DESCRIPTOR.values_by_number
    if value == 0 or value not in known:
        prefix = known[0].name.removesuffix("UNSPECIFIED")
        names = ", ".join(item.name.removeprefix(prefix) for item in known.values() if item.number)
        raise errors.invalid_argument(field, f"must be one of {names}")
    return value


def moment(value: Timestamp, field: str) -> datetime:
    """Return a moment in UTC; the years 1 to 9999 exist."""
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise errors.invalid_argument(field, "must be a moment in the years 1 to 9999") from error


def mapping(value: Struct, field: str, *, max_bytes: int = 65536) -> dict[str, Any]:
    """Return free-form JSON of at most `max_bytes` encoded bytes; whole numbers become int.

    A Struct carries every number as a double; a seed of 7 must not come out as 7.0.
    """
    if value.ByteSize() > max_bytes:
        raise errors.invalid_argument(
            field, f"must be at most {max_bytes} bytes", max_bytes=max_bytes
        )
    try:
        document = MessageToDict(value)
    except ValueError as error:
        raise errors.invalid_argument(field, "must hold finite numbers only") from error
    return _json(document, field)


def _json(value: Any, field: str) -> Any:  # noqa: ANN401 - JSON is any of its types
    if isinstance(value, dict):
        return {
            _json(key, f"{field} key"): _json(item, f"{field}.{key}") for key, item in value.items()
        }
    if isinstance(value, list):
        return [_json(item, f"{field}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, str) and "\x00" in value:
        raise errors.invalid_argument(field, "must not hold NUL characters")
    if isinstance(value, float) and value.is_integer() and abs(value) <= _SAFE_INTEGER:
        return int(value)
    return value
