"""Proximal policy optimisation: Schulman et al. (2017), with generalised advantages (2016).

The policy draws actions in proportion to the exponential of its preferences. Each window is learned
from in `epochs` passes of shuffled minibatches; a pass may change the probability of an action by
no more than `clip` before it stops gaining by it. Advantages are standardised over the window.
Shapes: T steps, N games, B batch, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainer import losses
from trainer.learning import Learner, means
from trainer.networks import ActorCritic, Seen, Shape
from trainer.peers import ALONE
from trainer.returns import generalized_advantages
from trainer.shared import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.config import Config
    from trainer.cuda_graph import Tensors
    from trainer.networks import Network
    from trainer.peers import Peers
    from trainer.ring import Ring

# What a window needs besides itself: the frames before it, and the one that is being played.
WINDOWS = 3
COLUMNS = {"log_probs": Column((), "float32"), "values": Column((), "float32")}


@dataclass(frozen=True)
class PPOBehaviour:
    """Draws actions in proportion to their probabilities."""

    shape: Shape

    def network(self) -> Network:
        """Lay out the network."""
        return ActorCritic(self.shape)

    def act(
        self,
        outputs: Sequence[Tensor],
        generator: np.random.Generator,
        exploration: float,  # noqa: ARG002 - the policy is random enough
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Draw an action for each game; notes how likely it was, and how good the state looked."""
        log_probs = outputs[0].log_softmax(dim=1).numpy()
        # The largest of preferences plus Gumbel noise is a draw from their softmax.
        actions = (log_probs + generator.gumbel(size=log_probs.shape)).argmax(axis=1)
        chosen = log_probs[np.arange(len(actions)), actions]
        return actions, {"log_probs": chosen, "values": outputs[1].numpy()}


