"""A game that can be won only by whoever remembers; actors start it in processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from games.interface import ObservationSpace, Outcome
from trainer.games import GameSetup

if TYPE_CHECKING:
    from games.interface import Frame

SIDE = 12
DECISIONS = 4


class RecallGame:
    """The first frame lights one half; the last of four decisions brings 1 for that half, else -1.

    Every frame between is dark. Half of all episodes light either half, so whoever sees only the
    newest frame scores 0 on average.
    """

    def __init__(self) -> None:
        self.observation_space = ObservationSpace(1, 1, SIDE, SIDE)
        self.action_count = 2
        self.feature_names = ("is_first",)
        self.facts: dict[str, float] = {}
        self.total_reward = 0.0
        self.variables = {"LEFT": float(DECISIONS)}
        self._half = self._done = 0

    @property
    def features(self) -> tuple[bool, ...]:
        return (self._done == 0,)

    def new_episode(self, seed: int, frame: Frame) -> None:
        self._half = int(np.random.default_rng(seed).integers(2))
        self._done, self.total_reward = 0, 0.0
        frame[:] = 0
        frame[0, self._half * SIDE // 2 : (self._half + 1) * SIDE // 2] = 255

    def make_action(self, action: int, frame: Frame) -> Outcome:
        self._done += 1
        if self._done < DECISIONS:
            frame[:] = 0
            return Outcome(0.0, ended=False, cut=False)
        self.total_reward = 1.0 if action == self._half else -1.0
        return Outcome(self.total_reward, ended=True, cut=False)

    def close(self) -> None:
        pass


def start(_: str) -> RecallGame:
    """Start one; there is only one map."""
    return RecallGame()


RECALL = GameSetup(
    start=start, space=ObservationSpace(1, 1, SIDE, SIDE), action_count=2, feature_count=1
)
