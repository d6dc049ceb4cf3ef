"""Protobuf to JSON, compiled once per message type from its descriptor.

Differs from protobuf's own mapping where REST clients would stumble: snake_case names, enums
without their prefix, 64-bit integers as numbers, absent optional fields as null.
"""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor, EnumDescriptor
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.struct_pb2 import ListValue, Struct, Value
    from google.protobuf.timestamp_pb2 import Timestamp

    Json = Any
    """A value as JSON has it."""
    Encode = Callable[[Any], Json]
    Write = Callable[[Message, dict[str, Any]], None]

_LARGEST_EXACT_INTEGER = 2**53
_NANOS = 1_000_000_000
_BOOLEANS = {True: "true", False: "false"}
_FLOATS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)


@cache
def encoder(descriptor: Descriptor, *, redact: bool = False) -> Encode:
    """Return the function that turns such a message into JSON values.

    With `redact`, fields marked `debug_redact` are left out: for records that people read later.
    """
    if special := _WELL_KNOWN.get(descriptor.full_name):
        return special
    fields = [f for f in descriptor.fields if not (redact and f.GetOptions().debug_redact)]
    writers: list[Write] = []

    def encode(message: Message) -> dict[str, Any]:
        if not writers:  # compiled at the first use: message types may contain themselves
            writers.extend(_writer(field, redact=redact) for field in fields)
        out: dict[str, Any] = {}
        for write in writers:
            write(message, out)
        return out

    return encode


def _writer(field: FieldDescriptor, *, redact: bool) -> Write:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return _map_writer(field.name, field.message_type, redact=redact)
    convert = _converter(field, redact=redact)
    if field.is_repeated:
        return _repeated_writer(field.name, convert)
    if field.has_presence:
        return _presence_writer(field, convert)
    return _plain_writer(field.name, convert)


def _plain_writer(name: str, convert: Callable[[Any], Any] | None) -> Write:
    if convert is None:

        def write(message: Message, out: dict[str, Any]) -> None:
            out[name] = getattr(message, name)

        return write

    def write_converted(message: Message, out: dict[str, Any]) -> None:
        out[name] = convert(getattr(message, name))

    return write_converted


def _presence_writer(field: FieldDescriptor, convert: Callable[[Any], Any] | None) -> Write:
    name = field.name
    in_choice = _real_oneof(field) is not None

    def write(message: Message, out: dict[str, Any]) -> None:
        if message.HasField(name):
            value = getattr(message, name)
            out[name] = convert(value) if convert else value
        elif not in_choice:
            out[name] = None

    return write


def _repeated_writer(name: str, convert: Callable[[Any], Any] | None) -> Write:
    if convert is None:

        def write(message: Message, out: dict[str, Any]) -> None:
            out[name] = list(getattr(message, name))

        return write

    def write_converted(message: Message, out: dict[str, Any]) -> None:
        out[name] = [convert(value) for value in getattr(message, name)]

    def write_floats(message: Message, out: dict[str, Any]) -> None:
        values = list(getattr(message, name))
        out[name] = values if all(map(math.isfinite, values)) else [_number(v) for v in values]

    return write_floats if convert is _number else write_converted


def _map_writer(name: str, entry_type: Descriptor, *, redact: bool) -> Write:
    key, value = (entry_type.fields_by_name[part] for part in ("key", "value"))
    convert = _converter(value, redact=redact) or _same
    key_text = _BOOLEANS.__getitem__ if key.type == FieldDescriptor.TYPE_BOOL else str

    def write(message: Message, out: dict[str, Any]) -> None:
        items = getattr(message, name)
        out[name] = {key_text(item): convert(items[item]) for item in sorted(items)}

    return write


def _converter(field: FieldDescriptor, *, redact: bool) -> Callable[[Any], Any] | None:
    """Return what turns one value into JSON, or None where the value is JSON already."""
    if field.message_type:
        return encoder(field.message_type, redact=redact)
    if field.enum_type:
        return _enum_names(field.enum_type).__getitem__
    if field.type in _FLOATS:
        return _number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _base64
    return None


class _Names(dict[int, Any]):
    """Names by number; a number of a newer release stays a number."""

    def __missing__(self, number: int) -> int:
        return number


@cache
def _enum_names(enum: EnumDescriptor) -> _Names:
    prefix = enum_prefix(enum)
    return _Names({value.number: value.name.removeprefix(prefix) for value in enum.values})


def enum_prefix(enum: EnumDescriptor) -> str:
    """Return what every value of the enum begins with: `RUN_STATE_` for RunState."""
    zero = enum.values_by_number.get(0)
    return zero.name.removesuffix("UNSPECIFIED") if zero else ""


def _real_oneof(field: FieldDescriptor) -> str | None:
    """Return the oneof that a field belongs to; proto3 `optional` is none."""
    oneof = field.containing_oneof
    return None if oneof is None or oneof.name == f"_{field.name}" else oneof.name


def _same(value: Json) -> Json:
    return value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _number(value: float) -> float | str:
    """JSON has no NaN and no infinity; as strings they survive the way."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def timestamp_text(value: Timestamp) -> str:
    """Return RFC 3339 in UTC, with as many digits of the second as it takes, in threes."""
    return _moment_text(value.seconds, value.nanos)


@lru_cache(maxsize=4096)
def _moment_text(seconds: int, nanos: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:-6]}{_fraction(nanos)}Z"


def _duration_text(value: Duration) -> str:
    total = value.seconds * _NANOS + value.nanos
    sign, (seconds, nanos) = "-" if total < 0 else "", divmod(abs(total), _NANOS)
    return f"{sign}{seconds}{_fraction(nanos)}s"


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    digits = f"{nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}"


def _struct(value: Struct) -> dict[str, Any]:
    fields = value.fields
    # Not `.items()`: the map's view is slow Python, its keys are not.
    return {key: _value(fields[key]) for key in fields}


def _list(value: ListValue) -> list[Any]:
    return [_value(item) for item in value.values]


def _value(value: Value) -> Json:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        exact = number.is_integer() and abs(number) <= _LARGEST_EXACT_INTEGER
        return int(number) if exact else _number(number)
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return _list(value.list_value)
    if kind in {"string_value", "bool_value"}:
        return getattr(value, kind)
    return None


_WELL_KNOWN: dict[str, Encode] = {
    "google.protobuf.Timestamp": timestamp_text,
    "google.protobuf.Duration": _duration_text,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Value": _value,
    "google.protobuf.Any": json_format.MessageToDict,
}
