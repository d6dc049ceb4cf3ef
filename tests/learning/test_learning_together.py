"""Several learners of one training, each a process with actors of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.learning.learner import CATCH
from tests.waiting import eventually_sync
from trainer import checkpoint
from trainer.algorithms import opened
from trainer.config import parse
from trainer.learners import LearnerError
from trainer.offline import OfflineReporter
from trainer.reporter import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
BOTH: dict[str, Any] = {
    "learners": 2,
    "actors": 2,
    "games": 16,
    "history": 1,
    "width": 36,
    "channels": [8],
    "hidden": 64,
    "seed": 3,
    "eval_episodes": 40,
}
PPO = {
    **BOTH,
    "rollout_steps": 22,
    "batch_size": 88,
    "epochs": 4,
    "learning_rate": 5e-3,
    "max_iterations": 50,
}
DQN = {
    **BOTH,
    "algorithm": "DQN",
    "learning_starts": 200,
    "replay_capacity": 2000,
    "start_decay": 200,
    "stop_decay": 2000,
    "target_interval": 50,
    "max_iterations": 20,
}
ENDLESS = {**PPO, "max_iterations": 10**6, "checkpoint_interval": 10**6}


def train(settings: dict[str, Any], directory: Path, start: Path | None = None) -> OfflineReporter:
    directory.mkdir()
    reporter = OfflineReporter(directory)
    config = parse({**settings, "checkpoint_interval": settings["max_iterations"] // 2})
    with opened(config, reporter, game=CATCH) as training:
        if start is not None:
            training.load(start)
        assert training.run() is Request.GO_ON
    return reporter


def test_two_learners_learn_together_what_brings_a_reward(tmp_path: Path) -> None:
    reporter = train(PPO, tmp_path / "whole")
    # A ball that is caught brings 1, one that is not -1; chance catches a quarter of them.
    assert reporter.points["eval_return"][50 * 352] > 0.8
    # Episodes have 11 steps, and those of both learners are counted.
    assert sum(reporter.points["episodes"].values()) == 50 * 352 / 11


def test_a_training_of_two_learners_goes_on_exactly_whoever_started_them(tmp_path: Path) -> None:
    """Two that the first one has started, then from their checkpoint two as torchrun starts them."""
    whole = train(DQN, tmp_path / "whole")
    start = whole.path_of(10)
    replays = [checkpoint.read_group(start, name) for name in ("replay", "learner-1")]
    assert (replays[0]["actions"] != replays[1]["replay.actions"]).any()

    settings = {**DQN, "checkpoint_interval": 10}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        learner(tmp_path, settings, start, RANK=rank, WORLD_SIZE=2, MASTER_PORT=port)
        for rank in range(2)
    ]
    first, other = (process.communicate(timeout=120)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert first.splitlines()[-1] == whole.digests[20]
    assert other == ""


def learner(
    directory: Path, settings: dict[str, Any], *paths: Path, **environment: int
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.learning.learner", directory, json.dumps(settings), *paths],
        cwd=ROOT,
        env={
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            **{name: str(value) for name, value in environment.items()},
        },
        stdout=subprocess.PIPE,
        text=True,
    )


class Saboteur(OfflineReporter):
    """Kills a process that it finds when the second iteration is done."""

    def __init__(self, directory: Path, find: Callable[[], psutil.Process]) -> None:
        super().__init__(directory)
        self._find = find

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        super().progress(iteration=iteration, step=step, phase=phase)
        if iteration == 2:
            self._find().kill()


def started() -> list[psutil.Process]:
    """Actors and learners that this process has started, by its fork server."""
    return [one for child in psutil.Process().children() for one in child.children()]


def the_other_learner() -> psutil.Process:
    """The only one of them that has started something itself."""
    (found,) = (one for one in started() if one.children())
    return found


def an_actor_of_the_other_learner() -> psutil.Process:
    (found,) = (one for child in the_other_learner().children() for one in child.children())
    return found


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (the_other_learner, "learner 1 ended with exit code -9"),
        (
            an_actor_of_the_other_learner,
            r"learner 1 failed: ActorError\('actor 1 ended with exit code -9'\)",
        ),
    ],
)
def test_a_learner_that_dies_ends_the_training_and_is_named(
    find: Callable[[], psutil.Process], message: str, tmp_path: Path
) -> None:
    reporter = Saboteur(tmp_path, find)
    with (
        pytest.raises(LearnerError, match=message),
        opened(parse(ENDLESS), reporter, game=CATCH) as training,
    ):
        training.run()
    eventually_sync(lambda: not started())


class Failing(OfflineReporter):
    """Cannot keep the first point of a metric."""

    def log(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
        raise OSError("no space left")


def test_an_error_of_the_first_learner_ends_the_others(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="no space left"),
        opened(parse(ENDLESS), Failing(tmp_path), game=CATCH) as training,
    ):
        training.run()
    eventually_sync(lambda: not started())


def test_a_killed_first_learner_leaves_no_other_and_no_actor(tmp_path: Path) -> None:
    with learner(tmp_path, ENDLESS) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "training 1\n"
        others = psutil.Process(first.pid).children(recursive=True)
        # Two fork servers with an actor each, and the other learner.
        assert len(others) >= 5
        first.send_signal(signal.SIGKILL)
    eventually_sync(lambda: not any(is_alive(one) for one in others))


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
