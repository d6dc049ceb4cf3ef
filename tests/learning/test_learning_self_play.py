"""Trainings against their own past: they get better than it, and repeat themselves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.duel import SPACE, LampDuel
from trainer import checkpoint
from trainer.algorithms import opened
from trainer.config import parse
from trainer.games import GameSetup
from trainer.offline import OfflineReporter
from trainer.reporter import Request

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.config import Config


def no_game(scenario: str) -> LampDuel:
    """Nobody plays alone."""
    raise AssertionError(scenario)


SETUP = GameSetup(start=no_game, space=SPACE, action_count=3, start_match=LampDuel)
DUEL = {
    "scenario": "self_play",
    "self_play": True,
    "seed": 3,
    "games": 8,
    "actors": 2,
    "rollout_steps": 12,
    "batch_size": 32,
    "learning_rate": 3e-3,
    "history": 1,
    "channels": [8],
    "hidden": 32,
    "reward_scale": 1,
    "eval_episodes": 20,
}


def train(config: Config, directory: Path, start: Path | None = None) -> OfflineReporter:
    directory.mkdir()
    reporter = OfflineReporter(directory)
    with opened(config, reporter, game=SETUP) as training:
        if start is not None:
            training.load(start)
        assert training.run() is Request.GO_ON
    return reporter


def test_opponents_of_the_past_are_met_logged_and_kept_for_a_resume(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"max_iterations": 10, "checkpoint_interval": 2, "opponent_pool": 3}
    config = parse({**DUEL, **asked, "opponent_weights": {"latest": 0.25, "past": 0.75}})
    with caplog.at_level(logging.INFO, logger="trainer.self_play"):
        whole = train(config, tmp_path / "whole")
    *_, told = (message for message in caplog.messages if "opponents" in message)
    counts = dict(pair.split(": ") for pair in told.split("iteration: ")[1].split(", "))
    assert list(counts) == ["4", "6", "8"]
    # Sixteen episodes an iteration: eight games, two episodes of six decisions in a window.
    assert sum(map(int, counts.values())) == 2 * 16
    # A half is likely to meet the latest: a quarter directly, a third of the others by chance.
    assert int(counts["8"]) == pytest.approx(16, abs=8)

    assert set(whole.points["opponent_iteration"]) == set(whole.points["win_rate"])
    assert 4 <= whole.points["opponent_iteration"][960] <= 8
    assert 0 <= whole.points["eval_win_rate"][960] <= 1
    held = checkpoint.read_group(whole.path_of(6), "opponents")
    assert {key.split(".")[0] for key in held} == {"2", "4", "6"}

    resumed = train(config, tmp_path / "resumed", whole.path_of(6))
    assert resumed.digests == {8: whole.digests[8], 10: whole.digests[10]}


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_a_learner_comes_to_beat_what_it_was(tmp_path: Path, algorithm: str) -> None:
    """The only opponent is the oldest of a large pool: whoever it began as."""
    settings = {
        "PPO": {"max_iterations": 30},
        "DQN": {
            "max_iterations": 40,
            "batch_size": 16,
            "n_step": 2,
            "replay_capacity": 1000,
            "learning_starts": 128,
            "start_decay": 0,
            "stop_decay": 1000,
            "target_interval": 20,
        },
    }
    asked = {"algorithm": algorithm, "opponent_weights": {"oldest": 1}, "checkpoint_interval": 10}
    reporter = train(parse({**DUEL, **asked, **settings[algorithm]}), tmp_path / "run")
    *_, last = reporter.points["eval_win_rate"].values()
    assert last > 0.9
    assert set(reporter.points["opponent_iteration"].values()) == {0}


def test_doom_is_played_against_the_past(tmp_path: Path) -> None:
    """Two seats, two engines; a match lasts a minute of the game."""
    config = parse(
        {
            "scenario": "self_play",
            "self_play": True,
            "frame_skip": 35,
            "games": 1,
            "actors": 1,
            "rollout_steps": 64,
            "channels": [4],
            "hidden": 8,
            "max_iterations": 1,
            "eval_episodes": 1,
        }
    )
    reporter = OfflineReporter(tmp_path)
    with opened(config, reporter) as training:
        training.run()
    (points,) = (reporter.points[name] for name in ("episode_length",))
    assert list(points.values()) == [60]
    for name in ("win_rate", "eval_win_rate"):
        assert set(reporter.points[name].values()) <= {0.0, 0.5, 1.0}
