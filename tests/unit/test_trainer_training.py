"""How a training goes from window to window, with toy games and everything in one process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.toy import LampGame, a_config, parts, setup, train_alone
from trainer import checkpoint
from trainer.algorithms import RECIPES
from trainer.config import ALGORITHMS
from trainer.dqn import DQN
from trainer.meter import Meter
from trainer.offline import OfflineReporter
from trainer.ppo import PPO
from trainer.reporter import Request
from trainer.ring import CUT, ENDED, GOES_ON
from trainer.training import Training

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from trainer.config import Config
    from trainer.networks import Network

SMALL = {"history": 2, "channels": [4], "hidden": 8, "max_iterations": 10, "checkpoint_interval": 4}
CONFIGS = {
    "PPO": a_config("PPO", **SMALL),
    "LSTM": a_config("PPO", **SMALL, network_type="lstm"),
    "DQN": a_config("DQN", **SMALL),
    "prioritised": a_config("DQN", **SMALL, prioritised=True, game_features=True),
    "DRQN": a_config("DRQN", **SMALL, burn_in=2, recurrent_updates=4),
}


class TwoFrames(LampGame):
    """A lamp of which an observation holds two frames."""

    def __init__(self, scenario: str) -> None:
        super().__init__(scenario)
        self.observation_space = replace(self.observation_space, history=2)


def run(config: Config, reporter: OfflineReporter, load: Path | None = None) -> Request:
    return train_alone(config, reporter, TwoFrames, load=load)


@pytest.fixture
def reporter(tmp_path: Path) -> OfflineReporter:
    return OfflineReporter(tmp_path)


def trained(config: Config, directory: Path) -> OfflineReporter:
    directory.mkdir(exist_ok=True)
    reporter = OfflineReporter(directory)
    assert run(config, reporter) is Request.GO_ON
    return reporter


def without_speed(points: dict[str, dict[int, float]]) -> dict[str, dict[int, float]]:
    return {name: values for name, values in points.items() if name != "steps_per_s"}


# -- the order of things -----------------------------------------------------------------------


class Diary:
    """Players, algorithm and reporter in one, which only note what they are told."""

    def __init__(self, config: Config) -> None:
        self.ring = parts(config, LampGame).ring
        self.network: Any = None
        self.player: Any = None
        self.crashes = 0
        self.notes: list[str] = []
        self.asked = Request.GO_ON
        self.asked_at = 0
        self._learned = -1

    def publish(self, _network: Network) -> None:
        self.notes.append(f"weights that know up to {self._learned}")

    def choose(self, maps: tuple[str, ...]) -> None:
        pass

    def restart(self, iteration: int) -> None:
        self.notes.append(f"restart {iteration}")

    def start(self, iteration: int, exploration: float) -> None:
        self.notes.append(f"play {iteration} at {exploration:g}")

    def wait(self) -> list[Any]:
        self.notes.append("wait")
        return []

    def evaluate(self, seeds: list[int]) -> list[Any]:
        self.notes.append(f"evaluate {len(seeds)}")
        return [{"score": float(place), "length": 1} for place in range(len(seeds))]

    def exploration(self, step: int) -> float:
        return float(step)

    def learn(self, iteration: int, _generator: np.random.Generator) -> Mapping[str, float]:
        self.notes.append(f"learn {iteration}")
        self._learned = iteration
        return {"loss": float(iteration)}

    def state(self) -> dict[str, Any]:
        return {}

    def description(self) -> dict[str, Any]:
        return {"name": "", "arguments": {"action_count": 3, "recurrent": False}}

    def request(self) -> Request:
        return self.asked if self._learned + 1 >= self.asked_at else Request.GO_ON

    def progress(self, **_: object) -> None:
        pass

    def log(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def save(self, manifest: checkpoint.Manifest, *_: object) -> None:
        self.notes.append(f"save {manifest.iteration}")


def diary(**settings: object) -> tuple[Training, Diary]:
    config = a_config(eval_episodes=2, **settings)
    one: Any = Diary(config)
    return Training(config, setup(LampGame), one, one, one), one


def test_a_window_is_learned_from_while_the_next_one_is_played() -> None:
    """So it is played with weights that know the windows up to the one before the last."""
    training, one = diary(max_iterations=5, checkpoint_interval=3)
    training.run()
    assert one.notes == [
        "weights that know up to -1",
        "restart 0",
        "play 0 at 0",
        "wait",
        "weights that know up to -1",
        "play 1 at 32",
        "learn 0",
        "wait",
        "weights that know up to 0",
        "play 2 at 64",
        "learn 1",
        "wait",
        "learn 2",
        # Both sides are dry.
        "weights that know up to 2",
        "evaluate 2",
        "save 3",
        "weights that know up to 2",
        "restart 3",
        "play 3 at 96",
        "wait",
        "weights that know up to 2",
        "play 4 at 128",
        "learn 3",
        "wait",
        "learn 4",
        "weights that know up to 4",
        "evaluate 2",
        "save 5",
    ]


def test_a_request_to_stop_learns_what_was_played_and_saves() -> None:
    training, one = diary(max_iterations=9, checkpoint_interval=9)
    one.asked, one.asked_at = Request.STOP, 2
    assert training.run() is Request.STOP
    assert one.notes[-4:] == ["learn 1", "wait", "learn 2", "save 3"]
    assert training.iteration == 3


def test_a_request_to_stop_before_anything_was_played_saves_where_it_stands() -> None:
    training, one = diary(max_iterations=9, checkpoint_interval=9)
    one.asked = Request.PAUSE
    assert training.run() is Request.PAUSE
    assert one.notes[-1] == "save 0"
    assert "play 0 at 0" not in one.notes


def test_a_cancelled_training_saves_nothing() -> None:
    training, one = diary(max_iterations=9, checkpoint_interval=9)
    one.asked, one.asked_at = Request.CANCEL, 2
    assert training.run() is Request.CANCEL
    assert not [note for note in one.notes if note.startswith("save")]


def test_a_training_may_be_taken_a_part_at_a_time() -> None:
    training, one = diary(max_iterations=9, checkpoint_interval=3)
    training.run(until=3)
    assert (training.iteration, training.steps) == (3, 96)
    training.run(until=6)
    assert [note for note in one.notes if note.startswith("save")] == ["save 3", "save 6"]


# -- the same again ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONFIGS)
def test_same_seed_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    config = CONFIGS[kind]
    first = trained(config, tmp_path / "first")
    second = trained(config, tmp_path / "second")
    other = trained(replace(config, seed=8), tmp_path / "other")
    assert list(first.digests) == [4, 8, 10]
    assert first.digests == second.digests
    assert without_speed(first.points) == without_speed(second.points)
    assert not set(first.digests.values()) & set(other.digests.values())


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_resumed_training_ends_like_an_undisturbed_one(kind: str, tmp_path: Path) -> None:
    config = CONFIGS[kind]
    whole = trained(config, tmp_path / "whole")
    for begin, rest in ((4, [8, 10]), (8, [10])):
        reporter = OfflineReporter(tmp_path)
        run(config, reporter, whole.path_of(begin))
        assert reporter.digests == {at: whole.digests[at] for at in rest}
        for name, values in without_speed(reporter.points).items():
            assert values == {step: whole.points[name][step] for step in values}, name


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_stopped_training_goes_on_from_where_it_stood(kind: str, tmp_path: Path) -> None:
    config = CONFIGS[kind]
    stopped = OfflineReporter(tmp_path, stop_after=6)
    assert run(config, stopped) is Request.STOP
    assert list(stopped.digests) == [4, 7]
    assert max(stopped.points["episodes"]) == 7 * config.steps_per_iteration

    ends = []
    for _ in range(2):
        reporter = OfflineReporter(tmp_path)
        run(config, reporter, stopped.path_of(7))
        assert min(reporter.points["episodes"]) == 8 * config.steps_per_iteration
        ends.append(reporter.digests)
    assert list(ends[0]) == [8, 10]
    assert ends[0] == ends[1]


def test_a_checkpoint_without_a_replay_resumes_by_filling_it_anew(tmp_path: Path) -> None:
    config = replace(CONFIGS["DQN"], persist_replay=False)
    whole = trained(config, tmp_path / "whole")
    reporter = OfflineReporter(tmp_path)
    assert run(config, reporter, whole.path_of(4)) is Request.GO_ON
    assert checkpoint.read_group(whole.path_of(4), "replay") == {}
    sizes = reporter.points["replay_size"]
    assert [sizes[step] for step in sorted(sizes)][:3] == [32, 64, 96]
    assert min(reporter.points["loss"]) == 6 * config.steps_per_iteration


def test_episodes_that_a_checkpoint_leaves_are_cut_in_the_replay(tmp_path: Path) -> None:
    config = CONFIGS["DQN"]
    whole = trained(config, tmp_path)
    ends = checkpoint.read_group(whole.path_of(8), "replay")["ends"]
    assert (ends[4 * config.rollout_steps - 1] != GOES_ON).all()
    assert (ends[4 * config.rollout_steps - 2] == GOES_ON).any()
    assert set(ends.ravel()) == {GOES_ON, ENDED, CUT}


def test_a_checkpoint_of_another_config_is_refused(tmp_path: Path) -> None:
    config = CONFIGS["PPO"]
    whole = trained(config, tmp_path / "whole")
    other = replace(config, gamma=0.9)
    with pytest.raises(checkpoint.CheckpointError, match="another config"):
        run(other, OfflineReporter(tmp_path), whole.path_of(4))


# -- what is told ------------------------------------------------------------------------------


def test_metrics_come_at_their_interval_and_with_every_checkpoint(
    reporter: OfflineReporter,
) -> None:
    config = replace(CONFIGS["PPO"], metrics_interval=3)
    run(config, reporter)
    window = config.steps_per_iteration
    logged = [window * iteration for iteration in (3, 4, 6, 8, 9, 10)]
    for name in ("loss", "loss_pi", "loss_v", "entropy", "episodes", "engine_crashes"):
        assert sorted(reporter.points[name]) == logged, name
    assert sorted(reporter.points["eval_return"]) == [4 * window, 8 * window, 10 * window]
    assert reporter.points["iteration"][3 * window] == 3
    assert reporter.phases == ["training", "evaluation", "checkpoint"] * 3
    # Episodes are of six decisions, and those under way at a checkpoint are never over.
    counted = sum(reporter.points["episodes"].values())
    assert counted == 4 * (4 * 8 // 6) + 4 * (4 * 8 // 6) + 4 * (2 * 8 // 6)
    assert set(reporter.points["episode_length"].values()) == {6.0}


def test_the_manifest_says_what_is_needed_to_play(reporter: OfflineReporter) -> None:
    config = CONFIGS["LSTM"]
    run(config, reporter)
    manifest = checkpoint.read_manifest(reporter.path_of(10))
    assert (manifest.algorithm, manifest.recurrent) == ("PPO", True)
    assert (manifest.iteration, manifest.steps) == (10, 10 * config.steps_per_iteration)
    assert manifest.observation_shape == (2, 12, 12)
    assert manifest.network["arguments"]["action_count"] == 3
    assert manifest.config == config.to_mapping()


def test_an_evaluation_is_the_mean_and_the_deviation_of_its_episodes() -> None:
    training, one = diary(max_iterations=1, checkpoint_interval=1)
    told: dict[str, float] = {}
    one.log = lambda _step, values: told.update(values)
    training.run()
    assert (told["eval_return"], told["eval_return_std"]) == (0.5, 0.5)


def test_a_meter_averages_since_it_was_read_last() -> None:
    meter = Meter()
    meter.add_window(32, [{"score": 1.0, "length": 4}, {"score": 4.0, "length": 8}])
    meter.add_window(32, [{"score": 7.0, "length": 6}])
    meter.add({"loss": 1.0})
    meter.add({"loss": 2.0, "loss_v": 5.0})
    told = meter.take()
    assert told.pop("steps_per_s") > 0
    assert told == {
        "avg_reward": 4.0,
        "episode_length": 6.0,
        "loss": 1.5,
        "loss_v": 5.0,
        "episodes": 3.0,
    }
    told = meter.take()
    assert (told["episodes"], told["steps_per_s"]) == (0.0, 0.0)
    assert set(told) == {"episodes", "steps_per_s"}


def test_algorithms_of_the_recipes_are_these() -> None:
    assert tuple(RECIPES) == ALGORITHMS
    assert (RECIPES["PPO"].learner, RECIPES["DQN"].learner) == (PPO, DQN)
