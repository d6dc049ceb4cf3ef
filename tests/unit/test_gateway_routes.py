"""Routes are found by path, decoded once, and never escape their segment."""

from __future__ import annotations

from typing import Any

import pytest

from kit.errors import RpcError
from services.gateway import routes

TABLE = routes.load()


def names(path: bytes) -> dict[str, str]:
    found = TABLE.match(path)
    return {m: route.rpc.descriptor.name for m, route in found.routes.items()} if found else {}


def test_a_literal_wins_over_a_variable() -> None:
    assert names(b"/api/v1/users/me")["GET"] == "GetMe"
    assert names(b"/api/v1/users/6f")["GET"] == "GetUser"


def test_a_custom_verb_ends_the_path() -> None:
    assert names(b"/api/v1/checkpoints/6f:commit") == {"POST": "CommitCheckpoint"}
    assert names(b"/api/v1/checkpoints/6f:explode") == names(b"/api/v1/checkpoints/6f")


def test_values_are_decoded_once() -> None:
    assert TABLE.match(b"/api/v1/users/a%20b").values == ["a b"]


@pytest.mark.parametrize(
    "segment",
    [b"..%2fetc", b"%252e%252e", b"..", b"%5c", b"a%00b", b"%ff", b"x" * 201, b"%0a", b"%2e%2e"],
)
def test_a_segment_that_tries_to_escape_is_refused(segment: bytes) -> None:
    with pytest.raises(RpcError) as refused:
        TABLE.match(b"/api/v1/users/" + segment)
    assert refused.value.metadata["http_status"] == "400"


@pytest.mark.parametrize(
    "path", [b"/api/v1/users/", b"/api/v1//users", b"/api/v1/users/a/b", b"/api"]
)
def test_what_is_no_route_is_none(path: Any) -> None:
    assert TABLE.match(path) is None


def test_two_rpcs_cannot_claim_one_route() -> None:
    with pytest.raises(ValueError, match="both"):
        routes.Routes([*TABLE.rpcs, *TABLE.rpcs])
