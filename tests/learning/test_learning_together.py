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

from tests.learners import SMALL, started
from tests.processes import is_alive
from tests.waiting import eventually_sync
from trainer import checkpoint
from trainer.algorithms import opened
from trainer.config import parse
from trainer.learners import LearnerError
from trainer.offline import OfflineReporter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
ENDLESS = {**SMALL, "max_iterations": 10**6, "checkpoint_interval": 10**6}
DQN = {
    **SMALL,
    "algorithm": "DQN",
    "learning_starts": 200,
    "replay_capacity": 2000,
    "start_decay": 200,
    "stop_decay": 1000,
    "target_interval": 50,
    "max_iterations": 20,
    "checkpoint_interval": 10,
}


def test_a_training_of_two_learners_goes_on_exactly_whoever_started_them(tmp_path: Path) -> None:
    """Two that the first one has started; from their checkpoint on, two as torchrun starts them."""
    whole = OfflineReporter(tmp_path)
    with opened(parse(DQN), whole) as training:
        training.run()
    replays = [
        checkpoint.read_group(whole.path_of(10), name) for name in ("replay", "learner-1.replay")
    ]
    assert (replays[0]["actions"] != replays[1]["actions"]).any()

    whole.path_of(20).unlink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2}
    processes = [trainee(tmp_path, DQN, RANK=rank, **there) for rank in range(2)]
    first, other = (process.communicate(timeout=120)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert first.splitlines()[-1] == f"done {whole.digests[20]}"
    assert other == ""


def trainee(
    directory: Path, settings: dict[str, Any], **environment: object
) -> subprocess.Popen[str]:
    """Start a training that waits for nobody."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.learning.trainee", directory, json.dumps(settings)],
        cwd=ROOT,
        env=os.environ | {name: str(value) for name, value in environment.items()},
        stdin=subprocess.DEVNULL,
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
        opened(parse(ENDLESS), reporter) as training,
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
        opened(parse(ENDLESS), Failing(tmp_path)) as training,
    ):
        training.run()
    eventually_sync(lambda: not started())


def test_a_killed_first_learner_leaves_no_other_and_no_actor(tmp_path: Path) -> None:
    with trainee(tmp_path, ENDLESS) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "training 1\n"
        others = psutil.Process(first.pid).children(recursive=True)
        # Two fork servers with an actor each, and the other learner.
        assert len(others) >= 5
        first.send_signal(signal.SIGKILL)
    eventually_sync(lambda: not any(is_alive(one) for one in others))
