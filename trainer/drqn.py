"""Deep recurrent Q-learning: Hausknecht & Stone (2015), with the sequences of Lample & Chaplot.

The network remembers, so it is shown steps in order. A sequence begins with an empty memory, and
its first `burn_in` steps only fill it; the `recurrent_updates` steps after them carry loss. Both
networks unroll a sequence in one pass and value each of its steps, so the n-step returns and the
double estimate need no other (Lample & Chaplot, 2017, learn from part of a sequence likewise).
Shapes: S steps with or without loss, B sequences, A actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainer import losses
from trainer.networks import Seen
from trainer.q_learning import QLearning
from trainer.returns import n_step_returns
from trainer.sequences import Sequences, draw_sequences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trainer.cuda_graph import Tensors
    from trainer.networks import QNetwork


class DRQN(QLearning[Sequences]):
    """Learns from sequences of steps."""

    def _batches(
        self,
        count: int,
        iteration: int,  # noqa: ARG002 - draws are the same all along
        generator: np.random.Generator,
    ) -> Iterator[Sequences]:
        config, ring = self._config, self._ring
        for _ in range(count):
            yield draw_sequences(
                ring["ends"],
                ring["ages"],
                self.replay.held,
                count=max(1, self._learner.batch_size // config.recurrent_updates),
                burn_in=config.burn_in,
                unroll=config.recurrent_updates,
                generator=generator,
            )

    def _arrays(self, batch: Sequences) -> dict[str, NDArray[Any]]:
        config, ring = self._config, self._ring
        # Step by step: [S + 1, B], of which the last row is only looked at.
        slots = batch.slots.T
        games = np.broadcast_to(batch.games, slots.shape)
        rows = slots[:-1], games[:-1]
        returns, discounts, ahead = n_step_returns(
            ring["rewards"][rows] * np.float32(config.reward_scale),
            ring["ends"][rows],
            gamma=config.gamma,
            n=config.n_step,
        )
        return {
            **self._seen(slots.ravel(), games.ravel()),
            "actions": ring["actions"][rows].astype(np.int64),
            "returns": returns,
            "discounts": discounts,
            "later": np.arange(len(ahead))[:, None] + ahead,
            "features": ring["features"][rows],
            "valid": np.ascontiguousarray(batch.mask.T),
        }

    def _losses(self, batch: Tensors) -> dict[str, Tensor]:
        seen, valid = Seen(batch["frames"], batch["variables"]), batch["valid"]
        hidden, values = self._unroll(self.network, seen, valid.shape[1])
        with torch.no_grad():
            _, judging = self._unroll(self.target, seen, valid.shape[1])
        later = batch["later"], torch.arange(valid.shape[1], device=valid.device)
        goals = losses.q_targets(
            values[later] if self._config.double else judging[later],
            judging[later],
            batch["returns"],
            batch["discounts"],
        )
        chosen = values[:-1].gather(2, batch["actions"][:, :, None]).squeeze(2)
        loss = losses.huber_loss(chosen, goals, valid)
        q_mean = losses.masked_mean(chosen, valid)
        report = {"loss": loss, "dqn_loss": loss, "q_mean": q_mean, "samples": valid.sum()}
        return self._with_features(report, hidden[:-1], batch["features"], valid)

    def _unroll(self, network: QNetwork, seen: Seen, count: int) -> tuple[Tensor, Tensor]:
        """Answer the hidden layers [S + 1, B, hidden] and the values [S + 1, B, A]."""
        empty = torch.zeros(count, network.torso.state_size, device=self._learner.device)
        with self._learner.precision():
            hidden = network.torso.unroll(seen, empty, None)
            values = network.values(hidden)
        shape = -1, count
        return hidden.float().unflatten(0, shape), values.float().unflatten(0, shape)
