"""Self-play: the network that learns has the first seat of a match, and earlier ones the others.

Opponents come from a pool of snapshots that were taken at checkpoints, in memory that all actors
see. One of them is drawn for each episode, by the episode's seed, and takes every seat but the
first (after Bansal et al., 2018, who found that opponents from the past keep a learner from going
in circles). The pool changes at checkpoints alone, when nobody plays.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from games.stack import Stack
from trainer.actor import network_variables
from trainer.networks import Seen
from trainer.seeds import opponent_generator
from trainer.shared import Column, SharedArrays
from trainer.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from games.interface import Frame, ObservationSpace, Outcome
    from trainer.actor import Behaviour, Episode
    from trainer.checkpoint import Tensors
    from trainer.networks import Network

logger = logging.getLogger("trainer.self_play")

_NOBODY = -1


class Seat(Protocol):
    """One player of a match, as `games.interface.Game` tells of him."""

    feature_names: tuple[str, ...]

    @property
    def total_reward(self) -> float:
        """The score of the episode so far."""
        ...

    @property
    def variables(self) -> Mapping[str, float]:
        """The named variables now."""
        ...

    @property
    def features(self) -> tuple[bool, ...]:
        """What is true of the frame shown last, in the order of `feature_names`."""
        ...

    @property
    def facts(self) -> Mapping[str, float]:
        """What else is to be told of the episode, by name."""
        ...


class Match(Protocol):
    """A game of several seats, all of which decide at once; episodes end for all together."""

    observation_space: ObservationSpace
    action_count: int

    @property
    def seats(self) -> Sequence[Seat]:
        """Who plays; the order may change where an episode begins."""
        ...

    def new_episode(self, seed: int, frames: Sequence[Frame]) -> None:
        """Begin the episode of `seed` and show every seat its first frame."""
        ...

    def make_actions(self, actions: Sequence[int], frames: Sequence[Frame]) -> Sequence[Outcome]:
        """Play one decision of every seat and show each the frame that it led to."""
        ...

    def close(self) -> None:
        """End the match and everything it started."""
        ...


class Pool:
    """The latest `size` snapshots of a network, by the iteration that they were taken at."""

    def __init__(self, network: Network, size: int) -> None:
        """Reserve the memory; nobody is there yet."""
        self._slots = [Weights(network) for _ in range(size)]
        self._shared = SharedArrays({"iterations": Column((size,), "int64")})
        self._shared["iterations"][:] = _NOBODY

    @property
    def iterations(self) -> list[int]:
        """Who is there, the oldest first."""
        return sorted(one for one in self._shared["iterations"].tolist() if one != _NOBODY)

    def add(self, iteration: int, network: Network) -> None:
        """Take a snapshot; where the pool is full, the oldest goes."""
        slot = self._free()
        self._slots[slot].publish(network)
        self._shared["iterations"][slot] = iteration

    def lend(self, iteration: int, network: Network) -> None:
        """Let `network` play with the weights of a snapshot."""
        slot = self._shared["iterations"].tolist().index(iteration)
        self._slots[slot].lend(network)

    def state(self) -> Tensors:
        """Copy all snapshots."""
        return {
            f"{iteration}.{name}": array
            for iteration, slot in zip(
                self._shared["iterations"].tolist(), self._slots, strict=True
            )
            if iteration != _NOBODY
            for name, array in slot.state().items()
        }

    def load(self, state: Tensors) -> None:
        """Hold what `state` answered, and nothing else."""
        self._shared["iterations"][:] = _NOBODY
        snapshots: dict[int, Tensors] = {}
        for key, array in state.items():
            iteration, _, name = key.partition(".")
            snapshots.setdefault(int(iteration), {})[name] = array
        for iteration, arrays in snapshots.items():
            slot = self._free()
            self._slots[slot].load(arrays)
            self._shared["iterations"][slot] = iteration

    def _free(self) -> int:
        """Find the slot of nobody, or of the oldest."""
        return int(self._shared["iterations"].argmin())


@dataclass(frozen=True)
class Opposition:
    """How opponents are drawn and how they play; it travels to the actors.

    `weights` says how likely it is, and need not add up to 1, that the opponent of an episode is
    the `latest` of the pool, the `oldest`, or any of it: `past`. `variables` are what the network
    sees beside the frames.
    """

    pool: Pool
    weights: Mapping[str, float]
    behaviour: Behaviour
    variables: tuple[str, ...]
    seed: int

    def draw(self, generator: np.random.Generator) -> int:
        """Draw one of the pool, by its iteration."""
        iterations = self.pool.iterations
        shares = np.array(list(self.weights.values()))
        kind = generator.choice(list(self.weights), p=shares / shares.sum())
        if kind == "past":
            return int(generator.choice(iterations))
        return iterations[-1] if kind == "latest" else iterations[0]


class SelfPlayGame:
    """The first seat of a match, as a `games.interface.Game`."""

    def __init__(self, match: Match, opposition: Opposition) -> None:
        """Take the match over."""
        self._match = match
        self._opposition = opposition
        self._network = opposition.behaviour.network()
        self.observation_space = match.observation_space
        self.action_count = match.action_count
        self.feature_names = match.seats[0].feature_names
        self._stacks = [Stack(self.observation_space) for _ in match.seats[1:]]
        self.opponent = 0

    def new_episode(self, seed: int, frame: Frame) -> None:
        """Begin the episode of `seed` against the opponent that it draws."""
        self._generator = opponent_generator(self._opposition.seed, seed)
        self.opponent = self._opposition.draw(self._generator)
        self._opposition.pool.lend(self.opponent, self._network)
        self._state = torch.zeros(len(self._stacks), self._network.torso.state_size)
        self._match.new_episode(seed, [frame, *(stack.newest for stack in self._stacks)])
        for stack in self._stacks:
            stack.begin()

    def make_action(self, action: int, frame: Frame) -> Outcome:
        """Play one decision, and those of the opponents."""
        outcome, *_ = self._match.make_actions(
            [action, *self._decide()], [frame, *(stack.newest for stack in self._stacks)]
        )
        if not outcome.ended:
            for stack in self._stacks:
                stack.push()
        return outcome

    def _decide(self) -> list[int]:
        """Choose as the learner would have, had it stopped to learn and to explore back then."""
        names, others = self._opposition.variables, self._match.seats[1:]
        frames = np.stack([stack.observation for stack in self._stacks])
        variables = [network_variables(names, seat.variables) for seat in others]
        with torch.no_grad():
            seen = Seen(
                torch.from_numpy(frames),
                torch.tensor(variables, dtype=torch.float32).view(len(others), len(names)),
            )
            *outputs, self._state = self._network(seen, self._state)
        actions, _ = self._opposition.behaviour.act(outputs, self._generator, 0.0)
        return actions.tolist()

    @property
    def total_reward(self) -> float:
        """The score of the first seat."""
        return self._match.seats[0].total_reward

    @property
    def variables(self) -> Mapping[str, float]:
        """What the first seat knows."""
        return self._match.seats[0].variables

    @property
    def features(self) -> tuple[bool, ...]:
        """What is true of the first seat's frame."""
        return self._match.seats[0].features

    @property
    def facts(self) -> dict[str, float]:
        """Who the opponent is, and whether it is beaten: 1, or 0.5 where nobody is ahead.

        And what the first seat tells, as in a game without opponents of this kind.
        """
        own, *others = (seat.total_reward for seat in self._match.seats)
        best = max(others)
        won = 0.5 if own == best else float(own > best)
        told = self._match.seats[0].facts
        return {**told, "opponent_iteration": float(self.opponent), "win_rate": won}

    def close(self) -> None:
        """End the match."""
        self._match.close()


def start(
    start_match: Callable[[str], Match], opposition: Opposition, scenario: str
) -> SelfPlayGame:
    """Start a match and take its first seat; an actor calls it."""
    return SelfPlayGame(start_match(scenario), opposition)


class Opponents:
    """The pool on the learner's side, and who of it was met since it changed."""

    def __init__(self, pool: Pool) -> None:
        """Have met nobody yet."""
        self.pool = pool
        self._met: Counter[int] = Counter()

    def meet(self, episodes: Sequence[Episode]) -> None:
        """Count the opponents of episodes."""
        facts = (one.get("facts", {}) for one in episodes)
        self._met.update(int(told["opponent_iteration"]) for told in facts)

    def add(self, iteration: int, network: Network) -> None:
        """Tell who was met, and let a snapshot of `network` join."""
        if self._met:
            met = ", ".join(f"{one}: {count}" for one, count in sorted(self._met.items()))
            logger.info("iteration %d: episodes by opponents' iteration: %s", iteration, met)
        self._met.clear()
        self.pool.add(iteration, network)
