"""JSON and query text to protobuf, compiled once per message type from its descriptor.

Strict, so that a typing mistake is refused instead of ignored: unknown fields, wrong types,
numbers out of range and unknown enum names are INVALID_ARGUMENT naming the field's path.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.struct_pb2 import NULL_VALUE

from kit import errors
from services.gateway.encode import enum_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor, EnumDescriptor
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.struct_pb2 import ListValue, Struct, Value
    from google.protobuf.timestamp_pb2 import Timestamp

    from services.gateway.encode import Json

    Put = Callable[[Message, Json, str], None]
    Parse = Callable[[Json, str], Any]

MAX_DEPTH = 32
"""Levels of nesting that a JSON body may have."""

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}
_FLOAT_MAX = 3.4028234663852886e38
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-]\d\d:\d\d))"
)
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s")
_INTEGER_TEXT = re.compile(r"-?\d{1,20}")


def loads(body: bytes) -> Json:
    """Return the JSON value of a body.

    Raises INVALID_ARGUMENT when it is not JSON in UTF-8 or is nested too deeply.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.invalid_argument("body", f"is not JSON: {error}", reason="BAD_JSON") from None
    if _too_deep(value):
        rule = f"must be nested at most {MAX_DEPTH} deep"
        raise errors.invalid_argument("body", rule, reason="TOO_DEEP", max_depth=MAX_DEPTH)
    return value


def _too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def merge(message: Message, value: object, path: str = "") -> None:
    """Set the fields that a JSON object names; null counts as absent."""
    puts = _puts(message.DESCRIPTOR)
    if not isinstance(value, dict):
        raise errors.invalid_argument(path or "body", "must be an object", reason="WRONG_TYPE")
    for name, item in value.items():
        here = f"{path}.{name}" if path else name
        put = puts.get(name)
        if put is None:
            raise unknown_field(here)
        if item is not None:
            put(message, item, here)


def merge_text(message: Message, name: str, values: list[str]) -> None:
    """Set one field, named by a dotted path, from the text of a URL."""
    *parents, last = name.split(".")
    target = message
    for parent in parents:
        field = target.DESCRIPTOR.fields_by_name.get(parent)
        if field is None or field.is_repeated or field.message_type is None:
            raise unknown_field(name)
        target = getattr(target, parent)
    field = target.DESCRIPTOR.fields_by_name.get(last)
    if field is None or (field.message_type and field.message_type.full_name not in _FROM_TEXT):
        raise unknown_field(name)
    if not field.is_repeated and len(values) > 1:
        raise errors.invalid_argument(name, "may be given once", reason="REPEATED_FIELD")
    parsed = [_from_text(field.type, value, name) for value in values]
    _puts(target.DESCRIPTOR)[last](target, parsed if field.is_repeated else parsed[0], name)


def unknown_field(path: str) -> errors.RpcError:
    """Say that the request has no such field."""
    return errors.invalid_argument(_shown(path), "unknown field", reason="UNKNOWN_FIELD")


def _shown(path: str) -> str:
    """Return a path made by the caller, fit for a message and a log line."""
    return "".join(c if c.isprintable() else "?" for c in path[:200])


def _from_text(kind: int, text: str, path: str) -> object:
    if kind in _INTEGERS and _INTEGER_TEXT.fullmatch(text):
        return int(text)
    if kind in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
        return _float_from_text(text, path)
    if kind == FieldDescriptor.TYPE_BOOL and text in {"true", "false"}:
        return text == "true"
    return text


def _float_from_text(text: str, path: str) -> float | str:
    if text in _NOT_FINITE:
        return text
    try:
        return float(text)
    except ValueError:
        raise _wrong_type(path, "a number") from None


@cache
def _puts(descriptor: Descriptor) -> dict[str, Put]:
    return {field.name: _put(field) for field in descriptor.fields}


def _put(field: FieldDescriptor) -> Put:
    name = field.name
    if message_type := field.message_type:
        if message_type.GetOptions().map_entry:
            return _put_map(name, message_type)
        put_type = _put_messages if field.is_repeated else _put_message
        return put_type(name, message_type)
    parse = _scalar(field)

    def put(message: Message, value: Json, path: str) -> None:
        setattr(message, name, parse(value, path))

    def put_all(message: Message, value: Json, path: str) -> None:
        items = [parse(item, f"{path}[{i}]") for i, item in enumerate(_array(value, path))]
        getattr(message, name).extend(items)

    return put_all if field.is_repeated else put


def _put_message(name: str, message_type: Descriptor) -> Put:
    assign = _FROM_JSON.get(message_type.full_name, merge)

    def put(message: Message, value: Json, path: str) -> None:
        target = getattr(message, name)
        target.SetInParent()
        assign(target, value, path)

    return put


