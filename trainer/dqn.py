"""Deep Q-learning: Mnih et al. (2015), double (van Hasselt et al., 2016), with n-step returns.

Actors take the action of the highest value, or any at all with probability epsilon. Updates draw
steps from a replay of what was played; Sutton & Barto (2018), chapter 7, is the n-step return.
Shapes: B batch, N games, A actions.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainer import checkpoint, losses
from trainer.learning import Learner, arrays, means, tensors
from trainer.networks import QNetwork, Seen, Shape
from trainer.peers import ALONE
from trainer.replay import Replay
from trainer.schedules import linear

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.config import Config
    from trainer.networks import Network
    from trainer.peers import Peers
    from trainer.ring import Ring


def windows(config: Config) -> int:
    """Say how many windows a ring needs to hold the replay."""
    return config.replay_capacity // config.steps_per_iteration


@dataclass(frozen=True)
class GreedyBehaviour:
    """Takes the best action, or with probability `exploration` any."""

    shape: Shape

    def network(self) -> Network:
        """Lay out the network."""
        return QNetwork(self.shape)

    def act(
        self, outputs: Sequence[Tensor], generator: np.random.Generator, exploration: float
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Choose an action for each game, from values [B, A]."""
        values = outputs[0].numpy()
        actions = values.argmax(axis=1)
        is_random = generator.random(len(actions)) < exploration
        any_action = generator.integers(0, values.shape[1], size=len(actions))
        return np.where(is_random, any_action, actions), {}


class DQN:
    """The network, the target it is judged by, and the replay it learns from."""

    def __init__(self, config: Config, shape: Shape, ring: Ring, peers: Peers = ALONE) -> None:
        """Begin with weights drawn from the config's seed."""
        self._config = config
        self._ring = ring
        self._learner = Learner(config, lambda: QNetwork(shape), shape, peers)
        self.network: QNetwork = self._learner.network
        self.target = copy.deepcopy(self.network)
        self.replay = Replay(ring)
        self._updates = 0

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
        self._learner.begin(iteration)
        self.replay.grow((iteration + 1) * config.rollout_steps)
        reports = []
        step = (iteration + 1) * config.steps_per_iteration
        held = len(self.replay) * self._learner.peers.size
        if held >= config.learning_starts:
            count = max(1, config.steps_per_iteration // config.steps_per_update)
            reports = [self._update(generator) for _ in range(count)]
        return {
            **means(reports),
            "epsilon": self.exploration(step),
            "replay_size": float(held),
        }

    def _update(self, generator: np.random.Generator) -> dict[str, Tensor]:
        """Take one step towards what the target makes of a batch."""
        config = self._config
        size = self._learner.batch_size
        drawn = self.replay.draw(size, n_step=config.n_step, generator=generator)
        batch = self.replay.transitions(*drawn, n_step=config.n_step, gamma=config.gamma)
        tensor = self._learner.tensor
        after = self._seen(batch.next_steps, batch.games)
        with torch.no_grad(), self._learner.precision():
            choosing, judging = self._values(self.network, after), self._values(self.target, after)
        goals = losses.q_targets(
            choosing.float(),
            judging.float(),
            tensor(batch.returns) * config.reward_scale,
            tensor(batch.discounts),
        )
        with self._learner.precision():
            values = self._values(self.network, self._seen(batch.steps, batch.games)).float()
        chosen = values.gather(1, tensor(batch.actions)[:, None]).squeeze(1)
        loss = losses.huber_loss(chosen, goals, torch.ones_like(goals))
        self._learner.step(loss)
        self._updates += 1
        if self._updates % config.target_interval == 0:
            self.target.load_state_dict(self.network.state_dict())
        return {"loss": loss.detach(), "dqn_loss": loss.detach(), "q_mean": chosen.detach().mean()}

    def _seen(self, steps: NDArray[np.int64], games: NDArray[np.int64]) -> Seen:
        tensor = self._learner.tensor
        variables = self._ring["variables"][steps % self._ring.length, games]
        return Seen(tensor(self._ring.observations(steps, games)), tensor(variables))

    def _values(self, network: QNetwork, seen: Seen) -> Tensor:
        values, _ = network(seen, torch.zeros(len(seen.frames), 0, device=self._learner.device))
        return values

    def state(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Copy the weights, the optimizer's moments and, if the config says so, the replay."""
        groups = self._learner.state()
        groups["target"] = arrays(self.target.state_dict())
        counts = {"updates": self._updates, "played": self.replay.played}
        groups["counts"] = {name: np.array([count]) for name, count in counts.items()}
        if self._config.persist_replay:
            groups["replay"] = self.replay.state()
        return groups

    def load(self, path: Path) -> None:
        """Take over what a checkpoint holds; without a replay in it, a new one fills first."""
        self._learner.load(path)
        self.target.load_state_dict(tensors(checkpoint.read_group(path, "target")))
        counts = checkpoint.read_group(path, "counts")
        self._updates = int(counts["updates"][0])
        self.replay.load(checkpoint.read_group(path, "replay"), int(counts["played"][0]))

    def description(self) -> dict[str, Any]:
        """Describe the network."""
        return self._learner.description()
