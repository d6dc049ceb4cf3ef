"""A training that is killed anywhere leaves nobody behind, and resumed ends with the same bytes."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.processes import is_alive
from tests.waiting import eventually_sync
from trainer.algorithms import opened
from trainer.config import parse
from trainer.offline import OfflineReporter
from trainer.reporter import Request

ROOT = Path(__file__).parents[2]
ITERATIONS = 21
SMALL = {
    "seed": 7,
    "games": 2,
    "actors": 2,
    "rollout_steps": 8,
    "hidden": 32,
    "batch_size": 8,
    "max_iterations": ITERATIONS,
    "checkpoint_interval": 3,
    "eval_episodes": 2,
}
CONFIGS = {
    "PPO": {**SMALL, "algorithm": "PPO", "network_type": "lstm"},
    "DQN": {
        **SMALL,
        "algorithm": "DQN",
        "replay_capacity": 256,
        "learning_starts": 64,
        "start_decay": 0,
        "stop_decay": 300,
        "target_interval": 10,
    },
}
# A checkpoint is behind after five steps of progress; another one is ahead after ten.
FEWEST, MOST = 6, 10


def trained(config: dict[str, Any], directory: Path) -> OfflineReporter:
    reporter = OfflineReporter(directory)
    with opened(parse(config), reporter) as training:
        assert training.run() is Request.GO_ON
    return reporter


def attempt(config: dict[str, Any], directory: Path, *, steps: int | None) -> str:
    """Go on from the latest checkpoint for so many steps of progress, then die at whatever comes.

    Answers what was told last.
    """
    command = [sys.executable, "-m", "tests.learning.trainee", str(directory), json.dumps(config)]
    pipe = subprocess.PIPE
    others: list[psutil.Process] = []
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as trainee:
        assert trainee.stdin is not None
        assert trainee.stdout is not None
        told, count = "", 0
        for line in trainee.stdout:
            told, count = line.strip(), count + 1
            if count == steps:
                others = psutil.Process(trainee.pid).children(recursive=True)
                assert [one.name() for one in others].count("vizdoom") == SMALL["games"]
            if not told.startswith("done"):
                trainee.stdin.write("\n")
                trainee.stdin.flush()
            if count == steps:
                break
        if steps is not None:
            trainee.send_signal(signal.SIGKILL)
    assert trainee.returncode == (0 if steps is None else -signal.SIGKILL)
    eventually_sync(lambda: not any(is_alive(one) for one in others))
    return told


@pytest.mark.parametrize(("algorithm", "kills"), [("PPO", 3), ("DQN", 1)])
def test_a_killed_training_leaves_nobody_behind_and_ends_with_the_same_bytes(
    tmp_path: Path, algorithm: str, kills: int
) -> None:
    config = CONFIGS[algorithm]
    draw = random.Random(algorithm)
    killed_at = [attempt(config, tmp_path, steps=draw.randint(FEWEST, MOST)) for _ in range(kills)]
    assert not [told for told in killed_at if told.startswith("done")]
    done = attempt(config, tmp_path, steps=None)

    (tmp_path / "whole").mkdir()
    whole = trained(config, tmp_path / "whole")
    assert done == f"done {whole.digests[ITERATIONS]}", killed_at
    for iteration, digest in whole.digests.items():
        content = (tmp_path / f"{iteration}.safetensors").read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest, (iteration, killed_at)


def test_a_training_that_was_asked_to_stop_goes_on_exactly_from_there(tmp_path: Path) -> None:
    config = {**CONFIGS["PPO"], "max_iterations": 9, "checkpoint_interval": 9}
    stopped = OfflineReporter(tmp_path, stop_after=4)
    with opened(parse(config), stopped) as training:
        assert training.run() is Request.STOP
    assert list(stopped.digests) == [5]
    ends = []
    for _ in range(2):
        reporter = OfflineReporter(tmp_path)
        with opened(parse(config), reporter) as training:
            training.load(stopped.path_of(5))
            assert training.run() is Request.GO_ON
        ends.append(reporter.digests)
    assert list(ends[0]) == [9]
    assert ends[0] == ends[1]
