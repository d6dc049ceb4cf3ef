"""A training repeated from one of its checkpoints, and trainings that a rule ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainer import checkpoint
from trainer.algorithms import opened
from trainer.certify import Digesting, replay
from trainer.config import parse
from trainer.offline import OfflineReporter
from trainer.reporter import Request
from trainer.stopping import DivergedError, Reason, StopRules, Supervised

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.config import Config

SHORT = parse(
    {
        "algorithm": "DQN",
        "scenario": "basic",
        "seed": 7,
        "games": 2,
        "rollout_steps": 4,
        "hidden": 32,
        "max_iterations": 80,
        "learning_starts": 64,
        "start_decay": 0,
        "stop_decay": 100,
        "metrics_interval": 10,
        "checkpoint_interval": 40,
        "eval_episodes": 1,
        "replay_capacity": 300,
        "plateau_evaluations": 100,
    }
)


def train(config: Config, reporter: OfflineReporter, start: Path | None = None) -> StopRules:
    rules = StopRules.of(config)
    with opened(config, Supervised(reporter, rules)) as training:
        if start is not None:
            training.load(start)
        training.run()
    return rules


def replayed(directory: Path, start: Path, until: int) -> str:
    told: list[int] = []
    reporter = Digesting(
        directory,
        until=until,
        asked=lambda: Request.GO_ON,
        tell=lambda iteration, _step: told.append(iteration),
    )
    replay(start, reporter)
    assert max(told) == until
    return reporter.sha256


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> OfflineReporter:
    """The training with nothing happening to it: checkpoints at 40 and 80."""
    reporter = OfflineReporter(tmp_path_factory.mktemp("whole"))
    train(SHORT, reporter)
    return reporter


def test_a_replay_comes_to_the_next_checkpoint_wherever_that_stands(
    whole: OfflineReporter, tmp_path: Path
) -> None:
    assert replayed(tmp_path, whole.path_of(40), 80) == whole.digests[80]

    stopped = OfflineReporter(tmp_path, stop_after=55)
    train(SHORT, stopped)
    # The window that was under way is learned from, too.
    assert list(stopped.digests) == [40, 56]
    assert replayed(tmp_path, stopped.path_of(40), 56) == stopped.digests[56]


def test_a_replay_from_a_checkpoint_that_was_tampered_with_comes_to_another_digest(
    whole: OfflineReporter, tmp_path: Path
) -> None:
    planted = tmp_path / "planted.safetensors"
    plant(whole.path_of(40), planted, 1e-3)
    assert replayed(tmp_path, planted, 80) != whole.digests[80]


def test_weights_that_are_no_numbers_end_the_training_within_a_logging_interval(
    whole: OfflineReporter, tmp_path: Path
) -> None:
    planted = tmp_path / "planted.safetensors"
    plant(whole.path_of(40), planted, float("nan"))
    diverged = OfflineReporter(tmp_path)
    with pytest.raises(DivergedError, match="loss is nan at step 400"):
        train(SHORT, diverged, planted)
    assert diverged.digests == {}


def plant(source: Path, path: Path, change: float) -> None:
    """Write a checkpoint like another one, the first of the weights that learn changed."""
    groups = {
        name: checkpoint.read_group(source, name)
        for name in ("network", "latest", "target", "optimizer", "rng", "counts", "replay")
    }
    name, weights = next(iter(sorted(groups["latest"].items())))
    changed = np.array(weights)
    changed.flat[0] += change
    groups["latest"] = {**groups["latest"], name: changed}
    checkpoint.write(path, checkpoint.read_manifest(source), checkpoint.grouped(**groups))


def test_a_training_that_is_good_enough_ends_at_that_checkpoint(tmp_path: Path) -> None:
    # The worst that an episode of basic can bring is above this.
    reporter = OfflineReporter(tmp_path)
    rules = train(replace(SHORT, target_return=-1000.0), reporter)
    assert list(reporter.digests) == [40]
    assert rules.stop is not None
    assert rules.stop.reason is Reason.TARGET_REACHED


def test_a_training_that_gets_no_better_ends_the_same_when_it_was_resumed(tmp_path: Path) -> None:
    never = {"plateau_evaluations": 2, "plateau_delta": 1e9}
    config = replace(SHORT, max_iterations=1000, checkpoint_interval=20, **never)
    reporter = OfflineReporter(tmp_path)
    train(config, reporter)
    assert list(reporter.digests) == [20, 40, 60]

    rules = StopRules.of(config)
    resumed = OfflineReporter(tmp_path)
    with opened(config, Supervised(resumed, rules)) as training:
        training.load(reporter.path_of(40))
        rules.restore(checkpoint.read_manifest(reporter.path_of(40)).stopping)
        assert training.run() is Request.STOP
    assert resumed.digests == {60: reporter.digests[60]}
