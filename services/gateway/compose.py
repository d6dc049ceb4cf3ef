"""The request message of an RPC, put together from path, query and body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from kit import errors
from services.gateway import decode
from services.gateway.encode import encoder
from services.gateway.routes import Shape

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from services.gateway.encode import Json
    from services.gateway.routes import Route

TICKET = "ticket"
"""The query parameter that is a credential and no field of a request."""


@dataclass(frozen=True)
class Target:
    """A route with the values of its path."""

    route: Route
    values: list[str]

    @property
    def variables(self) -> dict[str, str]:
        """The path's values by request field."""
        return dict(zip(self.route.variables, self.values, strict=True))


def compose(target: Target, query: dict[str, list[str]], body: bytes) -> Message:
    """Return the request message. Raises INVALID_ARGUMENT naming the field that is wrong."""
    message = target.route.rpc.request()
    if body and target.route.body:
        _merge_body(message, target, decode.loads(body))
    for name, values in query.items():
        if name == TICKET:
            continue
        if not _is_queryable(target, name):
            raise decode.unknown_field(name)
        decode.merge_text(message, name, values)
    for name, value in target.variables.items():
        decode.merge_text(message, name, [value])
    return message


def _merge_body(message: Message, target: Target, value: Json) -> None:
    if target.route.body != "*":
        value = {target.route.body: value}
    elif isinstance(value, dict):
        for name, in_path in target.variables.items():
            if value.get(name, in_path) != in_path:
                raise errors.invalid_argument(name, "differs from the path", reason="PATH_MISMATCH")
    decode.merge(message, value)


def _is_queryable(target: Target, name: str) -> bool:
    """Say whether a field may come from the query: what neither path nor body holds."""
    if target.route.rpc.shape is Shape.UPLOAD:
        return name not in {target.route.body, *target.route.variables}
    return target.route.body != "*" and name not in {target.route.body, *target.route.variables}


def answer_body(route: Route, response: Message, *, redact: bool = False) -> bytes:
    """Return a response as JSON text."""
    return orjson.dumps(answer_value(route, response, redact=redact))


def answer_value(route: Route, response: Message, *, redact: bool = False) -> Json:
    """Return a response as JSON values, without secrets when it is to be kept."""
    descriptor = response.DESCRIPTOR
    value = encoder(descriptor, redact=redact)(response)
    return value.get(route.response_body) if route.response_body else value
