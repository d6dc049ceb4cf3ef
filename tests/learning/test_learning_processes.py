"""What passes between the processes of a training, and what is left of them: nothing."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from tests.learners import started
from tests.processes import below
from tests.toy import CountingGame, LampGame, a_config, parts, setup, train_alone
from tests.waiting import eventually_sync
from trainer import forkserver
from trainer.algorithms import opened
from trainer.config import parse
from trainer.offline import OfflineReporter
from trainer.players import ActorError, Players
from trainer.reporter import Request
from trainer.shared import Column, SharedArrays

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from games.interface import Frame, Game, Outcome
    from trainer.config import Config

DOOM = {
    "games": 2,
    "actors": 2,
    "rollout_steps": 8,
    "max_iterations": 12,
    "checkpoint_interval": 6,
    "eval_episodes": 1,
    "hidden": 16,
}


# -- shared memory -----------------------------------------------------------------------------


def write_and_wait(arrays: SharedArrays, connection: Any) -> None:
    arrays["steps"][1] = 7
    connection.send("written")
    connection.recv()


def test_two_processes_see_the_same_arrays_and_either_may_go() -> None:
    forkserver.prepare()
    arrays = SharedArrays({"steps": Column((3,), "int64")})
    ours, theirs = forkserver.CONTEXT.Pipe()
    other = forkserver.CONTEXT.Process(target=write_and_wait, args=(arrays, theirs))
    other.start()
    assert ours.recv() == "written"
    assert arrays["steps"].tolist() == [0, 7, 0]
    other.kill()
    other.join()
    arrays["steps"][0] = 1
    assert arrays["steps"].tolist() == [1, 7, 0]


# -- actors ------------------------------------------------------------------------------------


def train(
    config: Config, directory: Path, start: Callable[[str], Game] = LampGame
) -> OfflineReporter:
    """Train on a toy game whose actors are processes."""
    reporter = OfflineReporter(directory)
    with opened(config, reporter, game=setup(start)) as training:
        training.run()
    return reporter


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_playing_while_learning_changes_nothing(algorithm: str, tmp_path: Path) -> None:
    """Processes at work at the same time come to what one does after the other."""
    config = a_config(algorithm, actors=2)
    for name in ("alone", "together"):
        (tmp_path / name).mkdir()
    alone = OfflineReporter(tmp_path / "alone")
    train_alone(config, alone, LampGame)
    together = train(config, tmp_path / "together")
    assert together.digests == alone.digests
    assert together.points["avg_reward"] == alone.points["avg_reward"]


def test_episodes_of_an_evaluation_come_in_the_order_of_their_seeds() -> None:
    made = parts(a_config(games=3, actors=2, history=3), CountingGame)
    seeds = [11, 29, 3, 56, 40, 77, 5]
    with Players(made.casting, made.ring, made.algorithm.network) as players:
        for count in (7, 1, 0):
            episodes = players.evaluate(seeds[:count])
            lengths = [episode["length"] for episode in episodes]
            assert lengths == [CountingGame.length(seed) for seed in seeds[:count]]


class ExitingGame(LampGame):
    """Takes its whole process along at its third decision."""

    def make_action(self, action: int, frame: Frame) -> Outcome:
        if self._step == 2:
            os._exit(3)
        return super().make_action(action, frame)


def test_an_actor_that_dies_is_named_with_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(ActorError, match="actor 0 ended with exit code 3"):
        train(a_config(actors=2), tmp_path, ExitingGame)


class BrokenGame(LampGame):
    """Cannot be started but here."""

    def __init__(self, home: int, scenario: str) -> None:
        super().__init__(scenario)
        if os.getpid() != home:
            raise ValueError("there is no such map")


def test_an_actor_that_cannot_start_tells_why(tmp_path: Path) -> None:
    before = at_work()
    with pytest.raises(ActorError, match=r"actor 0 failed: ValueError\('there is no such map'\)"):
        train(a_config(), tmp_path, functools.partial(BrokenGame, os.getpid()))
    eventually_sync(lambda: at_work() <= before)


def at_work() -> set[psutil.Process]:
    """List what the fork server of this process started: actors, and their engines."""
    return {each for one in started() for each in (one, *below(one))}


def test_a_training_leaves_no_process_behind(tmp_path: Path) -> None:
    reporter = OfflineReporter(tmp_path, stop_after=1)
    before = at_work()
    with opened(parse({**DOOM, "seed": 1}), reporter) as training:
        names = [one.name() for one in at_work() - before]
        assert names.count("vizdoom") == 2
        assert training.run() is Request.STOP
    eventually_sync(lambda: at_work() <= before)


class Saboteur(OfflineReporter):
    """Kills one engine of this process when the second window has been learned from."""

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        super().progress(iteration=iteration, step=step, phase=phase)
        if (iteration, phase) == (2, "training"):
            engines = psutil.Process().children(recursive=True)
            next(one for one in engines if one.name() == "vizdoom").kill()


def test_a_training_survives_the_death_of_an_engine(tmp_path: Path) -> None:
    reporter = Saboteur(tmp_path)
    config = parse({**DOOM, "seed": 1})
    with opened(config, reporter) as training:
        assert training.run() is Request.GO_ON
        names = [one.name() for one in psutil.Process().children(recursive=True)]
        assert names.count("vizdoom") == 2
    crashes = [count for _, count in sorted(reporter.points["engine_crashes"].items())]
    assert crashes[0] == 0
    assert crashes[-1] == 1
    assert len(reporter.digests) == 2
    assert all(np.isfinite(value) for value in reporter.points["loss"].values())
