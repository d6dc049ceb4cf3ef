"""A game whose maps differ only in what a decision brings: to see which of them is played."""

from __future__ import annotations

from typing import TYPE_CHECKING

from games.interface import ObservationSpace, Outcome

if TYPE_CHECKING:
    from games.interface import Frame

WORTH = {"basic": 1.0, "simpler_basic": 2.0, "rocket_basic": 4.0}
SPACE = ObservationSpace(1, 1, 12, 12)


class PlaceGame:
    """Three decisions, each of which brings what its map is worth."""

    observation_space = SPACE
    action_count = 2
    feature_names: tuple[str, ...] = ()
    features: tuple[bool, ...] = ()

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.total_reward = 0.0
        self.variables: dict[str, float] = {}
        self.facts = {"worth": WORTH[scenario]}
        self.is_closed = False
        self._left = 0

    def new_episode(self, seed: int, frame: Frame) -> None:
        self.total_reward, self._left = 0.0, 3
        frame[0] = seed % 251

    def make_action(self, action: int, frame: Frame) -> Outcome:  # noqa: ARG002
        reward = WORTH[self.scenario]
        self.total_reward += reward
        self._left -= 1
        frame[0] = self._left
        return Outcome(reward, ended=not self._left, cut=False)

    def close(self) -> None:
        self.is_closed = True
