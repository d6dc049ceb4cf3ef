"""Games that take no time, and trainings of them in one process, to try the trainer with."""

from __future__ import annotations

import functools
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from games.interface import GameDiedError, ObservationSpace, Outcome
from trainer.actor import Actor, Post
from trainer.algorithms import RECIPES, network_shape, new_ring
from trainer.config import Config, parse
from trainer.games import GameSetup
from trainer.peers import ALONE, Peers
from trainer.players import STARTED, Casting, Players, obey
from trainer.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from games.interface import Frame, Game
    from trainer.networks import Shape
    from trainer.reporter import Reporter, Request
    from trainer.ring import Ring
    from trainer.training import Algorithm

SIDE = 12
SPACE = ObservationSpace(frame_channels=2, history=3, height=SIDE, width=SIDE)


class CountingGame:
    """Shows its seed in one channel and the step in the other; the seed decides how it ends."""

    observation_space = SPACE
    action_count = 4
    feature_names = ("odd",)

    def __init__(self, scenario: str = "") -> None:  # noqa: ARG002 - all maps are alike
        self.facts: dict[str, float] = {}
        self.total_reward = 0.0
        self.is_closed = False
        self._seed = self._step = 0

    @staticmethod
    def length(seed: int) -> int:
        """Decisions of an episode."""
        return 3 + seed % 5

    @staticmethod
    def shown(seed: int) -> int:
        """What a frame tells of the seed."""
        return seed % 251

    @property
    def variables(self) -> dict[str, float]:
        return {"HEALTH": 100.0 * self._step, "AMMO2": float(self._seed % 10)}

    @property
    def features(self) -> tuple[bool, ...]:
        return (self._step % 2 == 1,)

    def new_episode(self, seed: int, frame: Frame) -> None:
        self.total_reward = 0.0
        self._seed, self._step = seed, 0
        frame[0], frame[1] = self.shown(seed), 0

    def make_action(self, action: int, frame: Frame) -> Outcome:
        reward = float(10 * self._step + action)
        self.total_reward += reward
        self._step += 1
        if self._step == self.length(self._seed):
            return Outcome(reward, ended=True, cut=self._seed % 3 == 0)
        frame[0], frame[1] = self.shown(self._seed), self._step
        return Outcome(reward, ended=False, cut=False)

    def close(self) -> None:
        self.is_closed = True


class MortalGame(CountingGame):
    """Dies at its nth decision and can only be closed from then on."""

    def __init__(self, decisions: int) -> None:
        super().__init__()
        self._left = decisions

    def new_episode(self, seed: int, frame: Frame) -> None:
        if self._left <= 0:
            raise GameDiedError
        super().new_episode(seed, frame)

    def make_action(self, action: int, frame: Frame) -> Outcome:
        self._left -= 1
        if self._left <= 0:
            raise GameDiedError
        return super().make_action(action, frame)


class LampGame:
    """One of three lamps is lit; pointing at it brings 1.

    In a brief one the lamp that counts is lit in the first frame, and no other is ever lit.
    """

    action_count = 3
    feature_names = ("first",)
    DECISIONS = 6

    def __init__(self, scenario: str = "", *, is_brief: bool = False) -> None:  # noqa: ARG002
        self.facts: dict[str, float] = {}
        self.observation_space = ObservationSpace(1, 1, SIDE, SIDE)
        self.total_reward = 0.0
        self.variables: dict[str, float] = {}
        self._is_brief = is_brief
        self._lit = 0

    @property
    def features(self) -> tuple[bool, ...]:
        return (self._lit == 0,)

    def new_episode(self, seed: int, frame: Frame) -> None:
        self.total_reward = 0.0
        self._random = random.Random(seed)
        self._step = 0
        self._lit = self._random.randrange(3)
        self._show(frame)

    def make_action(self, action: int, frame: Frame) -> Outcome:
        reward = float(action == self._lit)
        self.total_reward += reward
        self._step += 1
        if self._step == self.DECISIONS:
            return Outcome(reward, ended=True, cut=False)
        if self._is_brief:
            frame[:] = 0
        else:
            self._lit = self._random.randrange(3)
            self._show(frame)
        return Outcome(reward, ended=False, cut=False)

    def close(self) -> None:
        pass

    def _show(self, frame: Frame) -> None:
        frame[:] = 0
        frame[0, :, 4 * self._lit : 4 * self._lit + 4] = 255


