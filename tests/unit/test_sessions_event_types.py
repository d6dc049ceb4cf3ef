"""Payloads are checked field by field, and a refusal names the field and the rule."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from kit.errors import RpcError
from services.sessions.event_types import EVENT_TYPES, MAX_T_MS, check_event, read_payload

SMALLEST = {
    "round_started": {},
    "round_ended": {"outcome": "win"},
    "opponent_seen": {},
    "shot": {"hit": True},
    "damage_taken": {"amount": 10},
    "kill": {},
    "death": {},
    "item_pickup": {"item": "medikit"},
    "position": {"x": -3.5, "y": 1e6},
}


def test_every_type_takes_its_smallest_payload() -> None:
    assert SMALLEST.keys() == EVENT_TYPES.keys()
    for type_name, payload in SMALLEST.items():
        check_event(type_name, 0, payload)


@pytest.mark.parametrize(
    ("type_name", "payload", "field"),
    [
        ("shot", {}, "payload.hit"),
        ("shot", {"hit": 1}, "payload.hit"),
        ("shot", {"hit": "true"}, "payload.hit"),
        ("shot", {"hit": True, "damage": 1_001}, "payload.damage"),
        ("shot", {"hit": True, "damage": float("nan")}, "payload.damage"),
        ("shot", {"hit": True, "damage": True}, "payload.damage"),
        ("shot", {"hit": True, "weapon": ""}, "payload.weapon"),
        ("shot", {"hit": True, "weapon": "x" * 65}, "payload.weapon"),
        ("shot", {"hit": True, "weapon": "\x1b[31m"}, "payload.weapon"),
        ("shot", {"hit": True, "wepon": "pistol"}, "payload.wepon"),
        ("round_ended", {"outcome": "victory"}, "payload.outcome"),
        ("position", {"x": 1}, "payload.y"),
        ("position", {"x": 1, "y": float("inf")}, "payload.y"),
        ("kill", {"points": 1_000}, "payload.points"),
    ],
)
def test_wrong_payload_is_refused_by_field(
    type_name: str, payload: dict[str, object], field: str
) -> None:
    with pytest.raises(RpcError) as refusal:
        check_event(type_name, 0, payload)
    assert refusal.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.field == field


def test_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RpcError) as refusal:
        check_event("teleport", 0, {})
    assert refusal.value.reason == "UNKNOWN_EVENT_TYPE"
    assert "opponent_seen" in refusal.value.message


@pytest.mark.parametrize("t_ms", [-1, MAX_T_MS + 1])
def test_time_outside_of_a_day_is_refused(t_ms: int) -> None:
    with pytest.raises(RpcError) as refusal:
        check_event("kill", t_ms, {})
    assert refusal.value.field == "t_ms"


def test_payload_numbers_keep_their_kind() -> None:
    payload = Struct()
    payload.update({"amount": 10, "x": 0.5, "hit": True, "weapon": "pistol"})
    assert read_payload(payload) == {"amount": 10, "x": 0.5, "hit": True, "weapon": "pistol"}


@pytest.mark.parametrize("value", [None, [1], {"deep": {"deeper": 1}}])
def test_nested_payload_is_refused(value: object) -> None:
    payload = Struct()
    payload.update({"weapon": value})
    with pytest.raises(RpcError) as refusal:
        read_payload(payload)
    assert refusal.value.field == "payload.weapon"


def test_large_payload_is_refused_as_too_large() -> None:
    payload = Struct()
    payload.update({"weapon": "x" * 4_096})
    with pytest.raises(RpcError) as refusal:
        read_payload(payload)
    assert refusal.value.reason == "PAYLOAD_TOO_LARGE"
    assert refusal.value.metadata["http_status"] == "413"
