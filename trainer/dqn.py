"""Double DQN with n-step returns: Mnih et al. (2015), van Hasselt et al. (2016), Sutton & Barto 7.

A step is one decision of one game; an iteration is one step of every game and one update. While
the games play an iteration, the network learns from what was known before it, so no result depends
on which of them is faster. Shapes: B batch, N games, A actions, C channels, H height, W width.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from trainer import checkpoint
from trainer.checkpoint import Manifest, Tensors
from trainer.doom import action_combinations, observation_options
from trainer.network import QNetwork, new_network
from trainer.replay import Batch, Replay
from trainer.reporter import Reporter, Request
from trainer.signature import check_signature

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from games.interface import Frame
    from trainer.config import Config
    from trainer.vector import VectorGame

# Episodes seen in training have seeds below this, those that judge it from here to SEED_LIMIT.
EVALUATION_SEEDS = 2**29


def epsilon_at(step: int, config: Config) -> float:
    """Share of random actions: 1 up to start_decay, then linear to final_decay at stop_decay."""
    done = (step - config.start_decay) / (config.stop_decay - config.start_decay)
    return 1.0 + (config.final_decay - 1.0) * min(1.0, max(0.0, done))


def double_q_targets(
    next_values: Tensor, target_values: Tensor, returns: Tensor, discounts: Tensor
) -> Tensor:
    """Compute r + g * Q_target(s', argmax_a Q(s', a)), [B]: one net chooses, the other judges.

    `next_values` and `target_values` are [B, A] of the same states, the rest [B].
    """
    best = next_values.argmax(dim=1, keepdim=True)
    return returns + discounts * target_values.gather(1, best).squeeze(1)


def episode_seed(seed: int, *key: int) -> int:
    """Derive the seed of one training episode, in [0, EVALUATION_SEEDS), from what names it."""
    state = np.random.SeedSequence([seed, *key]).generate_state(1, np.uint32)
    return int(state[0]) % EVALUATION_SEEDS


class Learner:
    """The network, the target it is judged by, and the optimizer that moves it."""

    def __init__(self, config: Config, shape: tuple[int, int, int], action_count: int) -> None:
        """Begin with weights drawn from the config's seed."""
        self._config = config
        has_gpu = config.gpu_id >= 0 and torch.cuda.device_count() > config.gpu_id
        self._device = torch.device("cuda", config.gpu_id) if has_gpu else torch.device("cpu")
        self.network = new_network(shape, action_count, seed=config.seed).to(self._device)
        self.target = new_network(shape, action_count, seed=config.seed).to(self._device)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, fused=True
        )

    def act(self, observations: Frame) -> NDArray[np.int64]:
        """Choose the greedy action of each observation uint8 [N, C, H, W]; answers [N]."""
        with torch.inference_mode():
            values = self.network(torch.from_numpy(observations).to(self._device))
        return values.argmax(dim=1).cpu().numpy()

    def update(self, batch: Batch) -> tuple[float, float]:
        """Take one step towards the batch's targets; answers the loss and the mean value."""
        returns = self._tensor(batch.returns) * self._config.reward_scale
        next_observations = self._tensor(batch.next_observations)
        with torch.no_grad():
            goals = double_q_targets(
                self.network(next_observations),
                self.target(next_observations),
                returns,
                self._tensor(batch.discounts),
            )
        values = self.network(self._tensor(batch.observations))
        chosen = values.gather(1, self._tensor(batch.actions)[:, None]).squeeze(1)
        loss = nn.functional.smooth_l1_loss(chosen, goals)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach()), float(chosen.detach().mean())

    def update_target(self) -> None:
        """Judge by what the network knows now."""
        self.target.load_state_dict(self.network.state_dict())

    def state(self) -> dict[str, dict[str, NDArray[np.generic]]]:
        """Copy the weights and the optimizer's moments, as groups of named arrays."""
        moments = {
            f"{index}.{name}": tensor
            for index, entry in self.optimizer.state_dict()["state"].items()
            for name, tensor in entry.items()
        }
        return {
            "network": _arrays(self.network.state_dict()),
            "target": _arrays(self.target.state_dict()),
            "optimizer": _arrays(moments),
        }

    def load(self, path: Path) -> None:
        """Take over what a checkpoint holds."""
        self.network.load_state_dict(_tensors(checkpoint.read_group(path, "network")))
        self.target.load_state_dict(_tensors(checkpoint.read_group(path, "target")))
        parameters = list(self.network.parameters())
        entries: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for key, tensor in _tensors(checkpoint.read_group(path, "optimizer")).items():
            index, _, name = key.partition(".")
            # The fused optimizer walks memory: a moment must lie there as its weights do.
            like = parameters[int(index)].detach() if tensor.dim() else tensor
            entries[int(index)][name] = torch.empty_like(like).copy_(tensor)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": dict(entries), "param_groups": groups})

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