BRIEF = functools.partial(LampGame, is_brief=True)


class OneProcess(Players):
    """The actors of a training in this process: each does at once what it is told to."""

    @staticmethod
    def _hire(post: Post, _core: int) -> _Local:
        return _Local(Actor(post))


class _Local:
    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._answer: dict[str, Any] = STARTED

    def tell(self, message: dict[str, Any]) -> None:
        self._answer = obey(self._actor, json.loads(json.dumps(message)))

    def answer(self, _timeout_s: float | None) -> dict[str, Any]:
        return self._answer

    def close(self) -> None:
        self._actor.close()


def a_config(algorithm: str = "PPO", **settings: object) -> Config:
    """Settings of a training of toy games, which its scenario has nothing to do with."""
    return parse(
        {
            "algorithm": algorithm,
            "seed": 7,
            "games": 4,
            "actors": 1,
            "rollout_steps": 8,
            "history": 1,
            "channels": [8],
            "hidden": 32,
            "batch_size": 16,
            "learning_rate": 3e-3,
            "reward_scale": 1,
            "max_iterations": 12,
            "checkpoint_interval": 4,
            "metrics_interval": 1,
            "eval_episodes": 5,
            **({} if algorithm == "PPO" else SMALL_REPLAY),
            **settings,
        }
    )


SMALL_REPLAY = {
    "n_step": 2,
    "replay_capacity": 256,
    "learning_starts": 64,
    "start_decay": 0,
    "stop_decay": 300,
    "target_interval": 20,
}


@dataclass(frozen=True)
class Parts:
    """What a training is put together from, with nothing learned and no game begun."""

    config: Config
    game: GameSetup
    shape: Shape
    ring: Ring
    algorithm: Any
    casting: Casting
    peers: Peers

    def alone(self) -> OneProcess:
        """Players in this process."""
        players = OneProcess(self.casting, self.ring, self.algorithm.network)
        players.publish(self.algorithm.network)
        return players

    def training(self, players: Players, reporter: Reporter) -> Training:
        """The training of these parts."""
        return Training(self.config, self.game, self.algorithm, players, reporter, peers=self.peers)


def setup(start: Callable[[str], Game]) -> GameSetup:
    """Describe a toy game; all its maps are alike."""
    game = start("")
    return GameSetup(start, game.observation_space, game.action_count, len(game.feature_names))


def parts(
    config: Config,
    start: Callable[[str], Game],
    *,
    learner: Callable[..., Algorithm] | None = None,
    peers: Peers = ALONE,
) -> Parts:
    """Take apart what `trainer.algorithms.opened` puts together."""
    recipe, game = RECIPES[config.algorithm], setup(start)
    shape = network_shape(config, game)
    games, actors = config.games // peers.size, config.actors // peers.size
    ring = new_ring(config, game, shape, peers)
    casting = Casting(
        actors=actors,
        seed=config.seed,
        make_game=game.start,
        maps=(config.scenario,),
        variables=config.game_variables,
        behaviour=recipe.behaviour(config, shape),
        actors_before=actors * peers.rank,
        games_before=games * peers.rank,
    )
    algorithm = (learner or recipe.learner)(config, shape, ring, peers)
    return Parts(config, game, shape, ring, algorithm, casting, peers)


def train_alone(
    config: Config,
    reporter: Reporter,
    start: Callable[[str], Game],
    *,
    learner: Callable[..., Algorithm] | None = None,
    load: Path | None = None,
) -> Request:
    """Train in this process, from the checkpoint `load` on if there is one."""
    made = parts(config, start, learner=learner)
    with made.alone() as players:
        training = made.training(players, reporter)
        if load is not None:
            training.load(load)
        return training.run()
