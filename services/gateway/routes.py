"""The REST routes: read from the `google.api.http` options of every RPC there is.

Nothing here names an RPC. A proto file that appears under `gen/` brings its routes with it.
"""

from __future__ import annotations

import enum
import importlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import elodrome
import grpc
from elodrome.auth.v1 import rule_pb2
from elodrome.rest.v1 import rest_pb2
from google.api import annotations_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor

from kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.api.http_pb2 import HttpRule
    from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
    from google.protobuf.message import Message

_MAX_SEGMENT_LENGTH = 200
_VARIABLE = re.compile(r"\{([a-z][a-z0-9_.]*)(?:=\*)?\}")
# Packages are named after the service that serves them; accounts live at the edge.
_SERVED_AT_THE_EDGE = {"accounts": "gateway"}


class Shape(enum.Enum):
    """How the messages of an RPC travel through HTTP."""

    UNARY = "JSON in, JSON out"
    WATCH = "JSON in, server-sent events out"
    DOWNLOAD = "JSON in, bytes out"
    UPLOAD = "bytes in, JSON out"


@dataclass(frozen=True)
class Rpc:
    """One RPC with all that REST needs to know of it."""

    descriptor: MethodDescriptor
    backend: str
    """Name of the service that serves it."""
    request: type[Message]
    response: type[Message]
    shape: Shape
    anonymous: bool
    """Whether it may be called without credentials."""
    success: int
    """HTTP status of an answer."""

    @cached_property
    def name(self) -> str:
        """Full name, such as `elodrome.executor.v1.RunService/CreateRun`."""
        return f"{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @cached_property
    def path(self) -> str:
        """What gRPC calls it on the wire."""
        return f"/{self.name}"

    @cached_property
    def holds_secrets(self) -> bool:
        """Whether its answer has a field that is shown once and never recorded."""
        return any(f.GetOptions().debug_redact for f in self.response.DESCRIPTOR.fields)


@dataclass(frozen=True)
class Route:
    """One HTTP binding of an RPC."""

    rpc: Rpc
    method: str
    template: str
    variables: tuple[str, ...]
    """Request fields taken from the path, in order."""
    body: str
    """Request field that the body fills, `*` for all, empty for none."""
    response_body: str
    """Response field that is the answer, empty for the whole message."""


@dataclass
class Match:
    """What lives at a path: the route of each HTTP method, and the path's variables."""

    routes: dict[str, Route]
    values: list[str]


@dataclass
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    ends: dict[str, dict[str, Route]] = field(default_factory=dict)
    """Routes by custom verb (empty for none), then by HTTP method."""


class Routes:
    """Every route of every service, found by path."""

    def __init__(self, rpcs: list[Rpc]) -> None:
        self.rpcs = rpcs
        self.all: list[Route] = []
        self._root = _Node()
        for rpc in rpcs:
            for route in _bindings(rpc):
                self._add(route)

    def _add(self, route: Route) -> None:
        segments, verb = _split_verb(route.template)
        node = self._root
        for segment in segments:
            if _VARIABLE.fullmatch(segment):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literals.setdefault(segment, _Node())
        ends = node.ends.setdefault(verb, {})
        if route.method in ends:
            other = ends[route.method].rpc.name
            raise ValueError(f"{route.method} {route.template}: both {other} and {route.rpc.name}")
        ends[route.method] = route
        self.all.append(route)

    def match(self, raw_path: bytes) -> Match | None:
        """Return what lives at a percent-encoded path, decoding each segment once.

        Raises INVALID_ARGUMENT for a path that tries to leave its segment.
        """
        path = raw_path.decode("ascii", "replace")
        segments = path.split("/")[1:]
        head, _, verb = segments[-1].rpartition(":")
        if head:
            found = self._find([*segments[:-1], head], verb)
            if found:
                return found
        return self._find(segments, "")

    def _find(self, segments: list[str], verb: str) -> Match | None:
        stack: list[tuple[_Node, int, list[str]]] = [(self._root, 0, [])]
        while stack:
            node, at, values = stack.pop()
            if at == len(segments):
                if routes := node.ends.get(verb):
                    return Match(routes, [_decode(value) for value in values])
                continue
            # Pushed first, so that a literal wins over a variable.
            if node.variable and segments[at]:
                stack.append((node.variable, at + 1, [*values, segments[at]]))
            if literal := node.literals.get(segments[at]):
                stack.append((literal, at + 1, values))
        return None


def _split_verb(template: str) -> tuple[list[str], str]:
    head, colon, verb = template.rpartition(":")
    if colon and "}" not in verb and "/" not in verb:
        return head.split("/")[1:], verb
    return template.split("/")[1:], ""


def _decode(segment: str) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise _bad_path("is not UTF-8") from None
    if text in {".", ".."} or any(c in "/\\%" or not c.isprintable() for c in text):
        raise _bad_path("holds a character that no id has")
    if len(text) > _MAX_SEGMENT_LENGTH:
        raise _bad_path(f"has a part longer than {_MAX_SEGMENT_LENGTH} characters")
    return text


def _bad_path(why: str) -> errors.RpcError:
    metadata: dict[str, object] = {"http_status": 400}
    return errors.RpcError(
        grpc.StatusCode.INVALID_ARGUMENT, f"path: {why}", reason="BAD_PATH", metadata=metadata
    )


def load() -> Routes:
    """Return the routes of every service whose generated code is installed."""
    return Routes([_rpc(method) for service in services() for method in service.methods])


def services() -> Iterator[ServiceDescriptor]:
    """Yield the descriptor of every proto service under `elodrome`, in order of name."""
    for root in sorted(set(elodrome.__path__)):
        for file in sorted(Path(root).glob("*/v*/*_service_pb2.py")):
            module = importlib.import_module(
                ".".join(("elodrome", *file.relative_to(root).with_suffix("").parts))
            )
            yield from module.DESCRIPTOR.services_by_name.values()


def _rpc(method: MethodDescriptor) -> Rpc:
    options: Any = method.GetOptions()
    noun = method.containing_service.full_name.split(".")[1]
    return Rpc(
        descriptor=method,
        backend=_SERVED_AT_THE_EDGE.get(noun, noun),
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        shape=_shape(method),
        anonymous=rule_pb2.ROLE_ANONYMOUS in options.Extensions[rule_pb2.rule].allow,
        success=options.Extensions[rest_pb2.success] or 200,
    )


def _shape(method: MethodDescriptor) -> Shape:
    if method.client_streaming:
        return Shape.UPLOAD
    if method.server_streaming:
        return Shape.DOWNLOAD if _is_bytes(method.output_type) else Shape.WATCH
    return Shape.UNARY


def _is_bytes(descriptor: Descriptor) -> bool:
    fields = descriptor.fields
    return [f.name for f in fields] == ["data"] and fields[0].type == FieldDescriptor.TYPE_BYTES


def _bindings(rpc: Rpc) -> Iterator[Route]:
    options: Any = rpc.descriptor.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return
    rule = options.Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        yield _route(rpc, binding)


def _route(rpc: Rpc, binding: HttpRule) -> Route:
    verb = binding.WhichOneof("pattern")
    template: str = getattr(binding, verb)
    plain = _VARIABLE.sub("", template)
    if "{" in plain or "*" in plain or not template.startswith("/"):
        raise ValueError(f"{rpc.name}: cannot route {template!r}")
    return Route(
        rpc=rpc,
        method=verb.upper(),
        template=template,
        variables=tuple(_VARIABLE.findall(template)),
        body=binding.body,
        response_body=binding.response_body,
    )
