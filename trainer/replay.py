"""The replay memory: the ring of a learner that goes back to old steps, as n-step transitions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.priorities import Priorities
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

    def part(self, rows: slice) -> Transitions:
        """Pick out some of them."""
        return Transitions(*(getattr(self, entry.name)[rows] for entry in fields(self)))


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

    def drawable(self, n_step: int) -> range:
        """List the held steps after which the next `n_step` are held too."""
        return range(self.held.start, self.held.stop - n_step)

    def grow(self, played: int) -> None:
        """Take in what was played: `played` steps of every game since the beginning."""
        self.played = played

    def draw(
        self, count: int, *, n_step: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw steps and games, [count] each, evenly among those with a history and a future."""
        able = self.drawable(n_step)
        steps = np.empty(count, dtype=np.int64)
        games = np.empty(count, dtype=np.int64)
        wanted = np.arange(count)
        while wanted.size:
            steps[wanted] = generator.integers(able.start, able.stop, size=wanted.size)
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


class PrioritisedDraws:
    """Draws what a replay holds the more often, the more wrong the network was about it.

    What was never drawn counts as most surprising; what was cut is no step to learn from, and what
    the actors may write over is not held. Places of `Priorities` are slots x games.
    """

    def __init__(self, replay: Replay, ring: Ring, *, n_step: int, alpha: float) -> None:
        """Know no step yet; draws have `n_step` steps after them."""
        shape = ring.shape
        self._replay = replay
        self._ring = ring
        self._n_step = n_step
        self._priorities = Priorities(shape.length * shape.games, alpha=alpha)
        self._known = range(0)

    def draw(
        self, count: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Draw steps and games, [count] each; answers them with the probability of each."""
        self._catch_up()
        places, probabilities = self._priorities.sample(count, generator)
        slots, games = np.divmod(places, self._ring.shape.games)
        first = self._known.start
        return first + (slots - first) % self._ring.length, games, probabilities

    def update(
        self, steps: NDArray[np.int64], games: NDArray[np.int64], errors: NDArray[np.floating]
    ) -> None:
        """Note how wrong the network was about what was drawn, [count] each."""
        self._priorities.update(self._places(steps, games), errors)

    def _catch_up(self) -> None:
        """Forget what may not be drawn any more, and come to know what may be by now."""
        ring, known, now = self._ring, self._known, self._replay.drawable(self._n_step)
        games = np.arange(ring.shape.games)
        lost = np.arange(known.start, min(known.stop, now.start))[:, None]
        self._priorities.remove(self._places(lost, games).ravel())
        new = np.arange(max(known.stop, now.start), now.stop)[:, None]
        is_cut = ring["ends"][new % ring.length, games] == CUT
        self._priorities.add(self._places(new, games)[~is_cut])
        self._known = now

    def _places(self, steps: NDArray[np.int64], games: NDArray[np.int64]) -> NDArray[np.int64]:
        ring = self._ring
        return steps % ring.length * ring.shape.games + games

    def state(self) -> dict[str, NDArray[Any]]:
        """Copy the priorities, and of which steps they are."""
        known = np.array([self._known.start, self._known.stop])
        return {**self._priorities.state(), "known": known}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` answered beside the same replay."""
        self._priorities.load(state)
        self._known = range(*state["known"].tolist())
