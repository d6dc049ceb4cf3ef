from __future__ import annotations

import enum

import grpc
import pytest

from kit.errors import RpcError
from kit.states import Machine


class State(enum.StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"


MACHINE = Machine(
    "run", {State.PENDING: {State.RUNNING}, State.RUNNING: {State.COMPLETED}, State.COMPLETED: ()}
)


def test_a_move_of_the_table_is_allowed() -> None:
    MACHINE.check(State.PENDING, State.RUNNING)
    assert MACHINE.allows(State.RUNNING, State.COMPLETED)


def test_another_move_is_refused_with_both_states() -> None:
    with pytest.raises(RpcError) as caught:
        MACHINE.check(State.COMPLETED, State.RUNNING)
    error = caught.value
    assert error.code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.reason == "ILLEGAL_TRANSITION"
    assert error.message == "a run that is COMPLETED cannot become RUNNING"
    assert error.metadata == {"current": "COMPLETED", "requested": "RUNNING"}


def test_a_state_without_moves_is_terminal() -> None:
    assert [state for state in State if MACHINE.is_terminal(state)] == [State.COMPLETED]
