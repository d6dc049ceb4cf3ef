"""Sample Factory: `python -m bench.train.peers.sample_factory SCENARIO --seed N --cap S`.

It trains undisturbed in processes below this one and saves its policy at intervals; the policies
are judged afterwards, in the game as its own examples show it. `--batch-size 1024
--no-evaluation` measures speed alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import torch
from sample_factory.algo.learning.learner import (  # pyright: ignore[reportMissingImports]
    Learner,
)
from sample_factory.algo.runners.runner import (  # pyright: ignore[reportMissingImports]
    AlgoObserver,
    Runner,
)
from sample_factory.algo.utils.action_distributions import (  # pyright: ignore[reportMissingImports]
    argmax_actions,
)
from sample_factory.algo.utils.rl_utils import (  # pyright: ignore[reportMissingImports]
    prepare_and_normalize_obs,
)
from sample_factory.envs.create_env import create_env  # pyright: ignore[reportMissingImports]
from sample_factory.model.actor_critic import (  # pyright: ignore[reportMissingImports]
    ActorCritic,
    create_actor_critic,
)
from sample_factory.train import make_runner  # pyright: ignore[reportMissingImports]
from sample_factory.utils.attr_dict import AttrDict  # pyright: ignore[reportMissingImports]
from sf_examples.vizdoom.train_vizdoom import (  # pyright: ignore[reportMissingImports]
    parse_vizdoom_cfg,
    register_vizdoom_components,
)

from bench.train.peers.doom import EVALUATION_SEEDS, FRAME_SKIP, score
from bench.train.peers.report import Report

EXPERIMENT = "bench"
# A policy saved as late as this before the training was killed may not be whole.
UNFINISHED_S = 0.5
ENVIRONMENTS = {"basic": "doom_basic", "defend_the_center": "doom_defend_the_center_flat_actions"}
SETTINGS = {
    "device": "cpu",
    "res_w": 64,
    "res_h": 36,
    "use_rnn": False,
    "normalize_input": False,
    "num_workers": 2,
    "num_envs_per_worker": 8,
    "learning_rate": 3e-4,
    "train_for_env_steps": 10**9,
}
# Left at its defaults it collapses on defend_the_center to a policy that turns and shoots.
SCENARIO_SETTINGS = {
    "basic": {},
    "defend_the_center": {
        "exploration_loss": "entropy",
        "exploration_loss_coeff": 0.01,
        "num_epochs": 2,
    },
}


class Progress(AlgoObserver):
    """Reports steps from within the training."""

    def __init__(self, report: Report) -> None:
        """Report to `report`."""
        self._report = report

    def on_training_step(self, runner: Runner, training_iteration_since_resume: int) -> None:  # noqa: ARG002
        """Count the steps that the learner has seen."""
        self._report.progress(runner.env_steps.get(0, 0) // FRAME_SKIP)


def main() -> None:
    """Train until the cap, then judge what was saved on the way."""
    arguments = _arguments()
    report = Report(cap_s=arguments.cap, evaluate_every_s=arguments.evaluate_every)
    register_vizdoom_components()
    if arguments.train:
        train(arguments, report)
        return
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.train.peers.sample_factory", "--train", *sys.argv[1:]]
    )
    while child.poll() is None and not report.is_over:
        time.sleep(0.1)
    if child.returncode is not None:
        raise RuntimeError(f"the training ended with {child.returncode} before the cap")
    _kill_children()
    judge(arguments, report)


def train(arguments: argparse.Namespace, report: Report) -> None:
    """Train until somebody ends it."""
    _, runner = make_runner(_config(arguments))
    runner.register_observer(Progress(report))
    runner.init()
    runner.run()


@torch.no_grad()
def judge(arguments: argparse.Namespace, report: Report) -> None:
    """Report the parameters, and the score of each saved policy as of the moment it was saved."""
    config = _config(arguments)
    game = create_env(
        config.env, cfg=config, env_config=AttrDict(worker_index=0, vector_index=0, env_id=0)
    )
    space = gymnasium.spaces.Dict({"obs": game.observation_space})
    network = create_actor_critic(config, space, game.action_space)
    network.eval()
    report.facts(
        parameters=sum(weights.numel() for weights in network.parameters()),
        version=importlib.metadata.version("sample-factory"),
    )
    if arguments.no_evaluation:
        return
    began = time.time() - report.seconds
    folder = Path(Learner.checkpoint_dir(config, 0)) / "milestones"
    # checkpoint_<training step>_<game frames>.pth
    for path in sorted(folder.glob("checkpoint_*.pth")):
        t = path.stat().st_mtime - began
        if t > arguments.cap - UNFINISHED_S:
            continue
        saved = torch.load(path, map_location="cpu", weights_only=False)
        network.load_state_dict(saved["model"])
        steps = int(path.stem.split("_")[2]) // FRAME_SKIP
        report.score(steps, _evaluate(network, game, arguments.scenario), t=t)


def _evaluate(network: ActorCritic, game: gymnasium.Env, scenario: str) -> float:
    """Play the evaluation episodes, greedily."""
    memory = torch.zeros([1, 1])
    scores = []
    game.reset()
    doom: Any = game.unwrapped
    engine = doom.game
    for seed in EVALUATION_SEEDS:
        engine.set_seed(seed)
        observation, _ = game.reset()
        while not engine.is_episode_finished():
            batch = {"obs": torch.from_numpy(observation)[None]}
            network(prepare_and_normalize_obs(network, batch), memory)
            action = int(argmax_actions(network.action_distribution()))
            observation = game.step(action)[0]
        scores.append(score(engine, scenario))
    return sum(scores) / len(scores)


def _config(arguments: argparse.Namespace) -> AttrDict:
    settings = (
        SETTINGS
        | SCENARIO_SETTINGS[arguments.scenario]
        | {
            "env": ENVIRONMENTS[arguments.scenario],
            "experiment": EXPERIMENT,
            "train_dir": str(Path.cwd() / "sample_factory"),
            "seed": arguments.seed,
            "batch_size": arguments.batch_size,
            "save_milestones_sec": int(arguments.evaluate_every),
        }
    )
    return parse_vizdoom_cfg([f"--{name}={value}" for name, value in settings.items()])


def _kill_children() -> None:
    """End the training and all that it started; it leaves game processes behind otherwise."""
    children = psutil.Process().children(recursive=True)
    for process in children:
        process.kill()
    psutil.wait_procs(children)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=sorted(ENVIRONMENTS))
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cap", type=float, required=True)
    parser.add_argument("--evaluate-every", type=float, default=5.0)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--no-evaluation", action="store_true")
    parser.add_argument("--train", action="store_true", help="train without judging")
    return parser.parse_args()


if __name__ == "__main__":
    main()
