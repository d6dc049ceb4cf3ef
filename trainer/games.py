"""The games that a training run may ask for, by the name that a config knows them by."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from games.catch import CatchGame
from games.doom import multiplayer
from games.doom.actions import parse_actions
from games.doom.bots import Bots
from games.doom.environment import DoomGame
from games.doom.features import FEATURE_NAMES
from games.doom.observation import ObservationOptions
from games.doom.randomisation import Randomisation
from games.doom.rewards import RewardWeights
from games.doom.scenarios import SCENARIOS
from trainer import maps
from trainer.seeds import EVALUATION_SEEDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from games.doom.scenarios import Scenario
    from games.interface import Game, ObservationSpace
    from trainer.config import Config
    from trainer.self_play import Match

MATCH_TICS = 2100
"""A minute: how long a match is on a map that has no clock."""


@dataclass(frozen=True)
class GameSetup:
    """A game as a config asks for it, and what its players are shown and may do.

    `start` starts one on a map, or a level as `trainer.maps` has them, ready for its first episode,
    and `start_match` one of several seats where the game has any; both travel to the processes that
    play. Where a game leaves a choice, `action_combinations` and `observation` say what a player
    was trained on.
    """

    start: Callable[[str], Game]
    space: ObservationSpace
    action_count: int
    feature_count: int = 0
    action_combinations: str = ""
    observation: Mapping[str, Any] = field(default_factory=dict)
    start_match: Callable[[str], Match] | None = None


def game_setup(config: Config) -> GameSetup:
    """Look up the game of a config."""
    return GAMES[config.game](config)


def _doom(config: Config) -> GameSetup:
    options = ObservationOptions(
        **{entry.name: getattr(config, entry.name) for entry in fields(ObservationOptions)}
    )
    grammar = config.action_combinations or SCENARIOS[config.scenario].action_combinations
    return GameSetup(
        start=functools.partial(_start_doom, config, options),
        space=options.space,
        action_count=len(parse_actions(grammar)),
        feature_count=len(FEATURE_NAMES),
        action_combinations=grammar,
        observation=asdict(options),
        start_match=functools.partial(_start_match, config, options),
    )


def _start_doom(config: Config, options: ObservationOptions, level: str) -> DoomGame:
    scenario, config = maps.at_level(config, level)
    game = DoomGame(
        _scenario(config, scenario),
        options,
        action_combinations=config.action_combinations,
        reward_weights=RewardWeights(**config.reward_weights),
        features=config.game_features,
        randomisation=_randomisation(config),
        bots=Bots(config.bots, config.bot_skill, config.bot_health) if config.bots else None,
    )
    game.start()
    return game


def _start_match(config: Config, options: ObservationOptions, scenario: str) -> multiplayer.Match:
    row = _scenario(config, scenario)
    if not row.timeout_tics:
        row = replace(row, timeout_tics=MATCH_TICS)
    return multiplayer.Match(
        row.players,
        row,
        options,
        action_combinations=config.action_combinations,
        reward_weights=RewardWeights(**config.reward_weights),
        features=config.game_features,
    )


def _scenario(config: Config, name: str) -> Scenario:
    row = SCENARIOS[name]
    return replace(row, timeout_tics=config.episode_tics or row.timeout_tics)


def _randomisation(config: Config) -> Randomisation | None:
    asked = Randomisation(
        seed_limit=EVALUATION_SEEDS,
        textures=config.randomise_textures,
        health=config.randomise_health,
        spawn=config.randomise_spawn,
    )
    return asked if asked.textures or asked.health or asked.spawn else None


def _catch(config: Config) -> GameSetup:
    game = CatchGame(history=config.history)
    return GameSetup(
        start=functools.partial(_start_catch, config.history),
        space=game.observation_space,
        action_count=game.action_count,
        observation={"history": config.history},
    )


def _start_catch(history: int, _scenario: str) -> CatchGame:
    """Start the game, which has one map."""
    return CatchGame(history=history)


GAMES: Mapping[str, Callable[[Config], GameSetup]] = {"doom": _doom, "catch": _catch}
