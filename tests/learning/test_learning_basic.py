"""Short trainings beat chance by more than chance can explain, on seeds never trained on."""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainer.algorithms import opened
from trainer.config import parse
from trainer.games import game_setup
from trainer.offline import OfflineReporter
from trainer.policy import load
from trainer.seeds import evaluation_seed

if TYPE_CHECKING:
    from pathlib import Path

    from games.interface import Game

EPISODES = 40
SHORT = {
    "PPO": {
        "scenario": "simpler_basic",
        "action_combinations": "move_lr+attack",
        "frame_skip": 6,
        "history": 2,
        "rollout_steps": 32,
        "batch_size": 128,
        "epochs": 4,
        "learning_rate": 1e-3,
        "total_steps": 8_000,
    },
    "DQN": {"scenario": "basic", "total_steps": 7_500, "stop_decay": 3_000},
}


def chance(game: Game, seeds: list[int]) -> list[float]:
    """Scores of episodes played at random."""
    space = game.observation_space
    frame = np.zeros((space.frame_channels, space.height, space.width), dtype=np.uint8)
    scores = []
    for seed in seeds:
        draw = random.Random(seed)
        game.new_episode(seed, frame)
        while not game.make_action(draw.randrange(game.action_count), frame).ended:
            pass
        scores.append(game.total_reward)
    return scores


@pytest.mark.parametrize("algorithm", SHORT)
def test_a_short_training_beats_chance(tmp_path: Path, algorithm: str) -> None:
    often = {"checkpoint_interval": 10**6, "eval_episodes": EPISODES}
    config = parse({"algorithm": algorithm, "seed": 3, **often, **SHORT[algorithm]})
    reporter = OfflineReporter(tmp_path)
    with opened(config, reporter) as training:
        training.run()
    (mean,) = reporter.points["eval_return"].values()
    (deviation,) = reporter.points["eval_return_std"].values()
    seeds = [evaluation_seed(config.seed, nth) for nth in range(EPISODES)]
    with closing(game_setup(config).start(config.scenario)) as game:
        scores = chance(game, seeds)

    # Welch's t; 5 is a probability below one in a hundred thousand.
    variance = (deviation**2 + np.var(scores)) / (EPISODES - 1)
    assert (mean - np.mean(scores)) / np.sqrt(variance) > 5, (mean, np.mean(scores))
    assert mean > 20
    (path,) = tmp_path.glob("*.safetensors")
    assert load(path).manifest.steps >= config.total_steps
