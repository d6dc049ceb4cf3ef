"""An algorithm that shows how one is added: REINFORCE (Williams, 1992), one update a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer import losses
from trainer.algorithms import Recipe
from trainer.learning import Learner
from trainer.networks import ActorCritic, Seen, Shape
from trainer.ppo import PPOBehaviour
from trainer.returns import generalized_advantages

if TYPE_CHECKING:
    import torch

    from trainer.config import Config
    from trainer.cuda_graph import Tensors
    from trainer.peers import Peers
    from trainer.ring import Ring


@dataclass(frozen=True)
class DrawingBehaviour:
    """Draws actions in proportion to their probabilities, and notes nothing."""

    shape: Shape

    def network(self) -> ActorCritic:
        return ActorCritic(self.shape)

    def act(self, outputs: Any, generator: np.random.Generator, exploration: float) -> Any:
        actions, _ = PPOBehaviour(self.shape).act(outputs, generator, exploration)
        return actions, {}


class Reinforce:
    """Makes an action likelier by what came after it, up to the end of its window."""

    def __init__(self, config: Config, shape: Shape, ring: Ring, peers: Peers) -> None:
        self._config, self._ring = config, ring
        self._learner = Learner(config, lambda: ActorCritic(shape), shape, peers)
        self.network, self.player = self._learner.network, self._learner.player
        self.state, self.load = self._learner.state, self._learner.load
        self.description = self._learner.description

    def exploration(self, step: int) -> float:  # noqa: ARG002 - the policy is random enough
        return 0.0

    def learn(
        self,
        iteration: int,
        generator: np.random.Generator,  # noqa: ARG002 - it draws nothing
    ) -> dict[str, float]:
        ring = self._ring
        slots = ring.slots(iteration * ring.shape.rollout_steps, ring.shape.rollout_steps)
        rewards, ends = ring["rewards"][slots], ring["ends"][slots]
        zeros = np.zeros_like(rewards)
        _, returns, valid = generalized_advantages(
            rewards, zeros, zeros[0], ends, gamma=self._config.gamma, lam=1.0
        )
        steps, games = np.divmod(np.arange(rewards.size), rewards.shape[1])
        frames = ring.observations(iteration * ring.shape.rollout_steps + steps, games)
        batch = self._learner.upload(
            {
                "frames": frames,
                "variables": ring["variables"][slots].reshape(len(frames), -1),
                "actions": ring["actions"][slots].astype(np.int64).ravel(),
                "returns": returns.ravel(),
                "valid": valid.ravel(),
                "state": np.zeros((len(frames), 0), dtype=np.float32),
            }
        )
        return {"loss": self._learner.update(self._losses, batch)["loss"].item()}

    def _losses(self, batch: Tensors) -> dict[str, torch.Tensor]:
        seen, valid = Seen(batch["frames"], batch["variables"]), batch["valid"]
        preferences, _, _ = self.network(seen, batch["state"])
        log_probs = losses.action_log_probs(preferences, batch["actions"])
        gains = log_probs * losses.standardized(batch["returns"], valid)
        return {"loss": -losses.masked_mean(gains, valid)}


RECIPE = Recipe(
    lambda _, shape: DrawingBehaviour(shape), Reinforce, windows=lambda _: 3, columns={}
)
