"""The replay memory: the latest steps of every game, sampled as n-step transitions.

Each game owns one ring. A frame is stored once, so an observation of h frames costs the memory of
one; it is put together again when sampled, repeating the first frame of an episode as games do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from games.interface import Frame, ObservationSpace

GOES_ON, ENDED, CUT = 0, 1, 2


@dataclass(frozen=True)
class Batch:
    """B transitions: `returns` sums the discounted rewards, `discounts` weighs the next value.

    A discount is 0 where the episode ended. Shapes: observations uint8 [B, C, H, W], the rest [B].
    """

    observations: Frame
    actions: NDArray[np.int64]
    returns: NDArray[np.float32]
    discounts: NDArray[np.float32]
    next_observations: Frame


class Replay:
    """At most `capacity` steps of `games` games together; the oldest make room."""

    def __init__(self, space: ObservationSpace, *, games: int, capacity: int) -> None:
        """Reserve the memory; nothing is stored yet."""
        self._space = space
        self._length = capacity // games
        ring = (self._length, games)
        self._frames = np.zeros(
            (*ring, space.frame_channels, space.height, space.width), dtype=np.uint8
        )
        self._actions = np.zeros(ring, dtype=np.uint8)
        self._rewards = np.zeros(ring, dtype=np.float32)
        self._ends = np.zeros(ring, dtype=np.uint8)
        self._ages = np.zeros(ring, dtype=np.int32)
        self._added = 0

    def __len__(self) -> int:
        """Count the steps held."""
        return min(self._added, self._length) * self._actions.shape[1]

    def add(
        self,
        frames: Frame,
        actions: NDArray[np.int64],
        rewards: NDArray[np.float32],
        ends: NDArray[np.uint8],
    ) -> None:
        """Store one step of every game: what it saw last, did, got, and whether that ended it.

        `frames` is uint8 [games, channels, height, width]; `ends` holds GOES_ON, ENDED or CUT.
        """
        before = (self._added - 1) % self._length
        fresh = (self._ends[before] != GOES_ON) | (self._added == 0)
        slot = self._added % self._length
        self._ages[slot] = np.where(fresh, 0, self._ages[before] + 1)
        self._frames[slot] = frames
        self._actions[slot] = actions
        self._rewards[slot] = rewards
        self._ends[slot] = ends
        self._added += 1

    def cut(self) -> None:
        """Note that every episode was left after its latest step."""
        if self._added:
            latest = self._ends[(self._added - 1) % self._length]
            latest[latest == GOES_ON] = CUT

    def sample(
        self, count: int, *, n_step: int, gamma: float, generator: np.random.Generator
    ) -> Batch:
        """Draw `count` transitions over at most `n_step` steps each, uniformly.

        An episode that ended has no value after its end. One that was cut does, so its sum stops
        at the last state seen, which stands in for the future; its last step itself is not drawn.
        """
        steps, games = self._draw(count, n_step, generator)
        returns = np.zeros(count, dtype=np.float32)
        discounts = np.ones(count, dtype=np.float32)
        next_steps = steps.copy()
        going = np.ones(count, dtype=bool)
        for _ in range(n_step):
            slots = next_steps % self._length, games
            ends = self._ends[slots]
            going &= ends != CUT
            returns += np.where(going, discounts * self._rewards[slots], 0)
            discounts = np.where(going, discounts * np.float32(gamma), discounts)
            discounts[going & (ends == ENDED)] = 0
            going &= ends == GOES_ON
            next_steps += going
        return Batch(
            observations=self._observations(steps, games),
            actions=self._actions[steps % self._length, games].astype(np.int64),
            returns=returns,
            discounts=discounts,
            next_observations=self._observations(next_steps, games),
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Copy everything held into named arrays.

        Frames are not compressed: noisy textures keep 70 % of their size, at seconds of work.
        """
        held = min(self._added, self._length)
        return {
            "frames": self._frames[:held].copy(),
            "actions": self._actions[:held].copy(),
            "rewards": self._rewards[:held].copy(),
            "ends": self._ends[:held].copy(),
            "ages": self._ages[:held].copy(),
            "added": np.array([self._added], dtype=np.int64),
        }

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `state` of a replay of the same shape answered."""
        held = len(state["actions"])
        self._frames[:held] = state["frames"]
        self._actions[:held] = state["actions"]
        self._rewards[:held] = state["rewards"]
        self._ends[:held] = state["ends"]
        self._ages[:held] = state["ages"]
        self._added = int(state["added"][0])

    def _draw(
        self, count: int, n_step: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw steps (counted from the first ever added) that have their history and future."""
        # The oldest steps of a full ring lost the frames before them.
        lost = self._space.history - 1 if self._added > self._length else 0
        first, last = max(0, self._added - self._length) + lost, self._added - n_step
        steps = np.empty(count, dtype=np.int64)
        games = np.empty(count, dtype=np.int64)
        wanted = np.arange(count)
        while wanted.size:
            steps[wanted] = generator.integers(first, last, size=wanted.size)
            games[wanted] = generator.integers(0, self._actions.shape[1], size=wanted.size)
            wanted = wanted[self._ends[steps[wanted] % self._length, games[wanted]] == CUT]
        return steps, games

    def _observations(self, steps: NDArray[np.int64], games: NDArray[np.int64]) -> Frame:
        ages = self._ages[steps % self._length, games]
        back = np.arange(self._space.history - 1, -1, -1)
        slots = (steps[:, None] - np.minimum(back, ages[:, None])) % self._length
        frames = self._frames[slots, games[:, None]]
        return frames.reshape(len(steps), *self._space.shape)
