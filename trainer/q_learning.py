"""What DQN and DRQN have in common: all but the batch, and what the network is to say of it.

Actors take the action of the highest value, or any at all with probability epsilon. Updates go
back to what the replay holds, and draw the network towards what a target network, a copy of it
from some updates ago, makes of what came next (Mnih et al., 2015).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from trainer import checkpoint, losses
from trainer.learning import Learner, arrays, means, tensors
from trainer.networks import QNetwork, Shape
from trainer.peers import ALONE
from trainer.replay import Replay
from trainer.schedules import linear

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from trainer.config import Config
    from trainer.cuda_graph import Tensors
    from trainer.peers import Peers
    from trainer.ring import Ring

Batch = TypeVar("Batch")


def windows(config: Config) -> int:
    """Say how many windows a ring needs to hold the replay."""
    return config.replay_capacity // config.steps_per_iteration


@dataclass(frozen=True)
class GreedyBehaviour:
    """Takes the best action, or with probability `exploration` any."""

    shape: Shape
    dueling: bool = True

    def network(self) -> QNetwork:
        """Lay out the network."""
        return QNetwork(self.shape, dueling=self.dueling)

    def act(
        self, outputs: Sequence[Tensor], generator: np.random.Generator, exploration: float
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Choose an action for each game, from values [B, A]."""
        values = outputs[0].numpy()
        actions = values.argmax(axis=1)
        is_random = generator.random(len(actions)) < exploration
        any_action = generator.integers(0, values.shape[1], size=len(actions))
        return np.where(is_random, any_action, actions), {}


def behaviour(config: Config, shape: Shape) -> GreedyBehaviour:
    """Say how the actors of a config play."""
    return GreedyBehaviour(shape, config.dueling)


class QLearning(ABC, Generic[Batch]):
    """The network, the target it is judged by, and the replay it learns from."""

    def __init__(self, config: Config, shape: Shape, ring: Ring, peers: Peers = ALONE) -> None:
        """Begin with weights drawn from the config's seed."""
        self._config = config
        self._ring = ring
        self._learner = Learner(config, behaviour(config, shape).network, shape, peers)
        self.network: QNetwork = self._learner.network
        self.player = self._learner.player
        self.target = copy.deepcopy(self.network)
        self.replay = Replay(ring)

    @abstractmethod
    def _batches(
        self, count: int, iteration: int, generator: np.random.Generator
    ) -> Iterator[Batch]:
        """Draw `count` batches, one when the last has been learned from."""

    @abstractmethod
    def _arrays(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Gather what there is to know of a batch, by name."""

    @abstractmethod
    def _losses(self, batch: Tensors) -> dict[str, Tensor]:
        """Answer what to report of a batch that was gathered, for `Learner.update`."""

    def exploration(self, step: int) -> float:
        """Share of random actions, epsilon, at `step` of all games together."""
        config = self._config
        return linear(
            step,
            start=config.start_decay,
            stop=config.stop_decay,
            first=1.0,
            last=config.final_decay,
        )

    def learn(self, iteration: int, generator: np.random.Generator) -> dict[str, float]:
        """Take the window of `iteration` into the replay, and update as often as it is worth."""
        config = self._config
        self.replay.grow((iteration + 1) * config.rollout_steps)
        before, step = (config.steps_per_iteration * count for count in (iteration, iteration + 1))
        due = 0
        held = len(self.replay) * self._learner.peers.size
        if held >= config.learning_starts:
            due = step // config.steps_per_update - before // config.steps_per_update
        with self._learner.iteration(iteration):
            batches = self._batches(due, iteration, generator) if due else ()
            reports = [self._update(batch) for batch in batches]
        return {
            **means(reports),
            "epsilon": self.exploration(step),
            "replay_size": float(held),
        }

    def _update(self, batch: Batch) -> dict[str, Tensor]:
        gathered = self._learner.upload(self._arrays(batch))
        report = self._learner.update(self._losses, gathered)
        if self._learner.updates % self._config.target_interval == 0:
            self.target.load_state_dict(self.network.state_dict())
        return report

    def _seen(self, steps: NDArray[np.int64], games: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Gather what game games[b] showed at step steps[b], both [B]: the fields of a `Seen`."""
        return {
            "frames": self._ring.observations(steps, games),
            "variables": self._ring["variables"][steps % self._ring.length, games],
        }

    def _with_features(
        self,
        report: dict[str, Tensor],
        hidden: Tensor,
        features: Tensor,
        valid: Tensor,
    ) -> dict[str, Tensor]:
        """Add the loss of game features where the network tells them.

        `hidden` [*S, H], `features` [*S, F] and `valid` S; `report` holds the loss of the values.
        """
        if self.network.features is None:
            return report
        told = self.network.features(hidden.float())
        loss = losses.feature_loss(told, features, valid)
        total = report["loss"] + self._config.feature_weight * loss
        return {**report, "loss": total, "loss_features": loss}

    def state(self) -> dict[str, checkpoint.Tensors]:
        """Copy the weights, the optimizer's moments and, if the config says so, the replay."""
        groups = self._learner.state()
        groups["target"] = arrays(self.target.state_dict())
        groups["counts"] = {"played": np.array([self.replay.played])}
        if self._config.persist_replay:
            groups["replay"] = self.replay.state()
        return groups

    def load(self, path: Path) -> None:
        """Take over what a checkpoint holds; without a replay in it, a new one fills first."""
        self._learner.load(path)
        self.target.load_state_dict(tensors(checkpoint.read_group(path, "target")))
        counts = checkpoint.read_group(path, "counts")
        self.replay.load(checkpoint.read_group(path, "replay"), int(counts["played"][0]))

    def description(self) -> dict[str, Any]:
        """Describe the network."""
        return self._learner.description(dueling=self._config.dueling)
