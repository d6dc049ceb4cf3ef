"""What may happen in a session: each type of event with the fields of its payload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from kit.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.struct_pb2 import Struct, Value

MAX_T_MS = 86_400_000
MAX_PAYLOAD_BYTES = 4_096


class Kind(Protocol):
    """The kind of value that a payload field takes."""

    def broken_rule(self, value: object) -> str | None:
        """Say what the value should have been, or None if it is that."""
        ...


@dataclass(frozen=True)
class Number:
    """A number in [low, high]; NaN lies in no range."""

    low: float
    high: float

    def broken_rule(self, value: object) -> str | None:
        """Say what the value should have been, or None if it is that."""
        # bool is an int in Python and a different thing in JSON.
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._rule
        return None if self.low <= value <= self.high else self._rule

    @property
    def _rule(self) -> str:
        return f"must be a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Word:
    """A text of 1 to `max_length` printable characters."""

    max_length: int = 64

    def broken_rule(self, value: object) -> str | None:
        """Say what the value should have been, or None if it is that."""
        if isinstance(value, str) and 1 <= len(value) <= self.max_length and value.isprintable():
            return None
        return f"must be a text of 1 to {self.max_length} printable characters"


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def broken_rule(self, value: object) -> str | None:
        """Say what the value should have been, or None if it is that."""
        return None if value in self.words else f"must be one of {', '.join(self.words)}"


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def broken_rule(self, value: object) -> str | None:
        """Say what the value should have been, or None if it is that."""
        return None if isinstance(value, bool) else "must be true or false"


@dataclass(frozen=True)
class EventType:
    """The fields of one type of event."""

    required: Mapping[str, Kind] = field(default_factory=dict)
    optional: Mapping[str, Kind] = field(default_factory=dict)

    def check(self, payload: Mapping[str, object]) -> None:
        """Raise INVALID_ARGUMENT naming the first field that is missing, unknown or wrong."""
        fields = {**self.required, **self.optional}
        for name in self.required:
            if name not in payload:
                raise invalid_argument(f"payload.{name}", "is required for this type of event")
        for name, value in payload.items():
            if name not in fields:
                known = ", ".join(sorted(fields)) or "none"
                raise invalid_argument(f"payload.{name}", f"is not a known field (known: {known})")
            if rule := fields[name].broken_rule(value):
                raise invalid_argument(f"payload.{name}", rule)


EVENT_TYPES: Mapping[str, EventType] = {
    "round_started": EventType(optional={"round": Number(1, 1_000)}),
    "round_ended": EventType(required={"outcome": Choice(("win", "loss", "draw"))}),
    "opponent_seen": EventType(optional={"distance": Number(0, 1e6)}),
    "shot": EventType(
        required={"hit": Flag()}, optional={"damage": Number(0, 1_000), "weapon": Word()}
    ),
    "damage_taken": EventType(
        required={"amount": Number(0, 1_000)},
        optional={"health": Number(0, 1_000), "source": Word()},
    ),
    "kill": EventType(optional={"victim": Word()}),
    "death": EventType(optional={"cause": Word()}),
    "item_pickup": EventType(required={"item": Word()}, optional={"amount": Number(0, 1_000)}),
    "position": EventType(required={"x": Number(-1e6, 1e6), "y": Number(-1e6, 1e6)}),
}


def read_payload(payload: Struct) -> dict[str, object]:
    """Return the payload as plain values; whole numbers become int.

    Raises INVALID_ARGUMENT for more than 4,096 bytes and for null, lists and objects, which no type
    of event has: nothing is walked into.
    """
    if payload.ByteSize() > MAX_PAYLOAD_BYTES:
        raise invalid_argument(
            "payload",
            f"must have at most {MAX_PAYLOAD_BYTES} bytes",
            reason="PAYLOAD_TOO_LARGE",
            http_status=413,
        )
    return {name: _plain(name, value) for name, value in payload.fields.items()}


def _plain(name: str, value: Value) -> object:
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "string_value":
            return value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case _:
            raise invalid_argument(f"payload.{name}", "must be a number, a text, true or false")


def check_event(type_name: str, t_ms: int, payload: Mapping[str, object]) -> None:
    """Raise INVALID_ARGUMENT unless this is an event of a known type with the payload of that type.

    `t_ms` is in ms since the start of the session, 0 to 86,400,000.
    """
    if not 0 <= t_ms <= MAX_T_MS:
        raise invalid_argument("t_ms", f"must be from 0 to {MAX_T_MS} ms")
    if type_name not in EVENT_TYPES:
        raise invalid_argument(
            "type",
            f"is not a known type of event (known: {', '.join(EVENT_TYPES)})",
            reason="UNKNOWN_EVENT_TYPE",
        )
    EVENT_TYPES[type_name].check(payload)