class Training:
    """One run of the algorithm: where it stands, and how it goes on."""

    def __init__(self, config: Config, games: VectorGame, reporter: Reporter) -> None:
        """Stand at the beginning; `games` may be shared by nobody else."""
        self._config = config
        self._games = games
        self._reporter = reporter
        self.learner = Learner(config, games.space.shape, games.action_count)
        self.replay = Replay(games.space, games=config.games, capacity=config.replay_capacity)
        self._generator = np.random.default_rng(config.seed)
        self._iteration = 0
        self._window = Window()

    @property
    def steps(self) -> int:
        """Steps of all games together so far."""
        return self._iteration * self._config.games

    def run(self) -> Request:
        """Train to the end, or until the reporter asks otherwise; answers what it asked for.

        Every checkpoint_interval iterations and at the end the network is judged and saved. There
        all games begin new episodes, so a training that continues from the checkpoint sees the
        same as one that was never interrupted.
        """
        observations = self._restart_games()
        while self._iteration < self._config.iterations:
            request = self._reporter.request()
            if request is Request.CANCEL:
                return request
            if request is not Request.GO_ON:
                self._save({})
                return request
            observations = self._iterate(observations)
            if self._is_due(self._config.checkpoint_interval):
                self._save(self._evaluate())
                observations = self._restart_games()
        return Request.GO_ON

    def _iterate(self, observations: Frame) -> Frame:
        """Play one step of every game and, once there is enough to learn from, update once."""
        actions = self._explore(observations)
        playing = self._games.step(actions)
        if len(self.replay) >= self._config.learning_starts:
            self._learn()
        played = playing.result()
        newest = observations[:, -self._games.space.frame_channels :]
        self.replay.add(newest, actions, played.rewards, played.ends)
        self._iteration += 1
        self._window.add_round(self._config.games, played.scores)
        phase = "training" if len(self.replay) >= self._config.learning_starts else "warm-up"
        self._reporter.progress(iteration=self._iteration, step=self.steps, phase=phase)
        if self._iteration % self._config.metrics_interval == 0:
            self._log()
        return played.observations

    def _explore(self, observations: Frame) -> NDArray[np.int64]:
        """Choose an action for each game: at random with probability epsilon, else greedy."""
        count = len(observations)
        actions = self._generator.integers(0, self._games.action_count, size=count)
        is_greedy = self._generator.random(count) >= epsilon_at(self.steps, self._config)
        if is_greedy.any():
            actions[is_greedy] = self.learner.act(observations)[is_greedy]
        return actions

    def _learn(self) -> None:
        batch = self.replay.sample(
            self._config.batch_size,
            n_step=self._config.n_step,
            gamma=self._config.gamma,
            generator=self._generator,
        )
        self._window.add_update(*self.learner.update(batch))
        if self._iteration % self._config.target_interval == 0:
            self.learner.update_target()

    def _is_due(self, interval: int) -> bool:
        return self._iteration % interval == 0 or self._iteration == self._config.iterations

    def _log(self) -> None:
        values = self._window.take()
        values["epsilon"] = epsilon_at(self.steps, self._config)
        values["replay_size"] = len(self.replay)
        self._reporter.log(self.steps, values)

    def _evaluate(self) -> dict[str, float]:
        """Play eval_episodes greedy episodes, the same ones every time."""
        self._reporter.progress(iteration=self._iteration, step=self.steps, phase="evaluation")
        scores = self._greedy_scores(self._config.eval_episodes)
        values = {"eval_return": float(np.mean(scores)), "eval_return_std": float(np.std(scores))}
        self._reporter.log(self.steps, values)
        return values

    def _greedy_scores(self, episodes: int) -> list[float]:
        count, seed = self._config.games, self._config.seed
        observations = self._games.restart(
            lambda game, nth: EVALUATION_SEEDS + episode_seed(seed, 1, nth * count + game)
        )
        played, scores = [0] * count, dict.fromkeys(range(episodes), float("nan"))
        waiting = set(scores)
        while waiting:
            outcome = self._games.step(self.learner.act(observations)).result()
            observations = outcome.observations
            for game, score in outcome.scores.items():
                episode = played[game] * count + game
                played[game] += 1
                if episode in waiting:
                    scores[episode] = score
                    waiting.remove(episode)
        return list(scores.values())

    def _restart_games(self) -> Frame:
        self.replay.cut()
        seed, iteration = self._config.seed, self._iteration
        return self._games.restart(lambda game, nth: episode_seed(seed, 0, iteration, game, nth))

    def _save(self, metrics: dict[str, float]) -> None:
        """Save all that the future depends on; the latest metrics go out with it."""
        if self._iteration % self._config.metrics_interval:
            self._log()
        self._reporter.progress(iteration=self._iteration, step=self.steps, phase="checkpoint")
        self.replay.cut()
        rng = {"generator": checkpoint.generator_state(self._generator)}
        groups = {**self.learner.state(), "rng": rng}
        if self._config.persist_replay:
            groups["replay"] = self.replay.state()
        self._reporter.save(self._manifest(), checkpoint.grouped(**groups), metrics)

    def load(self, path: Path) -> None:
        """Stand where the training that wrote the checkpoint stood.

        Raises CheckpointError where it belongs to another config. Without a replay in the file,
        the games first play learning_starts steps again to fill one.
        """
        manifest = checkpoint.read_manifest(path)
        check_signature(manifest, self._manifest())
        if manifest.config != self._config.to_mapping():
            raise checkpoint.CheckpointError("the checkpoint was written under another config")
        self.learner.load(path)
        rng = checkpoint.read_group(path, "rng")
        checkpoint.set_generator_state(self._generator, rng["generator"])
        if replay := checkpoint.read_group(path, "replay"):
            self.replay.load(replay)
        self._iteration = manifest.iteration

    def _manifest(self) -> Manifest:
        config, space = self._config, self._games.space
        return Manifest(
            algorithm=config.algorithm,
            game=config.game,
            scenario=config.scenario,
            action_combinations=action_combinations(config),
            action_count=self._games.action_count,
            observation_shape=space.shape,
            observation=asdict(observation_options(config)),
            frame_skip=config.frame_skip,
            recurrent=False,
            network={"name": QNetwork.__name__, "arguments": {}},
            config=config.to_mapping(),
            iteration=self._iteration,
            steps=self.steps,
        )


class Window:
    """Sums of what happened since metrics were logged last."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._clear()

    def add_round(self, steps: int, scores: dict[int, float]) -> None:
        """Count one step of every game and the episodes that it finished."""
        self._steps += steps
        self._scores.extend(scores.values())

    def add_update(self, loss: float, value: float) -> None:
        """Count one update."""
        self._losses.append(loss)
        self._values.append(value)

    def take(self) -> dict[str, float]:
        """Answer the means by name, leaving out what did not happen, and begin anew."""
        seconds = time.monotonic() - self._since
        means = {"return": self._scores, "loss": self._losses, "q_mean": self._values}
        answer = {name: float(np.mean(numbers)) for name, numbers in means.items() if numbers}
        answer["episodes"] = float(len(self._scores))
        answer["steps_per_s"] = self._steps / max(seconds, 1e-9)
        self._clear()
        return answer

    def _clear(self) -> None:
        self._since = time.monotonic()
        self._steps = 0
        self._scores: list[float] = []
        self._losses: list[float] = []
        self._values: list[float] = []


def _arrays(tensors: dict[str, Tensor]) -> Tensors:
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}


def _tensors(arrays: Tensors) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
