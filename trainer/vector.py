"""Several games side by side on a thread of their own, so that they play while a learner learns."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from games.doom.engine import pin_thread
from games.stack import Stack
from trainer.replay import CUT, ENDED, GOES_ON

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from games.interface import Frame, Game, Outcome


@dataclass(frozen=True)
class Round:
    """What one decision of every game led to.

    `ends` holds GOES_ON, ENDED or CUT. `observations` are those of the next episode where one
    finished; `scores` has the game's own total of each that did, by the game's index.
    """

    observations: Frame
    rewards: NDArray[np.float32]
    ends: NDArray[np.uint8]
    scores: dict[int, float]


class VectorGame:
    """N games that step together; which episode a game plays next is asked of `seed_of`."""

    def __init__(self, make_game: Callable[[], Game], count: int) -> None:
        """Start `count` games; `make_game` answers one that is ready for an episode."""
        # One thread feeds every engine: each runs in a process of its own, and a thread that
        # shares a core with its engine hands over several times faster than one that does not.
        self._thread = ThreadPoolExecutor(1, "games", initializer=pin_thread, initargs=(_core(),))
        self._games: list[Game] = self._thread.submit(
            lambda: [make_game() for _ in range(count)]
        ).result()
        self._seed_of: Callable[[int, int], int] = _no_seed
        self._episodes = [0] * count
        self.space = self._games[0].observation_space
        self._stacks = [Stack(self.space) for _ in range(count)]
        self.action_count = self._games[0].action_count

    def restart(self, seed_of: Callable[[int, int], int]) -> Frame:
        """Leave every episode and begin anew; answers uint8 [N, C, H, W].

        From now on episode k of game i has the seed `seed_of(i, k)`.
        """
        self._seed_of = seed_of
        self._episodes = [0] * len(self._games)
        return self._thread.submit(self._restart).result()

    def step(self, actions: NDArray[np.int64]) -> Future[Round]:
        """Begin one decision of every game; at most one may be under way."""
        return self._thread.submit(self._step, actions.tolist())

    def close(self) -> None:
        """End every game."""
        self._thread.submit(lambda: [game.close() for game in self._games]).result()
        self._thread.shutdown()

    def __enter__(self) -> Self:
        """Stay open for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, whatever happened."""
        self.close()

    def _restart(self) -> Frame:
        for index in range(len(self._games)):
            self._new_episode(index)
        return self._observations()

    def _observations(self) -> Frame:
        return np.stack([stack.observation for stack in self._stacks])

    def _new_episode(self, index: int) -> None:
        seed = self._seed_of(index, self._episodes[index])
        self._episodes[index] += 1
        self._games[index].new_episode(seed, self._stacks[index].newest)
        self._stacks[index].begin()

    def _step(self, actions: list[int]) -> Round:
        outcomes = [
            game.make_action(action, stack.newest)
            for game, action, stack in zip(self._games, actions, self._stacks, strict=True)
        ]
        scores = {
            index: self._games[index].total_reward
            for index, outcome in enumerate(outcomes)
            if outcome.ended
        }
        for index, stack in enumerate(self._stacks):
            if outcomes[index].ended:
                self._new_episode(index)
            else:
                stack.push()
        return Round(
            observations=self._observations(),
            rewards=np.array([outcome.reward for outcome in outcomes], dtype=np.float32),
            ends=np.array([_end(outcome) for outcome in outcomes], dtype=np.uint8),
            scores=scores,
        )


def _end(outcome: Outcome) -> int:
    if not outcome.ended:
        return GOES_ON
    return CUT if outcome.cut else ENDED


def _core() -> int:
    """Spread the trainers of one machine over its cores."""
    return os.getpid()


def _no_seed(game: int, episode: int) -> int:
    raise RuntimeError(f"game {game} plays episode {episode} before the first restart")
