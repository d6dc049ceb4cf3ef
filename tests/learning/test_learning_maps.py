"""Trainings on several maps, at once and one after the other; what a map brings tells it apart."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tests.places import SPACE, WORTH, PlaceGame
from trainer import checkpoint
from trainer.algorithms import opened
from trainer.config import parse
from trainer.games import GameSetup
from trainer.offline import OfflineReporter
from trainer.reporter import Request

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from trainer.config import Config

SETUP = GameSetup(start=PlaceGame, space=SPACE, action_count=2)
SMALL = {
    "seed": 3,
    "games": 4,
    "actors": 2,
    "rollout_steps": 6,
    "history": 1,
    "channels": [4],
    "hidden": 8,
    "reward_scale": 1,
    "max_iterations": 8,
    "checkpoint_interval": 2,
    "eval_episodes": 3,
}
STEPS = 24  # In an iteration.
CURRICULUM = parse(
    {
        **SMALL,
        "curriculum": [
            {"scenario": "basic", "until": 3},
            {"scenario": "simpler_basic", "until": 6},
            {"scenario": "rocket_basic"},
        ],
    }
)


def train(
    config: Config, directory: Path, start: Path | None = None, **reporting: int
) -> OfflineReporter:
    directory.mkdir()
    reporter = OfflineReporter(directory, **reporting)
    with opened(config, reporter, game=SETUP) as training:
        if start is not None:
            training.load(start)
        assert training.run() is (Request.STOP if reporting else Request.GO_ON)
    return reporter


def test_a_curriculum_goes_from_map_to_map_and_a_resumed_one_does_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="trainer.training"):
        whole = train(CURRICULUM, tmp_path / "whole")
    judged = [int(value) for value in whole.points["eval_return"].values()]
    assert judged == [3, 6, 12, 12]
    stages = whole.points["curriculum_stage"]
    assert stages == {STEPS * nth: min((nth - 1) // 2, 2) for nth in range(1, 9)}
    # Training goes where the curriculum says, not only the number that tells of it.
    assert [whole.points["avg_reward"][STEPS * nth] for nth in (2, 4, 6)] == [3, 6, 12]
    told = [record.getMessage() for record in caplog.records if "trained" in record.message]
    assert told == [
        "iteration 0: stage 0, trained on basic",
        "iteration 2: stage 1, trained on simpler_basic",
        "iteration 4: stage 2, trained on rocket_basic",
    ]

    assert checkpoint.read_manifest(whole.path_of(2)).stage == 1
    resumed = train(CURRICULUM, tmp_path / "resumed", whole.path_of(2))
    assert resumed.digests == {nth: whole.digests[nth] for nth in (4, 6, 8)}


def test_a_bar_that_is_not_reached_keeps_the_map(tmp_path: Path) -> None:
    stages = [{"scenario": "simpler_basic", "until": 6.5}, {"scenario": "basic"}]
    config = parse({**SMALL, "max_iterations": 4, "curriculum": stages})
    reporter = train(config, tmp_path / "run")
    assert list(reporter.points["eval_return"].values()) == [6, 6]
    assert set(reporter.points["curriculum_stage"].values()) == {0}


def test_maps_share_the_games_and_only_test_maps_judge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = parse({**SMALL, "max_iterations": 4, "maps": ["basic", "simpler_basic"]})
    both = train(config, tmp_path / "both").points
    # Half of the games play each; so do half of the episodes that judge.
    assert set(both["avg_reward"].values()) == {4.5}
    assert set(both["eval_return"].values()) == {4.5}
    assert set(both["eval_return/basic"].values()) == {3}
    assert set(both["eval_return/simpler_basic"].values()) == {6}

    config = parse({**config.to_mapping(), "test_maps": ["rocket_basic"]})
    with caplog.at_level(logging.INFO, logger="trainer.training"):
        other = train(config, tmp_path / "other").points
    assert set(other["avg_reward"].values()) == {4.5}
    assert set(other["eval_return"].values()) == {12}
    # What games tell of their episodes is told of both, each under its own name.
    assert set(other["worth"].values()) == {1.5}
    assert set(other["eval_worth"].values()) == {WORTH["rocket_basic"]}
    assert "on rocket_basic" in caplog.text


def test_more_test_maps_than_an_actor_has_games_are_all_played(tmp_path: Path) -> None:
    names = ["rocket_basic", "basic", "simpler_basic"]
    config = parse({**SMALL, "max_iterations": 2, "eval_episodes": 5, "test_maps": names})
    points = train(config, tmp_path / "run").points
    assert [points[f"eval_return/{name}"][2 * STEPS] for name in names] == [12, 3, 6]


def test_doom_changes_its_map_and_randomises_in_training_alone(tmp_path: Path) -> None:
    """The bar is below anything that can happen, so the map changes at the first checkpoint."""
    config = parse(
        {
            "games": 2,
            "actors": 1,
            "rollout_steps": 80,
            "channels": [4],
            "hidden": 8,
            "max_iterations": 4,
            "checkpoint_interval": 2,
            "eval_episodes": 1,
            "randomise_spawn": True,
            "curriculum": [{"scenario": "basic", "until": -1e9}, {"scenario": "simpler_basic"}],
        }
    )
    reporter = OfflineReporter(tmp_path)
    with opened(config, reporter) as training:
        training.run()
    assert list(reporter.points["curriculum_stage"].values()) == [0, 0, 1, 1]
    assert set(reporter.points["randomised"].values()) == {1.0}
    assert list(reporter.points["eval_randomised"].values()) == [0.0, 0.0]
