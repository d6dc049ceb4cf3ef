"""An actor plays some of the games with a copy of the network, window by window.

It shares a core with its games and hands nothing over per step: what it sees and does goes straight
into the ring, and the weights lie in memory that the learner fills between two windows. Everything
random in a window derives from the run's seed, the window and the actor's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from games.interface import GameDiedError
from games.stack import Stack
from trainer.networks import Seen
from trainer.ring import CUT, ENDED, GOES_ON
from trainer.seeds import acting_generator, training_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from games.interface import Frame, Game
    from trainer.networks import Network
    from trainer.ring import Ring
    from trainer.weights import Weights

# Health and ammunition are counted to a hundred and more; a network likes numbers near one.
_VARIABLE_SCALE = 0.01


class Behaviour(Protocol):
    """How an algorithm explores; it travels to the actors, so it holds plain values only."""

    def network(self) -> Network:
        """Lay out the network; its weights come from the learner."""
        ...

    def act(
        self, outputs: Sequence[Tensor], generator: np.random.Generator, exploration: float
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Choose an action for each of B games; answers [B] and columns of the ring by name."""
        ...


class Episode(TypedDict):
    """An episode that was played to its end: the game's own score, and its length in steps.

    `facts` are what else the game tells of it.
    """

    score: float
    length: int
    facts: NotRequired[dict[str, float]]


@dataclass(frozen=True)
class Post:
    """What one actor is in charge of: `count` games of the ring from `first` on.

    `games_before` are those of other learners, which are counted before those of the ring. Game g
    of all plays `maps[g % len(maps)]` at first.
    """

    number: int
    first: int
    count: int
    seed: int
    make_game: Callable[[str], Game]
    maps: tuple[str, ...]
    variables: tuple[str, ...]
    behaviour: Behaviour
    ring: Ring
    weights: Weights
    games_before: int = 0


class Actor:
    """The games of one post; a step is one decision of each of them."""

    def __init__(self, post: Post) -> None:
        """Start the games; their first episodes begin with `restart`."""
        self._post = post
        self._ring = post.ring.of_games(post.first, post.count)
        self.space = post.ring.space
        self.state_size = post.ring.shape.state_size
        self._network = post.behaviour.network()
        post.weights.lend(self._network)
        self._maps = [self._map_of(index, post.maps) for index in range(post.count)]
        self.games = [post.make_game(name) for name in self._maps]
        self._frames = self._ring["frames"]
        self._has_notes = bool(post.variables) or bool(post.ring.shape.features)
        self._all = np.arange(post.count)
        self._state = torch.zeros(post.count, self.state_size)
        self._since = 0
        self._begun = [0] * post.count
        self._lengths = [0] * post.count
        self.crashes = 0

    def choose(self, maps: tuple[str, ...]) -> None:
        """Let the games play these maps; one that plays another map now begins anew.

        Restart or evaluate afterwards.
        """
        for index in range(len(self.games)):
            name = self._map_of(index, maps)
            if name != self._maps[index]:
                self._maps[index] = name
                self._begin_game(index)

    def _map_of(self, index: int, maps: tuple[str, ...]) -> str:
        return maps[self._number_of(index) % len(maps)]

    def _number_of(self, index: int) -> int:
        """Count a game among those of all learners."""
        return self._post.games_before + self._post.first + index

    def restart(self, iteration: int) -> None:
        """Leave every episode and begin those that the iteration decides."""
        self._since = iteration
        self._begun = [0] * len(self.games)
        self._state.zero_()
        self._keep_state(iteration)
        for index in range(len(self.games)):
            self._begin_episode(
                index, iteration * self._ring.shape.rollout_steps % self._ring.length
            )

    def play(self, iteration: int, exploration: float) -> list[Episode]:
        """Play the window of an iteration into the ring; answers the episodes that ended in it."""
        generator = acting_generator(self._post.seed, iteration, self._post.number)
        ring, length = self._ring, self._ring.shape.rollout_steps
        finished: list[Episode] = []
        for step in range(iteration * length, (iteration + 1) * length):
            actions = self._decide(step, generator, exploration)
            slot, after = step % ring.length, (step + 1) % ring.length
            # One write for all games: numpy takes as long for one number as for eight.
            rewards, ends = zip(
                *[
                    self._advance(index, action, after, finished)
                    for index, action in enumerate(actions.tolist())
                ],
                strict=True,
            )
            ring["rewards"][slot] = rewards
            ring["ends"][slot] = ends
            ring["ages"][after] = np.where(ring["ends"][slot] == GOES_ON, ring["ages"][slot] + 1, 0)
        self._keep_state(iteration + 1)
        return finished

    def evaluate(self, seeds: Sequence[Sequence[int]]) -> list[list[Episode]]:
        """Play greedily, in game g the episodes of `seeds[g]`; restart afterwards.

        All games decide together until the last is done, so that a batch never changes its size
        and an episode is the same whatever the others do.
        """
        return _Evaluation(self, seeds).run()

    def close(self) -> None:
        """End every game."""
        for game in self.games:
            game.close()

    def _decide(
        self, step: int, generator: np.random.Generator, exploration: float
    ) -> NDArray[np.int64]:
        """Choose the actions of a step, and note in the ring what belongs to the choice."""
        ring, slot = self._ring, step % self._ring.length
        frames = ring.observations(np.full(len(self.games), step), self._all)
        outputs, state = self.think(frames, ring["variables"][slot], self._state)
        actions, columns = self._post.behaviour.act(outputs, generator, exploration)
        self._state = state
        ring["actions"][slot] = actions
        for name, values in columns.items():
            ring[name][slot] = values
        return actions

    def think(
        self, frames: Frame, variables: NDArray[np.float32], state: Tensor
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Answer the network's outputs for a batch, and the recurrent state after it."""
        # Not inference_mode: the recurrent state is written to where episodes begin.
        with torch.no_grad():
            seen = Seen(torch.from_numpy(frames), torch.from_numpy(variables))
            *outputs, state = self._network(seen, state)
        return outputs, state

    def _advance(
        self, index: int, action: int, after: int, finished: list[Episode]
    ) -> tuple[float, int]:
        """Let one game play its action; where that ends its episode, the next one begins.

        Shows what comes in slot `after`; answers the reward and how the step left its episode.
        """
        game = self.games[index]
        self._lengths[index] += 1
        try:
            outcome = game.make_action(action, self._frames[after, index])
        except GameDiedError:
            self.replace(index)
            self._begin_episode(index, after)
            return 0.0, CUT
        if not outcome.ended:
            if self._has_notes:
                self._note(index, after)
            return outcome.reward, GOES_ON
        finished.append(_episode(game, self._lengths[index]))
        self._begin_episode(index, after)
        return outcome.reward, CUT if outcome.cut else ENDED

    def _begin_episode(self, index: int, slot: int) -> None:
        number, nth = self._number_of(index), self._begun[index]
        seed = training_seed(self._post.seed, self._since, number, nth)
        self._begun[index] += 1
        self._lengths[index] = 0
        self._state[index] = 0
        self.show(index, seed, self._frames[slot, index])
        self._ring["ages"][slot, index] = 0
        self._note(index, slot)

    def _note(self, index: int, slot: int) -> None:
        """Keep what is known beside the frame of a slot."""
        if self._post.variables:
            self._ring["variables"][slot, index] = self._variables_of(self.games[index])
        if self._ring.shape.features:
            self._ring["features"][slot, index] = self.games[index].features

    def show(self, index: int, seed: int, frame: Frame) -> None:
        """Begin an episode in one game, in a fresh one if that is dead."""
        try:
            self.games[index].new_episode(seed, frame)
        except GameDiedError:
            self.replace(index)
            self.games[index].new_episode(seed, frame)

    def replace(self, index: int) -> None:
        """Put a fresh game where one died; its episode is lost, and what it taught stays."""
        self.crashes += 1
        self._begin_game(index)

    def _begin_game(self, index: int) -> None:
        self.games[index].close()
        self.games[index] = self._post.make_game(self._maps[index])

    def _keep_state(self, iteration: int) -> None:
        states = self._ring["states"]
        states[iteration % len(states)] = self._state.numpy()

    def read_variables(self) -> NDArray[np.float32]:
        """Read what the network sees beside the frames; float32 [games, V]."""
        rows = [self._variables_of(game) for game in self.games]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(self._post.variables))

    def _variables_of(self, game: Game) -> list[float]:
        return (
            network_variables(self._post.variables, game.variables) if self._post.variables else []
        )


