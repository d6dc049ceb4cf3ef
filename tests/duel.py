"""A match of two that takes no time: whoever points at the lamp that is lit scores."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from games.interface import ObservationSpace, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from games.interface import Frame

SIDE = 12
SPACE = ObservationSpace(1, 1, SIDE, SIDE)


class LampSeat:
    """What one player knows; `pointed` is what he did."""

    feature_names: tuple[str, ...] = ("first",)

    def __init__(self) -> None:
        self.total_reward = 0.0
        self.variables = {"HEALTH": 100.0}
        self.features: tuple[bool, ...] = (False,)
        self.pointed: list[int] = []

    @property
    def facts(self) -> dict[str, float]:
        return {"pointed": float(len(self.pointed))}


class LampDuel:
    """Both see the same three lamps; the one that hits alone wins a point off the other."""

    observation_space = SPACE
    action_count = 3
    DECISIONS = 6

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.seats = [LampSeat(), LampSeat()]
        self.is_closed = False

    def new_episode(self, seed: int, frames: Sequence[Frame]) -> None:
        # As in a match of engines, who sits where is settled by then.
        self.seats = [LampSeat(), LampSeat()]
        self._random, self._left = random.Random(seed), self.DECISIONS
        self._show(frames)

    def make_actions(self, actions: Sequence[int], frames: Sequence[Frame]) -> list[Outcome]:
        hits = [float(action == self._lit) for action in actions]
        self._left -= 1
        outcomes = []
        for own, other, seat, action in zip(hits, hits[::-1], self.seats, actions, strict=True):
            seat.pointed.append(action)
            seat.total_reward += own - other
            outcomes.append(Outcome(own - other, ended=not self._left, cut=False))
        if self._left:
            self._show(frames)
        return outcomes

    def close(self) -> None:
        self.is_closed = True

    def _show(self, frames: Sequence[Frame]) -> None:
        self._lit = self._random.randrange(3)
        for frame in frames:
            frame[:] = 0
            frame[0, :, 4 * self._lit : 4 * self._lit + 4] = 255
