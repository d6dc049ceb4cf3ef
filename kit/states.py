"""A state machine as a table: which moves exist, and a refusal that names both states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

State = TypeVar("State")


class Machine(Generic[State]):
    """The moves of one noun: `Machine("run", {PENDING: {RUNNING, CANCELLED}, RUNNING: …})`.

    A state without moves, or absent from the table's keys, is terminal. `name` turns a state into
    the word a person reads; it is needed where states are proto enum numbers.
    """

    def __init__(
        self,
        noun: str,
        moves: Mapping[State, AbstractSet[State]],
        *,
        name: Callable[[State], str] = str,
    ) -> None:
        self.noun = noun
        self._moves = moves
        self._name = name

    def check(self, current: State, new: State) -> None:
        """Raise FAILED_PRECONDITION, reason ILLEGAL_TRANSITION, unless the move is in the table."""
        if new in self._moves.get(current, ()):
            return
        before, after = self._name(current), self._name(new)
        raise errors.failed_precondition(
            f"a {self.noun} that is {before} cannot become {after}",
            reason="ILLEGAL_TRANSITION",
            current=before,
            requested=after,
        )

    def allows(self, current: State, new: State) -> bool:
        """Say whether the move is in the table."""
        return new in self._moves.get(current, ())

    def is_terminal(self, state: State) -> bool:
        """Say whether nothing comes after this state."""
        return not self._moves.get(state)
