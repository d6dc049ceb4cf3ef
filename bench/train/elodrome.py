"""Elodrome itself: `python -m bench.train.elodrome {PPO,DQN} SCENARIO --seed N --cap S`.

The trainer runs as it does for the platform, with a reporter that keeps everything in a directory.
It judges itself on the clock; its checkpoints are judged once more afterwards, on the episodes that
everybody is judged on.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.train.peers.doom import EVALUATION_SEEDS
from bench.train.peers.report import Report
from games.stack import Stack
from trainer import checkpoint, forkserver
from trainer.config import Config, parse
from trainer.games import game_setup
from trainer.meter import means
from trainer.offline import OfflineReporter
from trainer.reporter import Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer.checkpoint import Manifest, Tensors
    from trainer.policy import Policy

SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("PPO", "basic"): {"checkpoint_interval": 10},
    ("PPO", "defend_the_center"): {
        "total_steps": 2_400_000,
        "final_learning_rate": 0.1,
        "checkpoint_interval": 20,
    },
    ("PPO", "health_gathering"): {
        "total_steps": 1_500_000,
        "final_learning_rate": 0.1,
        "checkpoint_interval": 60,
    },
    ("PPO", "deathmatch_shotgun"): {
        # A turret meets more of its eight enemies in an hour, and is judged against four.
        "action_combinations": "turn_lr;attack",
        "bots": 4,
        "curriculum": [{"scenario": "deathmatch_shotgun", "bots": 8}],
        "test_maps": ["deathmatch_shotgun"],
        "episode_tics": 2100,
        "reward_weights": {"kill": 1.0, "hit": 0.2},
        "game_variables": ["SELECTED_WEAPON_AMMO"],
        "height": 48,
        "width": 80,
        "channels": [16, 32, 64],
        "rollout_steps": 128,
        "batch_size": 512,
        "learning_rate": 1e-3,
        "final_learning_rate": 0.1,
        "gamma": 0.97,
        "entropy_weight": 0.01,
        "total_steps": 7_000_000,
        "checkpoint_interval": 100,
    },
    ("DQN", "basic"): {"persist_replay": False, "checkpoint_interval": 40},
}
"""What differs from the defaults; runs end at their cap or their own length."""
LARGE = {"channels": [32, 64, 128], "hidden": 512, "batch_size": 1024, "epochs": 1}
"""As many parameters as Sample Factory's network, within a percent or two, its batch and passes."""


class Watch(OfflineReporter):
    """Tells the speed, keeps when each checkpoint was taken, and stops the training at the cap."""

    def __init__(self, directory: Path, report: Report) -> None:
        """Keep checkpoints in `directory`."""
        super().__init__(directory)
        self._report = report
        self.saved: list[tuple[float, int, Path]] = []

    def request(self) -> Request:
        """Stop at the cap."""
        return Request.STOP if self._report.is_over else Request.GO_ON

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        """Leave evaluations out of the speed."""
        super().progress(iteration=iteration, step=step, phase=phase)
        self._report.progress(step, is_learning=phase != "evaluation")

    def save(self, manifest: Manifest, tensors: Tensors, metrics: Mapping[str, float]) -> None:
        """Note the time when the file is there."""
        super().save(manifest, tensors, metrics)
        path = self.path_of(manifest.iteration)
        self.saved.append((self._report.seconds, manifest.steps, path))


def main() -> None:
    """Train to the cap, then judge the checkpoints."""
    forkserver.prepare()
    arguments = _arguments()
    report = Report(cap_s=arguments.cap, evaluate_every_s=arguments.evaluate_every)
    config = parse(
        {"algorithm": arguments.algorithm, "scenario": arguments.scenario, "seed": arguments.seed}
        | SETTINGS.get((arguments.algorithm, arguments.scenario), {})
        | (LARGE if arguments.large else {})
    )
    watch = Watch(Path.cwd(), report)
    # Torch takes a second to load; meanwhile the process that actors come from loads it, too.
    from trainer.algorithms import opened  # noqa: PLC0415
    from trainer.policy import load  # noqa: PLC0415

    with opened(config, watch) as training:
        training.run()
    weights = checkpoint.read_group(watch.saved[-1][2], "network")
    report.facts(parameters=sum(array.size for array in weights.values()))
    for t, steps, path in watch.saved:
        report.score(steps, judge(load(path), config), t=t)


def judge(policy: Policy, config: Config, seeds: Sequence[int] = EVALUATION_SEEDS) -> float:
    """Play the episodes of `seeds`; answers their mean score, of a deathmatch kills per death."""
    game = game_setup(config).start(config.scenario)
    stack = Stack(game.observation_space)
    told: defaultdict[str, list[float]] = defaultdict(list)
    for seed in seeds:
        policy.begin()
        game.new_episode(seed, stack.newest)
        stack.begin()
        while not game.make_action(
            policy.act(stack.observation, game.variables), stack.newest
        ).ended:
            stack.push()
        told["score"].append(_score(config.scenario, game.total_reward, game.variables))
        for name, value in game.facts.items():
            told[name].append(value)
    game.close()
    return means(told)["kill_death" if config.bots else "score"]


def _score(scenario: str, total_reward: float, variables: Mapping[str, float]) -> float:
    """Judge an episode as `bench.train.peers.doom.score` does."""
    penalty = {"defend_the_center": 1, "health_gathering": 100}.get(scenario, 0)
    return total_reward + (penalty if variables["HEALTH"] <= 0 else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("algorithm", choices=("PPO", "DQN"))
    parser.add_argument("scenario")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cap", type=float, required=True)
    parser.add_argument("--evaluate-every", type=float, help="taken and left alone")
    parser.add_argument("--large", action="store_true", help="a network of Sample Factory's size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
