"""Bodies of requests: JSON, YAML, and what Go clients send for Secrets, Kubernetes' protobuf.

Numbers of fields are those of k8s.io/apimachinery/pkg/runtime, …/meta/v1 and k8s.io/api/core/v1.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.cluster.store import StatusError

if TYPE_CHECKING:
    from tests.cluster.store import Object

_MAGIC = b"k8s\0"
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "TypeMeta": {"apiVersion": (1, "string"), "kind": (2, "string")},
    "Unknown": {"typeMeta": (1, "TypeMeta"), "raw": (2, "bytes")},
    "StringEntry": {"key": (1, "string"), "value": (2, "string")},
    "BytesEntry": {"key": (1, "string"), "value": (2, "bytes")},
    "ObjectMeta": {
        "name": (1, "string"),
        "generateName": (2, "string"),
        "namespace": (3, "string"),
        "resourceVersion": (6, "string"),
        "labels": (11, "*StringEntry"),
        "annotations": (12, "*StringEntry"),
    },
    "Secret": {
        "metadata": (1, "ObjectMeta"),
        "data": (2, "*BytesEntry"),
        "type": (3, "string"),
        "stringData": (4, "*StringEntry"),
    },
}


def parse(body: bytes) -> Any:
    """Return the object that a request carries; raise StatusError for one nobody can read."""
    if body.startswith(_MAGIC):
        return _secret(body.removeprefix(_MAGIC))
    if body[:1] in {b"", b"{"}:
        return json.loads(body or b"{}")
    return yaml.load(body, yaml.CSafeLoader)


def _secret(data: bytes) -> Object:
    unknown = _message("Unknown").FromString(data)
    if unknown.typeMeta.kind == "DeleteOptions":
        return {}  # Secrets end at once, whatever the options are
    if unknown.typeMeta.kind != "Secret":
        kind = unknown.typeMeta.kind
        raise StatusError(415, "UnsupportedMediaType", f"{kind}: only Secrets are read as protobuf")
    held = _message("Secret").FromString(unknown.raw)
    metadata: Object = {
        name: value
        for name in ("name", "generateName", "namespace", "resourceVersion")
        if (value := getattr(held.metadata, name))
    }
    for name in ("labels", "annotations"):
        if entries := getattr(held.metadata, name):
            metadata[name] = {entry.key: entry.value for entry in entries}
    data_of = {entry.key: base64.b64encode(entry.value).decode() for entry in held.data}
    found = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data_of}
    return found | {"type": held.type or "Opaque"}


@cache
def _message(name: str) -> Any:
    found = _pool().FindMessageTypeByName(f"k8s.{name}")
    return message_factory.GetMessageClass(found)


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="k8s.proto", package="k8s", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    plain = {"string": kinds.TYPE_STRING, "bytes": kinds.TYPE_BYTES}
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, declared) in fields.items():
            kind = declared.lstrip("*")
            label = kinds.LABEL_OPTIONAL if kind == declared else kinds.LABEL_REPEATED
            field = described.field.add(name=name, number=number, label=label)
            field.type = plain.get(kind, kinds.TYPE_MESSAGE)
            if kind not in plain:
                field.type_name = f".k8s.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
