"""The published document says exactly what the routes do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.gateway import openapi, routes
from services.gateway.routes import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = routes.load()
DOCUMENT = openapi.document(TABLE)
OPERATIONS = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(found := value.get("$ref"), str):
            yield found
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_binding_is_an_operation_and_nothing_else_is() -> None:
    assert set(OPERATIONS) == {(route.method, route.template) for route in TABLE.all}


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("key", OPERATIONS, ids=" ".join)
def test_an_operation_is_complete(key: Any) -> None:
    operation = OPERATIONS[key]
    declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
    assert declared == set(re.findall(r"{(\w+)}", key[1]))
    assert all(p["required"] for p in operation["parameters"] if p["in"] == "path")
    assert operation["summary"]
    assert operation["description"]
    successes = [code for code in operation["responses"] if code.startswith("2")]
    assert len(successes) == 1
    assert "401" in operation["responses"] or operation["security"] == [{}]


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_a_schema_describes_itself_and_its_fields(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    assert schema["description"]
    if name == "Error":
        return
    for field, inner in schema.get("properties", {}).items():
        assert inner.get("description"), f"{name}.{field}"


def test_streams_name_the_message_they_carry() -> None:
    for route in TABLE.all:
        if route.rpc.shape is Shape.WATCH:
            content = OPERATIONS[route.method, route.template]["responses"]["200"]["content"]
            assert "x-message" in content["text/event-stream"]


def test_the_gateway_names_no_rpc_of_another_service() -> None:
    foreign = {rpc.descriptor.name for rpc in TABLE.rpcs if rpc.backend != "gateway"}
    own = {rpc.descriptor.name for rpc in TABLE.rpcs if rpc.backend == "gateway"}
    for file in Path("services/gateway").rglob("*.py"):
        words = set(re.findall(r"\w+", re.sub(r'"""(?s:.*?)"""', "", file.read_text())))
        assert not words & (foreign - own), file