@dataclass(frozen=True)
class Batch:
    """Steps to learn from: `frames` are uint8 [..., H, W, C], as the convolutions like them best.

    `fresh` [T, B] and `state` [B, S], the state before the first step, are for recurrent networks.
    """

    frames: Tensor
    variables: Tensor
    features: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    valid: Tensor
    fresh: Tensor
    state: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Change every tensor but the state, which has no steps."""
        names = [entry.name for entry in fields(self) if entry.name != "state"]
        return replace(self, **{name: change(getattr(self, name)) for name in names})


class PPO:
    """The network and the optimizer that moves it."""

    def __init__(self, config: Config, shape: Shape, ring: Ring, peers: Peers = ALONE) -> None:
        """Begin with weights drawn from the config's seed."""
        self._config = config
        self._ring = ring
        self._learner = Learner(config, lambda: ActorCritic(shape), shape, peers)
        self.network: ActorCritic = self._learner.network
        self.player = self._learner.player

    def exploration(self, step: int) -> float:  # noqa: ARG002 - the policy is random enough
        """Explore by what the policy itself leaves to chance."""
        return 0.0

    def learn(self, iteration: int, generator: np.random.Generator) -> dict[str, float]:
        """Learn from the window of `iteration`."""
        with self._learner.iteration(iteration):
            window = self._window(iteration)
            reports = [
                self._update(batch)
                for _ in range(self._config.epochs)
                for batch in self._minibatches(window, generator)
            ]
        return means(reports)

    def _window(self, iteration: int) -> Batch:
        """Gather a window as tensors whose first axes are [T, N]."""
        ring, config = self._ring, self._config
        steps, games = ring.shape.rollout_steps, ring.shape.games
        first = iteration * steps
        slots = ring.slots(first, steps)
        advantages, returns, valid = generalized_advantages(
            ring["rewards"][slots] * np.float32(config.reward_scale),
            ring["values"][slots],
            self._bootstrap(iteration + 1),
            ring["ends"][slots],
            gamma=config.gamma,
            lam=config.gae_lambda,
        )
        frames = ring.observations(
            np.repeat(np.arange(first, first + steps), games), np.tile(np.arange(games), steps)
        )
        window = Batch(
            **self._learner.upload(
                {
                    "frames": frames,
                    "variables": ring["variables"][slots],
                    "features": ring["features"][slots],
                    "actions": ring["actions"][slots].astype(np.int64),
                    "log_probs": ring["log_probs"][slots],
                    "values": ring["values"][slots],
                    "advantages": advantages,
                    "returns": returns,
                    "valid": valid,
                    "fresh": ring["ages"][slots] == 0,
                    "state": ring["states"][iteration % ring.shape.windows],
                }
            )
        )
        shown = window.frames.to(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        total = self._learner.peers.sum
        return replace(
            window,
            frames=shown.unflatten(0, (steps, games)),
            advantages=losses.standardized(window.advantages, window.valid, total),
        )

    def _bootstrap(self, iteration: int) -> NDArray[np.float32]:
        """Value the states with which the window of `iteration` begins; float32 [N]."""
        ring = self._ring
        step, games = iteration * ring.shape.rollout_steps, ring.shape.games
        shown = self._learner.upload(
            {
                "frames": ring.observations(np.full(games, step), np.arange(games)),
                "variables": ring["variables"][step % ring.length],
                "state": ring["states"][iteration % ring.shape.windows],
            }
        )
        with torch.no_grad():
            seen = Seen(shown["frames"], shown["variables"])
            _, values, _ = self.network(seen, shown["state"])
        return values.cpu().numpy()

    def _minibatches(self, window: Batch, generator: np.random.Generator) -> Iterator[Batch]:
        """Deal the window out in batches of about batch_size steps, each step once.

        A recurrent network gets whole games, laid out step by step.
        """
        steps, games = window.actions.shape
        size, device = self._learner.batch_size, window.actions.device
        if self._learner.shape.recurrent:
            order = torch.from_numpy(generator.permutation(games)).to(device)
            for chosen in order.split(max(1, size // steps)):
                part = window.map(lambda tensor, at=chosen: tensor.index_select(1, at))
                yield replace(part.map(_joined), fresh=part.fresh, state=window.state[chosen])
            return
        flat = window.map(_joined)
        order = torch.from_numpy(generator.permutation(steps * games)).to(device)
        for chosen in order.split(size):
            yield flat.map(lambda tensor, at=chosen: tensor.index_select(0, at))

    def _update(self, batch: Batch) -> dict[str, Tensor]:
        return self._learner.update(self._losses, vars(batch))

    def _losses(self, tensors: Tensors) -> dict[str, Tensor]:
        config, network, batch = self._config, self.network, Batch(**tensors)
        with self._learner.precision():
            seen = Seen(batch.frames.permute(0, 3, 1, 2), batch.variables)
            hidden = network.torso.unroll(seen, batch.state, batch.fresh)
            preferences, values = network.preferences(hidden), network.value(hidden).squeeze(1)
        preferences, values = preferences.float(), values.float()
        valid = batch.valid
        loss_pi = losses.policy_loss(
            losses.action_log_probs(preferences, batch.actions),
            batch.log_probs,
            batch.advantages,
            valid,
            clip=config.clip,
        )
        loss_v = losses.value_loss(values, batch.values, batch.returns, valid, clip=None)
        entropy = losses.entropy(preferences, valid)
        loss = loss_pi + config.value_weight * loss_v - config.entropy_weight * entropy
        report = {"loss_pi": loss_pi, "loss_v": loss_v, "entropy": entropy}
        if network.features is not None:
            report["loss_features"] = losses.feature_loss(
                network.features(hidden.float()), batch.features, valid
            )
            loss = loss + config.feature_weight * report["loss_features"]
        return {**report, "loss": loss, "samples": valid.sum()}

    def state(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Copy the weights and the optimizer's moments."""
        return self._learner.state()

    def load(self, path: Path) -> None:
        """Take over what a checkpoint holds."""
        self._learner.load(path)

    def description(self) -> dict[str, Any]:
        """Describe the network."""
        return self._learner.description()


def _joined(tensor: Tensor) -> Tensor:
    """Join the axes of steps and games."""
    return tensor.flatten(0, 1)
