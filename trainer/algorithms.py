"""The algorithms by name, and a training put together from a config."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer import dqn, drqn, learners, ppo, q_learning, self_play
from trainer.games import GameSetup, game_setup
from trainer.maps import MapPlan
from trainer.networks import Shape
from trainer.players import Casting, Players
from trainer.reporter import Silent
from trainer.ring import Ring, RingShape
from trainer.rules import ConfigError
from trainer.self_play import Opponents, Opposition, Pool
from trainer.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from games.interface import Game
    from trainer.actor import Behaviour
    from trainer.config import Config
    from trainer.peers import Peers
    from trainer.reporter import Reporter
    from trainer.shared import Column
    from trainer.training import Algorithm


@dataclass(frozen=True)
class Recipe:
    """What is particular to an algorithm: how it explores, what it keeps, how it learns."""

    behaviour: Callable[[Config, Shape], Behaviour]
    learner: Callable[[Config, Shape, Ring, Peers], Algorithm]
    windows: Callable[[Config], int]
    columns: Mapping[str, Column]


RECIPES = {
    "PPO": Recipe(
        lambda _, shape: ppo.PPOBehaviour(shape), ppo.PPO, lambda _: ppo.WINDOWS, ppo.COLUMNS
    ),
    "DQN": Recipe(q_learning.behaviour, dqn.DQN, q_learning.windows, {}),
    "DRQN": Recipe(q_learning.behaviour, drqn.DRQN, q_learning.windows, {}),
}


@contextlib.contextmanager
def opened(
    config: Config, reporter: Reporter, *, game: GameSetup | None = None
) -> Iterator[Training]:
    """Start the games and the learners of a training and hand it out; all end with the block.

    `game` is played in place of the one that the config names. Raises LearnerError where one of
    the other learners fails.
    """
    with learners.together(config.learners, follow) as peers:
        peers.share((config, game))
        with _assembled(config, reporter, game, peers) as training:
            yield training
            training.dismiss()


def follow(peers: Peers) -> None:
    """Be one of the other learners of a training that the first one has opened."""
    config, game = peers.share()
    with _assembled(config, Silent(), game, peers) as training:
        training.follow()


@contextlib.contextmanager
def _assembled(
    config: Config, reporter: Reporter, game: GameSetup | None, peers: Peers
) -> Iterator[Training]:
    """Put together what one learner needs: its games, and what it learns from them."""
    recipe = RECIPES[config.algorithm]
    game = game or game_setup(config)
    shape = network_shape(config, game)
    games, actors = config.games // peers.size, config.actors // peers.size
    ring = new_ring(config, game, shape, peers)
    algorithm = recipe.learner(config, shape, ring, peers)
    behaviour = recipe.behaviour(config, shape)
    pool = Pool(algorithm.network, config.opponent_pool) if config.self_play else None
    casting = Casting(
        actors=actors,
        seed=config.seed,
        make_game=_self_play(config, game, behaviour, pool) if pool else game.start,
        maps=MapPlan(config).trained,
        variables=config.game_variables,
        behaviour=behaviour,
        actors_before=peers.rank * actors,
        games_before=peers.rank * games,
        core=peers.share(os.getpid()),
    )
    opponents = Opponents(pool) if pool else None
    with Players(casting, ring, algorithm.network) as players:
        yield Training(config, game, algorithm, players, reporter, opponents=opponents, peers=peers)


def _self_play(
    config: Config, game: GameSetup, behaviour: Behaviour, pool: Pool
) -> Callable[[str], Game]:
    """Say how actors start games in which opponents from the pool take the other seats."""
    if game.start_match is None:
        raise ConfigError("self_play", f"cannot play {config.game}, which is for one player")
    opposition = Opposition(
        pool=pool,
        weights=config.opponent_weights,
        behaviour=behaviour,
        variables=config.game_variables,
        seed=config.seed,
    )
    return functools.partial(self_play.start, game.start_match, opposition)


def new_ring(config: Config, game: GameSetup, shape: Shape, peers: Peers) -> Ring:
    """Reserve the memory for the games of one learner."""
    recipe = RECIPES[config.algorithm]
    return Ring(
        RingShape(
            space=game.space,
            games=config.games // peers.size,
            rollout_steps=config.rollout_steps,
            windows=recipe.windows(config),
            variables=shape.variables,
            features=shape.features,
            state_size=2 * shape.hidden if shape.recurrent else 0,
            columns=recipe.columns,
        )
    )


def network_shape(config: Config, game: GameSetup) -> Shape:
    """Say what the network of a config sees and decides on."""
    return Shape(
        frames=game.space.shape,
        action_count=game.action_count,
        variables=len(config.game_variables),
        features=game.feature_count if config.game_features else 0,
        channels=config.channels,
        hidden=config.hidden,
        recurrent=config.network_type == "lstm",
    )
