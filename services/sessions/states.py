"""The words that sessions are stored with, and the moves between their states."""

from __future__ import annotations

from enum import StrEnum

from elodrome.sessions.v1 import session_pb2

from kit.states import Machine


class State(StrEnum):
    """Where a session stands."""

    ACTIVE = "ACTIVE"
    ENDED = "ENDED"
    ABANDONED = "ABANDONED"

    @classmethod
    def from_proto(cls, value: int) -> State:
        """Return the state of a known wire value."""
        return cls(session_pb2.SessionState.Name(value).removeprefix("SESSION_STATE_"))

    @property
    def wire_name(self) -> str:
        """Name of the value in the contract."""
        return f"SESSION_STATE_{self}"


class Mode(StrEnum):
    """What the player is there for."""

    PRACTICE = "PRACTICE"
    DUEL = "DUEL"
    DRILL = "DRILL"

    @classmethod
    def from_proto(cls, value: int) -> Mode:
        """Return the mode of a known wire value."""
        return cls(session_pb2.SessionMode.Name(value).removeprefix("SESSION_MODE_"))

    @property
    def wire_name(self) -> str:
        """Name of the value in the contract."""
        return f"SESSION_MODE_{self}"


class PinSource(StrEnum):
    """Where the pinned version was learned from."""

    REGISTRY = "REGISTRY"
    PROMOTION_EVENT = "PROMOTION_EVENT"

    @classmethod
    def from_proto(cls, value: int) -> PinSource:
        """Return the source of a known wire value."""
        return cls(session_pb2.PinSource.Name(value).removeprefix("PIN_SOURCE_"))

    @property
    def wire_name(self) -> str:
        """Name of the value in the contract."""
        return f"PIN_SOURCE_{self}"


MACHINE = Machine("session", {State.ACTIVE: {State.ENDED, State.ABANDONED}})
