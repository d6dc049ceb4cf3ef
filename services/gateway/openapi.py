"""The OpenAPI 3.1 document, made from the routes and from the comments of the protos."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from kit.rule import rule_of
from services.gateway import comments as proto_comments
from services.gateway.routes import Shape
from services.gateway.schemas import Schemas

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from services.gateway.routes import Route, Routes, Rpc

    Document = dict[str, Any]

_TITLE = "Elodrome"
_DESCRIPTION = (
    "Trains game-playing agents, proves that a new one is better before it replaces the old one, "
    "and lets people play against them. Every route is an RPC of one of the services; gRPC and "
    "REST take the same tokens and answer the same."
)
_QUERY_MESSAGES = {"google.protobuf.Timestamp", "google.protobuf.Duration"}
_REFUSALS = {
    "401": "Nobody in particular calls, or the credential does not hold.",
    "403": "The caller may not do this.",
    "404": "There is no such thing, or none the caller may know of.",
    "409": "The state of the thing, or a concurrent change, forbids it.",
    "422": "A field breaks its rule.",
    "429": "Too many requests; `Retry-After` says how long to wait.",
    "503": "Something needed is down; `Retry-After` says when to try again.",
}


def document(routes: Routes) -> Document:
    """Return the whole document."""
    comments = proto_comments.load()
    schemas = Schemas(comments)
    # Answers first: what both sides use keeps the stricter schema of an answer.
    for route in routes.all:
        schemas.message(route.rpc.descriptor.output_type, is_answer=True)
    paths: Document = {}
    seen: dict[str, int] = {}
    for route in routes.all:
        name = route.rpc.descriptor.name
        seen[name] = seen.get(name, 0) + 1
        operation = _operation(route, comments, schemas)
        operation["operationId"] = name if seen[name] == 1 else f"{name}{seen[name]}"
        paths.setdefault(route.template, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": _TITLE,
            "version": metadata.version("elodrome"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": _tags(routes, comments),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": _security_schemes(),
            "responses": {code: _refusal(text) for code, text in _REFUSALS.items()},
        },
        "security": [{"bearer": []}, {"cookie": []}],
    }


def _tag(rpc: Rpc) -> str:
    return rpc.descriptor.containing_service.name.removesuffix("Service")


def _tags(routes: Routes, comments: dict[str, str]) -> list[Document]:
    services = {_tag(route.rpc): route.rpc.descriptor.containing_service for route in routes.all}
    return [
        {"name": tag, "description": comments.get(service.full_name, "")}
        for tag, service in services.items()
    ]


def _security_schemes() -> Document:
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token from signing in, or an API key.",
        },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "elodrome_token",
            "description": "Set by signing in; changes must come from this site's own pages.",
        },
    }


def _refusal(text: str) -> Document:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _operation(route: Route, comments: dict[str, str], schemas: Schemas) -> Document:
    rpc = route.rpc
    comment = comments.get(rpc.descriptor.full_name, "")
    summary = comment.replace("\n", " ").partition(". ")[0].rstrip(".")
    rule = rule_of(rpc.descriptor)
    operation: Document = {
        "tags": [_tag(rpc)],
        "summary": summary,
        "description": comment,
        "parameters": [*_path_parameters(route, schemas), *_query_parameters(route, schemas)],
        "responses": _responses(route, schemas),
        "x-rpc": rpc.name,
    }
    if rule:
        operation["x-roles"] = sorted(rule.allow)
        operation["x-scope"] = rule.scope
    if rpc.anonymous:
        operation["security"] = [{}]
    if route.method == "POST" and rpc.shape is Shape.UNARY:
        operation["parameters"].append(_idempotency_parameter())
    if body := _request_body(route, schemas):
        operation["requestBody"] = body
    return operation


def _idempotency_parameter() -> Document:
    text = "Sent again with the same value, the request acts once and is answered the same."
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "description": text,
        "schema": {"type": "string", "maxLength": 200},
    }


def _path_parameters(route: Route, schemas: Schemas) -> list[Document]:
    fields = route.rpc.descriptor.input_type.fields_by_name
    return [
        _parameter(name, "path", schemas.field(fields[name], is_answer=False), required=True)
        for name in route.variables
    ]


def _query_parameters(route: Route, schemas: Schemas) -> list[Document]:
    if route.body == "*":
        return []
    taken = {route.body, *route.variables}
    return [
        _parameter(field.name, "query", schemas.field(field, is_answer=False), required=False)
        for field in route.rpc.descriptor.input_type.fields
        if field.name not in taken and _fits_query(field)
    ]


def _fits_query(field: FieldDescriptor) -> bool:
    return field.message_type is None or field.message_type.full_name in _QUERY_MESSAGES


def _parameter(name: str, where: str, schema: Document, *, required: bool) -> Document:
    description = schema.pop("description", "")
    if isinstance(kind := schema.get("type"), list):
        schema["type"] = kind[0]
    parameter = {"name": name, "in": where, "description": description, "schema": schema}
    return {**parameter, "required": True} if required else parameter


def _request_body(route: Route, schemas: Schemas) -> Document | None:
    if route.rpc.shape is Shape.UPLOAD:
        return {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
    if not route.body:
        return None
    descriptor = route.rpc.descriptor.input_type
    if route.body == "*":
        schema = _whole_body(route, descriptor, schemas)
    else:
        schema = schemas.field(descriptor.fields_by_name[route.body], is_answer=False)
    return {"content": {"application/json": {"schema": schema}}}


def _whole_body(route: Route, descriptor: Descriptor, schemas: Schemas) -> Document:
    if not route.variables:
        return schemas.message(descriptor, is_answer=False)
    properties = {
        field.name: schemas.field(field, is_answer=False)
        for field in descriptor.fields
        if field.name not in route.variables
    }
    return {"type": "object", "properties": properties}


def _responses(route: Route, schemas: Schemas) -> Document:
    rpc = route.rpc
    responses: Document = {str(rpc.success): _success(route, schemas)}
    for code in _REFUSALS:
        if not (code == "401" and rpc.anonymous):
            responses[code] = {"$ref": f"#/components/responses/{code}"}
    return responses


def _success(route: Route, schemas: Schemas) -> Document:
    descriptor = route.rpc.descriptor.output_type
    if route.rpc.shape is Shape.DOWNLOAD:
        return {"description": "The bytes.", "content": {"application/octet-stream": {}}}
    schema = schemas.message(descriptor, is_answer=True)
    if route.rpc.shape is Shape.WATCH:
        text = (
            "Server-sent events: `id` is the cursor to resume from by `Last-Event-ID`, `event` "
            "names the member of the update, `data` is that member as JSON."
        )
        media = {"schema": {"type": "string"}, "x-message": schema}
        return {"description": text, "content": {"text/event-stream": media}}
    if route.response_body:
        field = descriptor.fields_by_name[route.response_body]
        schema = schemas.field(field, is_answer=True)
    return {"description": "Done.", "content": {"application/json": {"schema": schema}}}
