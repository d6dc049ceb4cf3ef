"""Stable-Baselines3: `python -m bench.train.peers.sb3 {ppo,dqn} SCENARIO --seed N --cap S`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import stable_baselines3  # pyright: ignore[reportMissingImports]
import torch
from stable_baselines3 import DQN, PPO  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.callbacks import (  # pyright: ignore[reportMissingImports]
    BaseCallback,
)
from stable_baselines3.common.vec_env import SubprocVecEnv  # pyright: ignore[reportMissingImports]

from bench.train.peers.doom import HEIGHT, HISTORY, TRAINING_SEEDS, WIDTH, Doom, evaluate
from bench.train.peers.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

GAMES = {"ppo": 8, "dqn": 4}
DQN_STARTS = 1_000
NEVER = 10**9


class Environment(gymnasium.Env):
    """The peers' game as Gymnasium wants it."""

    def __init__(self, scenario: str, seed: int) -> None:
        """Start the game."""
        self._game = Doom(scenario, seed)
        shape = (HISTORY, HEIGHT, WIDTH)
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(self._game.action_count)

    def reset(self, **_: object) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin the next episode of the game's own seed."""
        return self._game.new_episode(), {}

    def step(self, action: int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Play one decision."""
        return *self._game.make_action(int(action)), {}


class Observer(BaseCallback):
    """Reports progress, evaluates when it is time, and ends the training at the cap."""

    def __init__(self, report: Report, scenario: str, learning_starts: int) -> None:
        """Evaluate in a game of its own."""
        super().__init__()
        self._report = report
        self._game = Doom(scenario, 0)
        self._learning_starts = learning_starts

    def _on_step(self) -> bool:
        steps = self.num_timesteps
        self._report.progress(steps, is_learning=steps >= self._learning_starts)
        if self._report.is_evaluation_due:
            at = self._report.seconds
            with self._report.evaluation():
                self._report.score(steps, evaluate(self._game, self._act), t=at)
        return not self._report.is_over

    def _act(self, observation: NDArray[np.uint8]) -> int:
        return int(self.model.predict(observation, deterministic=True)[0])


def main() -> None:
    """Train until the cap."""
    parser = argparse.ArgumentParser()
    parser.add_argument("algorithm", choices=("ppo", "dqn"))
    parser.add_argument("scenario")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cap", type=float, required=True)
    parser.add_argument("--evaluate-every", type=float, default=5.0)
    arguments = parser.parse_args()
    # Beside eight games one thread was 19 % faster than two.
    torch.set_num_threads(1)
    report = Report(cap_s=arguments.cap, evaluate_every_s=arguments.evaluate_every)
    seeds = [arguments.seed * 1_000 + index for index in range(GAMES[arguments.algorithm])]
    makers = [_maker(arguments.scenario, seed) for seed in seeds]
    # Forked, since by default every game would load torch first, six seconds in all.
    games = SubprocVecEnv(makers, start_method="fork")
    model = {"ppo": _ppo, "dqn": _dqn}[arguments.algorithm](games, arguments.seed)
    parameters = sum(weights.numel() for weights in model.policy.parameters())
    report.facts(parameters=parameters, version=stable_baselines3.__version__)
    starts = DQN_STARTS if arguments.algorithm == "dqn" else 0
    model.learn(NEVER, callback=Observer(report, arguments.scenario, starts))
    games.close()


def _maker(scenario: str, seed: int) -> Callable[[], Environment]:
    return lambda: Environment(scenario, seed % TRAINING_SEEDS)


def _ppo(games: SubprocVecEnv, seed: int) -> PPO:
    return PPO(
        "CnnPolicy",
        games,
        n_steps=128,
        batch_size=256,
        n_epochs=4,
        learning_rate=3e-4,
        gamma=0.99,
        gae_lambda=0.95,
        clip_range=0.1,
        ent_coef=0.01,
        seed=seed,
        device="cpu",
    )


def _dqn(games: SubprocVecEnv, seed: int) -> DQN:
    return DQN(
        "CnnPolicy",
        games,
        buffer_size=50_000,
        learning_starts=DQN_STARTS,
        batch_size=64,
        learning_rate=3e-4,
        gamma=0.99,
        train_freq=1,
        gradient_steps=1,
        target_update_interval=1_000,
        # Epsilon falls from 1 to 0.02 within the first 10,000 steps.
        exploration_fraction=10_000 / NEVER,
        exploration_final_eps=0.02,
        seed=seed,
        device="cpu",
    )


if __name__ == "__main__":
    main()