class _Evaluation:
    """Greedy episodes on the games of an actor, game g playing those of `seeds[g]`."""

    def __init__(self, actor: Actor, seeds: Sequence[Sequence[int]]) -> None:
        self._actor = actor
        self._seeds = seeds
        count = len(actor.games)
        self._stacks = [Stack(actor.space) for _ in range(count)]
        self._lengths = [0] * count
        self._state = torch.zeros(count, actor.state_size)
        self._played: list[list[Episode]] = [[] for _ in range(count)]
        self._died = [False] * count

    def run(self) -> list[list[Episode]]:
        # A game without a seed of its own shows nothing and is never played.
        games = [index for index, seeds in enumerate(self._seeds) if seeds]
        for index in games:
            self._begin(index)
        while left := [index for index in games if self._is_playing(index)]:
            frames = np.stack([stack.observation for stack in self._stacks])
            outputs, self._state = self._actor.think(
                frames, self._actor.read_variables(), self._state
            )
            actions = outputs[0].argmax(dim=1).tolist()
            for index in left:
                self._advance(index, actions[index])
        return self._played

    def _is_playing(self, index: int) -> bool:
        return len(self._played[index]) < len(self._seeds[index])

    def _advance(self, index: int, action: int) -> None:
        game = self._actor.games[index]
        try:
            outcome = game.make_action(action, self._stacks[index].newest)
        except GameDiedError:
            # Greedy play repeats itself, so nothing is lost by playing the episode anew. But where
            # it is the episode that kills the game, it would do so for ever.
            if self._died[index]:
                raise
            self._begin(index)
            self._died[index] = True
            return
        self._lengths[index] += 1
        if not outcome.ended:
            self._stacks[index].push()
            return
        self._played[index].append(_episode(game, self._lengths[index]))
        self._died[index] = False
        if self._is_playing(index):
            self._begin(index)

    def _begin(self, index: int) -> None:
        """Begin the first episode of a game that was not played yet."""
        seed = self._seeds[index][len(self._played[index])]
        self._actor.show(index, seed, self._stacks[index].newest)
        self._stacks[index].begin()
        self._lengths[index] = 0
        self._state[index] = 0


def _episode(game: Game, length: int) -> Episode:
    return Episode(score=game.total_reward, length=length, facts=dict(game.facts))


def network_variables(names: Sequence[str], variables: Mapping[str, float]) -> list[float]:
    """Scale the named variables of a game as networks see them."""
    return [variables[name] * _VARIABLE_SCALE for name in names]
