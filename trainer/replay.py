"""The replay memory: the ring of a learner that goes back to old steps, as n-step transitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.ring import CUT, ENDED, GOES_ON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trainer.ring import Ring


@dataclass(frozen=True)
class Transitions:
    """B transitions: `returns` sums the discounted rewards, `discounts` weighs the next value.

    A discount is 0 where the episode ended. Transition b leads from step steps[b] of game games[b]
    to step next_steps[b] of it. All are [B].
    """

    steps: NDArray[np.int64]
    games: NDArray[np.int64]
    next_steps: NDArray[np.int64]
    actions: NDArray[np.int64]
    returns: NDArray[np.float32]
    discounts: NDArray[np.float32]


class Replay:
    """What may be remembered of a ring while the actors go on writing to it."""

    def __init__(self, ring: Ring) -> None:
        """Remember nothing yet."""
        self._ring = ring
        self._since = 0
        self.played = 0

    def __len__(self) -> int:
        """Count the steps of all games that may be drawn."""
        return len(self.held) * self._ring.shape.games

    @property
    def held(self) -> range:
        """The steps that may be read, counted from the first ever played.

        Their frames, and those that they are stacked on, are out of the actors' reach: these may
        be writing the window after the last one played, and the first frame after that.
        """
        shape = self._ring.shape
        lost = self.played - (self._ring.length - shape.rollout_steps - 1)
        first = lost + shape.space.history - 1 if lost > self._since else self._since
        return range(first, self.played)

    def grow(self, played: int) -> None:
        """Take in what was played: `played` steps of every game since the beginning."""
        self.played = played

    def draw(
        self, count: int, *, n_step: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw steps and games, [count] each, evenly among those with a history and a future."""
        first, last = self.held.start, self.held.stop - n_step
        steps = np.empty(count, dtype=np.int64)
        games = np.empty(count, dtype=np.int64)
        wanted = np.arange(count)
        while wanted.size:
            steps[wanted] = generator.integers(first, last, size=wanted.size)
            games[wanted] = generator.integers(0, self._ring.shape.games, size=wanted.size)
            ends = self._ring["ends"][steps[wanted] % self._ring.length, games[wanted]]
            wanted = wanted[ends == CUT]
        return steps, games

    def transitions(
        self, steps: NDArray[np.int64], games: NDArray[np.int64], *, n_step: int, gamma: float
    ) -> Transitions:
        """Sum up at most `n_step` steps from each of `steps` on.

        An episode that ended has no value after its end. One that was cut does, so its sum stops
        at the last state seen, which stands in for the future; its last step itself is no step to
        begin with.
        """
        ring = self._ring
        returns = np.zeros(len(steps), dtype=np.float32)
        discounts = np.ones(len(steps), dtype=np.float32)
        next_steps = steps.copy()
        going = np.ones(len(steps), dtype=bool)
        for _ in range(n_step):
            slots = next_steps % ring.length, games
            ends = ring["ends"][slots]
            going &= ends != CUT
            returns += np.where(going, discounts * ring["rewards"][slots], 0)
            discounts = np.where(going, discounts * np.float32(gamma), discounts)
            discounts[going & (ends == ENDED)] = 0
            going &= ends == GOES_ON
            next_steps += going
        actions = ring["actions"][steps % ring.length, games].astype(np.int64)
        return Transitions(steps, games, next_steps, actions, returns, discounts)

    def state(self) -> dict[str, NDArray[Any]]:
        """Copy what is remembered, by column of the ring."""
        return self._ring.state(self.played)

    def load(self, state: Mapping[str, NDArray[Any]], played: int) -> None:
        """Take over what `state` answered once `played` steps of every game had been played.

        Where that is nothing, remember only what is played from then on.
        """
        self.played = played
        self._ring.load(state)
        self._since = 0 if state else played
