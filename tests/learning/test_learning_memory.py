"""What only a memory can learn, learned; and a training with a memory, resumed to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from games.stack import Stack
from tests.recall import DECISIONS, RECALL, RecallGame
from trainer.algorithms import opened
from trainer.config import parse
from trainer.offline import OfflineReporter
from trainer.policy import load
from trainer.reporter import Request
from trainer.ring import GOES_ON

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.config import Config
    from trainer.policy import Policy

COMMON = {
    "history": 1,
    "channels": [8],
    "hidden": 32,
    "reward_scale": 1,
    "learning_rate": 0.005,
    "games": 16,
    "rollout_steps": 14,
    "metrics_interval": 5,
    "checkpoint_interval": 8,
    "max_iterations": 24,
    "eval_episodes": 64,
}
REPLAY = {
    "n_step": 3,
    "batch_size": 128,
    "learning_starts": 256,
    "replay_capacity": 2000,
    "start_decay": 0,
    "stop_decay": 4000,
    "steps_per_update": 16,
    "target_interval": 25,
}
DRQN = {**COMMON, **REPLAY, "algorithm": "DRQN", "burn_in": 2, "recurrent_updates": 4}
PRIORITISED = {**COMMON, **REPLAY, "algorithm": "DQN", "prioritised": True, "game_features": True}
PPO = {**COMMON, "algorithm": "PPO", "network_type": "lstm", "max_iterations": 40}


def train(config: Config, directory: Path, *, since: Path | None = None) -> OfflineReporter:
    directory.mkdir()
    reporter = OfflineReporter(directory)
    with opened(config, reporter, game=RECALL) as training:
        if since is not None:
            training.load(since)
        assert training.run() is Request.GO_ON
    return reporter


@pytest.mark.parametrize("settings", [DRQN, PPO], ids=["DRQN", "PPO"])
def test_a_network_that_remembers_learns_what_was_shown_first(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = parse({**settings, "seed": 1})
    reporter = train(config, tmp_path / "run")
    *_, last = reporter.points["eval_return"].values()
    assert last > 0.9

    policy = load(reporter.path_of(config.iterations))
    assert policy.manifest.recurrent
    actions = [play(policy, seed) for seed in range(20)]
    assert [play(policy, seed) for seed in range(20)] == actions
    assert sum(actions[seed][-1] == half_of(seed) for seed in range(20)) > 18


def play(policy: Policy, seed: int) -> list[int]:
    """Play one episode; whatever was remembered of the one before must not matter."""
    game, actions = RecallGame(), []
    stack = Stack(game.observation_space)
    game.new_episode(seed, stack.newest)
    stack.begin()
    policy.begin()
    for _ in range(DECISIONS):
        actions.append(policy.act(stack.observation, game.variables))
        game.make_action(actions[-1], stack.newest)
        stack.push()
    return actions


def half_of(seed: int) -> int:
    frame = np.zeros((1, 12, 12), dtype=np.uint8)
    RecallGame().new_episode(seed, frame)
    return int(frame[0, -1, 0] > 0)


@pytest.mark.parametrize("settings", [PRIORITISED], ids=["DQN"])
def test_a_network_that_sees_one_frame_cannot(settings: dict[str, Any], tmp_path: Path) -> None:
    reporter = train(parse({**settings, "seed": 1}), tmp_path / "run")
    # Any player who always does the same wins half of all episodes; 64 decide within 0.5.
    assert all(abs(score) < 0.5 for score in reporter.points["eval_return"].values())
    *_, loss = reporter.points["loss_features"].values()
    assert loss < 0.05


@pytest.mark.parametrize("settings", [DRQN, PRIORITISED], ids=["DRQN", "DQN"])
def test_a_resumed_run_ends_like_an_undisturbed_one(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = parse({**settings, "seed": 5, "eval_episodes": 4})
    whole = train(config, tmp_path / "whole")
    assert list(whole.digests) == [8, 16, 24]
    resumed = train(config, tmp_path / "resumed", since=whole.path_of(8))
    assert resumed.digests == {iteration: whole.digests[iteration] for iteration in (16, 24)}


def test_no_step_leads_out_of_an_episode_that_was_left(tmp_path: Path) -> None:
    config = parse({**DRQN, "max_iterations": 6, "checkpoint_interval": 3, "eval_episodes": 4})
    with opened(config, OfflineReporter(tmp_path), game=RECALL) as training:
        training.run()
        ring = training._players.ring
        last = 3 * config.rollout_steps - 1
        assert (ring["ages"][last] < DECISIONS - 1).any()
        assert (ring["ends"][last] != GOES_ON).all()
        assert (ring["ages"][last + 1] == 0).all()
