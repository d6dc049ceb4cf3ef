from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainer import checkpoint
from trainer.config import parse
from trainer.doom import new_game
from trainer.dqn import EVALUATION_SEEDS, Training
from trainer.offline import OfflineReporter
from trainer.policy import load
from trainer.reporter import Request
from trainer.vector import VectorGame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainer.config import Config

SHORT = parse(
    {
        "scenario": "basic",
        "seed": 7,
        "max_iterations": 120,
        "learning_starts": 160,
        "start_decay": 0,
        "stop_decay": 400,
        "target_interval": 25,
        "metrics_interval": 20,
        "checkpoint_interval": 40,
        "eval_episodes": 4,
        "replay_capacity": 400,
    }
)


@pytest.fixture(scope="module")
def games() -> Iterator[VectorGame]:
    with VectorGame(lambda: new_game(SHORT), SHORT.games) as started:
        yield started


def train(config: Config, games: VectorGame, directory: Path) -> OfflineReporter:
    directory.mkdir()
    reporter = OfflineReporter(directory)
    assert Training(config, games, reporter).run() is Request.GO_ON
    return reporter


def without_speed(points: dict[str, dict[int, float]]) -> dict[str, dict[int, float]]:
    return {name: values for name, values in points.items() if name != "steps_per_s"}


def test_same_seed_gives_the_same_bytes(games: VectorGame, tmp_path: Path) -> None:
    first = train(SHORT, games, tmp_path / "first")
    second = train(SHORT, games, tmp_path / "second")
    other = train(replace(SHORT, seed=8), games, tmp_path / "other")

    assert first.digests == second.digests
    assert without_speed(first.points) == without_speed(second.points)
    assert first.digests != other.digests


def test_resumed_run_ends_like_an_undisturbed_one(games: VectorGame, tmp_path: Path) -> None:
    whole = train(SHORT, games, tmp_path / "whole")
    (tmp_path / "resumed").mkdir()
    reporter = OfflineReporter(tmp_path / "resumed")
    training = Training(SHORT, games, reporter)
    training.load(whole.path_of(80))
    assert training.run() is Request.GO_ON

    assert reporter.digests == {120: whole.digests[120]}
    assert set(reporter.points["loss"]) == {400, 480}
    for name, values in without_speed(reporter.points).items():
        assert values == {step: whole.points[name][step] for step in values}, name


def test_stop_saves_where_it_stands_and_resume_goes_on_from_there(
    games: VectorGame, tmp_path: Path
) -> None:
    stopped = OfflineReporter(tmp_path, stop_after=55)
    assert Training(SHORT, games, stopped).run() is Request.STOP
    assert list(stopped.digests) == [40, 55]
    assert max(stopped.points["loss"]) == 55 * SHORT.games

    training = Training(SHORT, games, OfflineReporter(tmp_path))
    training.load(stopped.path_of(55))
    assert training.steps == 55 * SHORT.games


def test_checkpoint_without_replay_resumes_by_filling_it_anew(
    games: VectorGame, tmp_path: Path
) -> None:
    config = replace(SHORT, persist_replay=False)
    whole = train(config, games, tmp_path / "whole")
    training = Training(config, games, OfflineReporter(tmp_path))
    training.load(whole.path_of(80))

    assert len(training.replay) == 0
    assert checkpoint.read_group(whole.path_of(80), "replay") == {}
    assert training.run() is Request.GO_ON


def test_checkpoint_of_another_config_is_refused(games: VectorGame, tmp_path: Path) -> None:
    whole = train(SHORT, games, tmp_path / "whole")
    training = Training(replace(SHORT, gamma=0.9), games, OfflineReporter(tmp_path))
    with pytest.raises(checkpoint.CheckpointError, match="another config"):
        training.load(whole.path_of(40))


def test_missing_gpu_trains_on_the_cpu(games: VectorGame, tmp_path: Path) -> None:
    config = replace(SHORT, gpu_id=63, max_iterations=45)
    assert 45 in train(config, games, tmp_path / "run").digests


def test_dqn_learns_to_shoot_the_monster(games: VectorGame, tmp_path: Path) -> None:
    """A short training beats chance by more than chance can explain, on seeds never trained on."""
    config = parse({"seed": 3, "max_iterations": 1800, "checkpoint_interval": 1800})
    reporter = train(config, games, tmp_path / "run")
    policy = load(reporter.path_of(1800))

    trained = scores(games, lambda observations: [policy.act(seen) for seen in observations])
    generator = np.random.default_rng(0)
    chance = scores(games, lambda seen: generator.integers(0, games.action_count, len(seen)))

    # Welch's t over 40 episodes each; 4 is a probability below one in ten thousand.
    spread = np.sqrt((trained.var(ddof=1) + chance.var(ddof=1)) / len(trained))
    assert (trained.mean() - chance.mean()) / spread > 4
    assert trained.mean() > 20


def scores(games: VectorGame, act: object) -> np.ndarray:
    """Play 40 episodes of seeds kept for evaluation."""
    first = EVALUATION_SEEDS + 1_000_000
    observations = games.restart(lambda game, nth: first + nth * SHORT.games + game)
    found: list[list[float]] = [[] for _ in range(SHORT.games)]
    while min(map(len, found)) < 10:
        outcome = games.step(np.asarray(act(observations))).result()
        observations = outcome.observations
        for game, score in outcome.scores.items():
            found[game].append(score)
    return np.array([score for game in found for score in game[:10]])