def _put_messages(name: str, message_type: Descriptor) -> Put:
    assign = _FROM_JSON.get(message_type.full_name, merge)

    def put(message: Message, value: Json, path: str) -> None:
        target = getattr(message, name)
        for index, item in enumerate(_array(value, path)):
            assign(target.add(), item, f"{path}[{index}]")

    return put


def _put_map(name: str, entry_type: Descriptor) -> Put:
    key, item = (entry_type.fields_by_name[part] for part in ("key", "value"))
    parse_key = _scalar(key)
    parse = None if item.message_type else _scalar(item)
    assign = _FROM_JSON.get(item.message_type.full_name, merge) if item.message_type else merge

    def put(message: Message, value: Json, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(path, "an object")
        target = getattr(message, name)
        for text, entry in value.items():
            here = f"{path}.{text}"
            parsed = parse_key(_from_text(key.type, text, here), here)
            if parse:
                target[parsed] = parse(entry, here)
            else:
                assign(target[parsed], entry, here)

    return put


def _array(value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong_type(path, "an array")
    return value


def _scalar(field: FieldDescriptor) -> Parse:
    if field.enum_type:
        return _enum(field.enum_type)
    if bounds := _INTEGERS.get(field.type):
        return _integer(*bounds)
    return _SCALARS[field.type]


def _integer(low: int, high: int) -> Parse:
    def parse(value: object, path: str) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong_type(path, "a whole number")
        if not low <= value <= high:
            raise errors.invalid_argument(path, f"must lie in {low}..{high}", reason="OUT_OF_RANGE")
        return value

    return parse


def _enum(enum: EnumDescriptor) -> Parse:
    prefix = enum_prefix(enum)
    numbers = {value.name: value.number for value in enum.values}
    numbers |= {value.name.removeprefix(prefix): value.number for value in enum.values}
    known = ", ".join(v.name.removeprefix(prefix) for v in enum.values if v.number)

    def parse(value: object, path: str) -> int:
        if not isinstance(value, str):
            raise _wrong_type(path, f"one of {known}")
        if value not in numbers:
            raise errors.invalid_argument(path, f"must be one of {known}", reason="UNKNOWN_ENUM")
        return numbers[value]

    return parse


def _double(value: object, path: str) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong_type(path, "a number")
    return float(value)


def _float(value: object, path: str) -> float:
    number = _double(value, path)
    if math.isfinite(number) and abs(number) > _FLOAT_MAX:
        rule = "must fit a 32-bit float"
        raise errors.invalid_argument(path, rule, reason="OUT_OF_RANGE")
    return number


def _boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(path, "true or false")
    return value


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(path, "text")
    if "\0" in value:
        raise errors.invalid_argument(path, "must not contain NUL", reason="BAD_TEXT")
    return value


def _bytes(value: object, path: str) -> bytes:
    text = _text(value, path)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise errors.invalid_argument(path, "must be base64", reason="BAD_BASE64") from None


_SCALARS: dict[int, Parse] = {
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_FLOAT: _float,
    FieldDescriptor.TYPE_BOOL: _boolean,
    FieldDescriptor.TYPE_STRING: _text,
    FieldDescriptor.TYPE_BYTES: _bytes,
}


def _wrong_type(path: str, wanted: str) -> errors.RpcError:
    return errors.invalid_argument(_shown(path), f"must be {wanted}", reason="WRONG_TYPE")


def _timestamp(target: Timestamp, value: object, path: str) -> None:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _wrong_type(path, "a time in RFC 3339, such as 2026-01-31T12:00:00Z")
    day, clock, fraction, utc, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if utc else offset}")
        target.seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise _wrong_type(path, "a time that exists") from None
    target.nanos = int((fraction or "").ljust(9, "0"))


def _duration(target: Duration, value: object, path: str) -> None:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _wrong_type(path, "a duration in seconds, such as 1.5s")
    sign = -1 if match[1] else 1
    target.seconds = sign * int(match[2])
    target.nanos = sign * int((match[3] or "").ljust(9, "0"))


def _struct(target: Struct, value: object, path: str) -> None:
    if not isinstance(value, dict):
        raise _wrong_type(path, "an object")
    for key, item in value.items():
        _value(target.fields[_text(key, path)], item, f"{path}.{key}")


def _list(target: ListValue, value: object, path: str) -> None:
    for index, item in enumerate(_array(value, path)):
        _value(target.values.add(), item, f"{path}[{index}]")


def _value(target: Value, value: object, path: str) -> None:
    if value is None:
        target.null_value = NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, str):
        target.string_value = _text(value, path)
    elif isinstance(value, dict):
        target.struct_value.SetInParent()
        _struct(target.struct_value, value, path)
    else:
        target.list_value.SetInParent()
        _list(target.list_value, value, path)


_FROM_TEXT = {"google.protobuf.Timestamp", "google.protobuf.Duration"}
_FROM_JSON: dict[str, Callable[[Any, Any, str], None]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Value": _value,
}
