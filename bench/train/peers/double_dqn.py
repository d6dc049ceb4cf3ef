"""Double DQN in plain torch, as one writes it in an afternoon.

`python -m bench.train.peers.double_dqn SCENARIO --seed N --cap S`. Four games in processes of their
own behind pipes, uniform replay, the network of Mnih et al. (2015), targets of van Hasselt et al.
(2016), one update for every round of the games.
"""

from __future__ import annotations

import argparse
import multiprocessing
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bench.train.peers.doom import HEIGHT, HISTORY, WIDTH, Doom, evaluate
from bench.train.peers.report import Report

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

GAMES = 4
CAPACITY = 50_000
BATCH = 64
LEARNING_STARTS = 1_000
LEARNING_RATE = 3e-4
GAMMA = 0.99
TARGET_EVERY_UPDATES = 250
EPSILON_ENDS = 10_000
FINAL_EPSILON = 0.02


class Replay:
    """The last CAPACITY transitions, with both observations stored whole."""

    def __init__(self, generator: np.random.Generator) -> None:
        """Begin empty."""
        self._generator = generator
        self._observations = np.zeros((CAPACITY, HISTORY, HEIGHT, WIDTH), np.uint8)
        self._next_observations = np.zeros_like(self._observations)
        self._actions = np.zeros(CAPACITY, np.int64)
        self._rewards = np.zeros(CAPACITY, np.float32)
        self._discounts = np.zeros(CAPACITY, np.float32)
        self._added = 0

    def add(
        self,
        observation: NDArray[np.uint8],
        action: int,
        reward: float,
        next_observation: NDArray[np.uint8],
        *,
        terminated: bool,
    ) -> None:
        """Keep a transition in the place of the oldest."""
        index = self._added % CAPACITY
        self._observations[index] = observation
        self._next_observations[index] = next_observation
        self._actions[index] = action
        self._rewards[index] = reward
        self._discounts[index] = 0 if terminated else GAMMA
        self._added += 1

    def sample(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Draw BATCH transitions: observations, actions, rewards, discounts, next observations."""
        indices = self._generator.integers(0, min(self._added, CAPACITY), BATCH)
        arrays = (
            *(self._observations, self._actions, self._rewards),
            *(self._discounts, self._next_observations),
        )
        observations, actions, rewards, discounts, following = (
            torch.from_numpy(array[indices]) for array in arrays
        )
        return observations, actions, rewards, discounts, following


class Network(nn.Module):
    """Three convolutions and two linear layers; float [N, actions] from uint8 [N, 4, 36, 64]."""

    def __init__(self, action_count: int) -> None:
        """Lay out the layers."""
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(HISTORY, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, 1), nn.ReLU(), nn.Flatten()),
            *(nn.LazyLinear(512), nn.ReLU(), nn.Linear(512, action_count)),
        )
        self.layers(torch.zeros(1, HISTORY, HEIGHT, WIDTH))

    def forward(self, observations: Tensor) -> Tensor:
        """Estimate the values of all actions."""
        return self.layers(observations.float() / 255)


def main() -> None:
    """Train until the cap."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cap", type=float, required=True)
    parser.add_argument("--evaluate-every", type=float, default=5.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    report = Report(cap_s=arguments.cap, evaluate_every_s=arguments.evaluate_every)
    games = [
        _start_game(arguments.scenario, arguments.seed * 1_000 + index) for index in range(GAMES)
    ]
    train(report, games, Doom(arguments.scenario, 0), np.random.default_rng(arguments.seed))
    for game in games:
        game.send(None)


def train(
    report: Report, games: list[Connection], judge: Doom, generator: np.random.Generator
) -> None:
    """Play and learn until the report is over."""
    network, target = Network(judge.action_count), Network(judge.action_count)
    target.load_state_dict(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    report.facts(parameters=sum(weights.numel() for weights in network.parameters()))
    replay = Replay(generator)
    observations = np.stack([game.recv() for game in games])
    steps = updates = 0
    while not report.is_over:
        actions = _explore(network, observations, steps, judge.action_count, generator)
        observations = _step(games, observations, actions, replay)
        steps += GAMES
        is_learning = steps >= LEARNING_STARTS
        report.progress(steps, is_learning=is_learning)
        if is_learning:
            _update(network, target, optimizer, replay)
            updates += 1
            if updates % TARGET_EVERY_UPDATES == 0:
                target.load_state_dict(network.state_dict())
        if report.is_evaluation_due:
            at = report.seconds
            with report.evaluation():
                score = evaluate(judge, lambda seen: int(_values(network, seen[None]).argmax()))
                report.score(steps, score, t=at)


def _explore(
    network: Network,
    observations: NDArray[np.uint8],
    steps: int,
    action_count: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    epsilon = max(FINAL_EPSILON, 1 - steps / EPSILON_ENDS * (1 - FINAL_EPSILON))
    random = generator.integers(0, action_count, GAMES)
    greedy = _values(network, observations).argmax(1).numpy()
    return np.where(generator.random(GAMES) < epsilon, random, greedy)


def _step(
    games: list[Connection],
    observations: NDArray[np.uint8],
    actions: NDArray[np.int64],
    replay: Replay,
) -> NDArray[np.uint8]:
    for game, action in zip(games, actions.tolist(), strict=True):
        game.send(action)
    following = []
    for index, game in enumerate(games):
        last, reward, terminated, current = game.recv()
        action = int(actions[index])
        replay.add(observations[index], action, reward, last, terminated=terminated)
        following.append(current)
    return np.stack(following)


def _update(
    network: Network, target: Network, optimizer: torch.optim.Optimizer, replay: Replay
) -> None:
    observations, actions, rewards, discounts, following = replay.sample()
    with torch.no_grad():
        best = network(following).argmax(1, keepdim=True)
        goals = rewards + discounts * target(following).gather(1, best).squeeze(1)
    chosen = network(observations).gather(1, actions[:, None]).squeeze(1)
    loss = nn.functional.smooth_l1_loss(chosen, goals)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimizer.step()


@torch.no_grad()
def _values(network: Network, observations: NDArray[np.uint8]) -> Tensor:
    return network(torch.from_numpy(observations))


def _start_game(scenario: str, seed: int) -> Connection:
    """Start a process that plays; answers the pipe to it."""
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.Process(target=_play, args=(theirs, scenario, seed), daemon=True).start()
    return ours


def _play(pipe: Connection, scenario: str, seed: int) -> None:
    """Send the first observation; then, for each action, where it led and what follows."""
    game = Doom(scenario, seed)
    pipe.send(game.new_episode())
    while (action := pipe.recv()) is not None:
        last, reward, terminated, truncated = game.make_action(action)
        current = game.new_episode() if terminated or truncated else last
        pipe.send((last, reward, terminated, current))


if __name__ == "__main__":
    main()
