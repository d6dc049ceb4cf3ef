"""Deep Q-learning: Mnih et al. (2015), with n-step returns and, as options, what came after.

Updates draw single steps from the replay: evenly, or more often those that the network was wrong
about (prioritised replay: Schaul et al., 2016). With `double` the network chooses the action whose
value the target network tells (van Hasselt et al., 2016); `dueling` is about the network alone
(Wang et al., 2016). The n-step return is chapter 7 of Sutton & Barto (2018). Shapes: B batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainer import checkpoint, losses
from trainer.networks import Seen
from trainer.peers import ALONE
from trainer.priorities import importance_weights
from trainer.q_learning import QLearning
from trainer.replay import PrioritisedDraws
from trainer.schedules import linear

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.config import Config
    from trainer.cuda_graph import Tensors
    from trainer.networks import Shape
    from trainer.peers import Peers
    from trainer.replay import Transitions
    from trainer.ring import Ring


@dataclass(frozen=True)
class Batch:
    """Transitions, and how much each weighs in the loss, float32 [B]; the same if not said."""

    transitions: Transitions
    weights: NDArray[np.float32] | None


class DQN(QLearning[Batch]):
    """Learns from steps one by one."""

    def __init__(self, config: Config, shape: Shape, ring: Ring, peers: Peers = ALONE) -> None:
        """Begin with weights drawn from the config's seed."""
        super().__init__(config, shape, ring, peers)
        self._prioritised = (
            PrioritisedDraws(self.replay, ring, n_step=config.n_step, alpha=config.priority_alpha)
            if config.prioritised
            else None
        )
        # A network without memory has a state of no numbers.
        self._stateless = torch.zeros(self._learner.batch_size, 0, device=self._learner.device)

    def _batches(
        self, count: int, iteration: int, generator: np.random.Generator
    ) -> Iterator[Batch]:
        config, size = self._config, self._learner.batch_size
        if self._prioritised is None:
            # Together they take little longer than one.
            drawn = self.replay.draw(count * size, n_step=config.n_step, generator=generator)
            transitions = self._transitions(*drawn)
            for first in range(0, count * size, size):
                yield Batch(transitions.part(slice(first, first + size)), None)
            return
        beta = linear(
            iteration, start=0, stop=config.iterations, first=config.priority_beta, last=1.0
        )
        for _ in range(count):
            steps, games, probabilities = self._prioritised.draw(size, generator)
            weights = importance_weights(probabilities, beta)
            yield Batch(self._transitions(steps, games), weights)

    def _transitions(self, steps: NDArray[np.int64], games: NDArray[np.int64]) -> Transitions:
        config = self._config
        return self.replay.transitions(steps, games, n_step=config.n_step, gamma=config.gamma)

    def _arrays(self, batch: Batch) -> dict[str, NDArray[Any]]:
        drawn = batch.transitions
        after = self._seen(drawn.next_steps, drawn.games)
        arrays = {
            **self._seen(drawn.steps, drawn.games),
            **{f"next_{name}": shown for name, shown in after.items()},
            "actions": drawn.actions,
            "returns": drawn.returns * np.float32(self._config.reward_scale),
            "discounts": drawn.discounts,
            "features": self._ring["features"][drawn.steps % self._ring.length, drawn.games],
        }
        return arrays if batch.weights is None else {**arrays, "weights": batch.weights}

    def _update(self, batch: Batch) -> dict[str, Tensor]:
        report = super()._update(batch)
        if self._prioritised:
            drawn, errors = batch.transitions, report.pop("errors").cpu().numpy()
            self._prioritised.update(drawn.steps, drawn.games, errors)
        return report

    def _losses(self, batch: Tensors) -> dict[str, Tensor]:
        config, network = self._config, self.network
        after = Seen(batch["next_frames"], batch["next_variables"])
        with torch.no_grad(), self._learner.precision():
            judging, _ = self.target(after, self._stateless)
            choosing = network(after, self._stateless)[0] if config.double else judging
        goals = losses.q_targets(
            choosing.float(),
            judging.float(),
            batch["returns"],
            batch["discounts"],
        )
        with self._learner.precision():
            hidden, _ = network.torso(Seen(batch["frames"], batch["variables"]), self._stateless)
            values = network.values(hidden)
        chosen = values.float().gather(1, batch["actions"][:, None]).squeeze(1)
        valid = torch.ones_like(goals)
        loss = losses.huber_loss(chosen, goals, valid, weights=batch.get("weights"))
        report = {"loss": loss, "dqn_loss": loss, "q_mean": chosen.mean()}
        if self._prioritised:
            report["errors"] = chosen - goals
        return self._with_features(report, hidden, batch["features"], valid)

    def state(self) -> dict[str, checkpoint.Tensors]:
        """Add the priorities, which belong to the replay."""
        groups = super().state()
        if self._prioritised and self._config.persist_replay:
            groups["priorities"] = self._prioritised.state()
        return groups

    def load(self, path: Path) -> None:
        """Take over the priorities too."""
        super().load(path)
        priorities = checkpoint.read_group(path, "priorities")
        if self._prioritised and priorities:
            self._prioritised.load(priorities)
