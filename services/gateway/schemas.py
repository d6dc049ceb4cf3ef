"""JSON Schemas of messages, as the gateway's own JSON mapping reads and writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from services.gateway.encode import enum_prefix

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor

    Schema = dict[str, Any]

_INTEGER = {"type": "integer"}
_INT64 = {"type": "integer", "format": "int64"}
_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_DOUBLE: {"$ref": "#/components/schemas/Double"},
    FieldDescriptor.TYPE_FLOAT: {"$ref": "#/components/schemas/Double"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_INT32: _INTEGER,
    FieldDescriptor.TYPE_SINT32: _INTEGER,
    FieldDescriptor.TYPE_UINT32: _INTEGER,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_UINT64: _INT64,
}
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d+)?s$"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {"type": "object", "additionalProperties": True},
}
_FIXED: dict[str, dict[str, Any]] = {
    "Double": {
        "description": "A number; what JSON has no number for is a string.",
        "oneOf": [
            {"type": "number", "format": "double"},
            {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]},
        ],
    },
    "Error": {
        "description": "Every refusal looks like this.",
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "reason", "message", "field", "request_id"],
                "properties": {
                    "code": {"type": "string", "description": "gRPC status, `NOT_FOUND`."},
                    "reason": {"type": "string", "description": "Stable, `RUN_NOT_FOUND`."},
                    "message": {"type": "string", "description": "A sentence for people."},
                    "field": {
                        "type": ["string", "null"],
                        "description": "Path of the field at fault.",
                    },
                    "request_id": {"type": "string", "description": "As in `x-request-id`."},
                    "details": {
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                        "description": "The variables of the message.",
                    },
                },
            }
        },
    },
}


class Schemas:
    """Collects the schemas of messages and enums under `components/schemas`."""

    def __init__(self, comments: dict[str, str]) -> None:
        self.components: dict[str, Schema] = dict(_FIXED)
        self._comments = comments
        self._names: dict[str, str] = {}

    def message(self, descriptor: Descriptor, *, is_answer: bool) -> Schema:
        """Return a reference to a message's schema, collecting it and all it holds.

        Answers always hold every field that is not optional; requests may leave out any.
        """
        if descriptor.full_name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[descriptor.full_name])
        name = self._name(descriptor.full_name, descriptor.name)
        if name not in self.components:
            schema: Schema = {"type": "object", "additionalProperties": False, "properties": {}}
            self.components[name] = schema
            self._describe(schema, descriptor.full_name)
            for field in descriptor.fields:
                schema["properties"][field.name] = self.field(field, is_answer=is_answer)
            if is_answer and (always := [f.name for f in descriptor.fields if _is_always(f)]):
                schema["required"] = always
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor, *, is_answer: bool) -> Schema:
        """Return the schema of a field with its comment."""
        if field.message_type and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            inner = self._single(value, is_answer=is_answer)
            schema: Schema = {"type": "object", "additionalProperties": inner}
        elif field.is_repeated:
            schema = {"type": "array", "items": self._single(field, is_answer=is_answer)}
        else:
            schema = self._single(field, is_answer=is_answer)
            if field.has_presence:
                schema = _nullable(schema)
        self._describe(schema, field.full_name)
        return schema

    def _single(self, field: FieldDescriptor, *, is_answer: bool) -> Schema:
        if field.message_type:
            return self.message(field.message_type, is_answer=is_answer)
        if field.enum_type:
            return self._enum(field.enum_type)
        return dict(_SCALARS[field.type])

    def _enum(self, enum: EnumDescriptor) -> Schema:
        name = self._name(enum.full_name, enum.name)
        if name not in self.components:
            prefix = enum_prefix(enum)
            lines = [
                f"* `{value.name.removeprefix(prefix)}`: "
                + " ".join(self._comments.get(f"{enum.full_name}.{value.name}", "").split())
                for value in enum.values
            ]
            about = self._comments.get(enum.full_name, "")
            self.components[name] = {
                "type": "string",
                "enum": [value.name.removeprefix(prefix) for value in enum.values],
                "description": "\n".join([about, "", *lines]).strip(),
            }
        return {"$ref": f"#/components/schemas/{name}"}

    def _describe(self, schema: Schema, full_name: str) -> None:
        if comment := self._comments.get(full_name):
            schema["description"] = comment

    def _name(self, full_name: str, short: str) -> str:
        """Return the short name, or the package too where another package has the same name."""
        holder = self._names.setdefault(short, full_name)
        if holder == full_name and short not in _FIXED:
            return short
        return full_name.removeprefix("elodrome.")


def _is_always(field: FieldDescriptor) -> bool:
    oneof = field.containing_oneof
    return oneof is None or oneof.name == f"_{field.name}"


def _nullable(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema
