"""Trainings of a second on a toy: they learn, and broken ones do not pass for those that do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.toy import BRIEF, LampGame, a_config, train_alone
from trainer.dqn import DQN
from trainer.offline import OfflineReporter
from trainer.ppo import PPO, Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from games.interface import Game
    from trainer.replay import Transitions
    from trainer.training import Algorithm

SETTINGS = {
    "PPO": {"games": 8, "rollout_steps": 12, "batch_size": 32, "max_iterations": 30},
    "DQN": {"max_iterations": 40},
    "DRQN": {"max_iterations": 60, "batch_size": 48, "burn_in": 2, "recurrent_updates": 6},
}
MOST = LampGame.DECISIONS  # Chance brings a third of it.


def score(
    directory: Path,
    algorithm: str,
    *,
    learner: type[Algorithm] | None = None,
    start: Callable[[str], Game] = LampGame,
    **settings: object,
) -> float:
    """Mean greedy return after a training."""
    reporter = OfflineReporter(directory)
    chosen = {"eval_episodes": 20, "checkpoint_interval": 1000} | SETTINGS[algorithm] | settings
    config = a_config(algorithm, **chosen)
    train_alone(config, reporter, start, learner=learner)
    (value,) = reporter.points["eval_return"].values()
    return value


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_an_algorithm_learns_what_brings_a_reward(tmp_path: Path, algorithm: str) -> None:
    assert score(tmp_path, algorithm) > 0.95 * MOST


@pytest.mark.parametrize("options", [{"prioritised": True}, {"double": False, "dueling": False}])
def test_dqn_learns_with_any_of_its_options(tmp_path: Path, options: dict[str, bool]) -> None:
    chosen = {
        "max_iterations": 60,
        "batch_size": 32,
        "replay_capacity": 2000,
        "stop_decay": 1500,
        "learning_rate": 1e-3,
    }
    assert score(tmp_path, "DQN", **chosen, **options) > 0.95 * MOST


@pytest.mark.parametrize(
    ("algorithm", "network"), [("PPO", {"network_type": "lstm"}), ("DRQN", {})]
)
def test_a_network_that_remembers_learns_what_has_to_be_remembered(
    tmp_path: Path, algorithm: str, network: dict[str, str]
) -> None:
    assert score(tmp_path, algorithm, start=BRIEF, **network) > 0.9 * MOST


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_a_network_that_sees_one_frame_cannot(tmp_path: Path, algorithm: str) -> None:
    assert score(tmp_path, algorithm, start=BRIEF) < 0.7 * MOST


class FlippedPPO(PPO):
    """Moves down what it should move up."""

    def _window(self, iteration: int) -> Batch:
        window = super()._window(iteration)
        return replace(window, advantages=-window.advantages)


class ShuffledPPO(PPO):
    """Learns of every step what another one was worth."""

    def _minibatches(self, window: Batch, generator: np.random.Generator) -> Iterator[Batch]:
        for batch in super()._minibatches(window, generator):
            order = torch.from_numpy(generator.permutation(len(batch.advantages)))
            yield replace(batch, advantages=batch.advantages[order])


class BrokenDQN(DQN):
    """Learns from transitions of which something is wrong."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        transitions = self.replay.transitions
        self.replay.transitions = lambda *steps, **options: self.broken(
            transitions(*steps, **options)
        )

    @staticmethod
    def broken(batch: Transitions) -> Transitions:
        raise NotImplementedError


class FlippedDQN(BrokenDQN):
    """Wants what it should avoid."""

    @staticmethod
    def broken(batch: Transitions) -> Transitions:
        return replace(batch, returns=-batch.returns)


class ShuffledDQN(BrokenDQN):
    """Learns of every step what another one brought."""

    @staticmethod
    def broken(batch: Transitions) -> Transitions:
        return replace(batch, returns=np.random.default_rng(0).permutation(batch.returns))


@pytest.mark.parametrize("broken", [FlippedPPO, ShuffledPPO, FlippedDQN, ShuffledDQN])
def test_a_broken_algorithm_does_not_pass_for_one_that_learns(
    tmp_path: Path, broken: type[Algorithm]
) -> None:
    algorithm = "PPO" if issubclass(broken, PPO) else "DQN"
    assert score(tmp_path, algorithm, learner=broken) < 0.7 * MOST
