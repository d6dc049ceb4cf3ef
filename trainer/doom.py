"""The Doom that a training run asks for."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from games.doom.actions import parse_actions
from games.doom.environment import DoomGame
from games.doom.observation import ObservationOptions
from games.doom.rewards import RewardWeights
from games.doom.scenarios import SCENARIOS

if TYPE_CHECKING:
    from trainer.config import Config


def new_game(config: Config) -> DoomGame:
    """Start one game, ready for its first episode."""
    game = DoomGame(
        config.scenario,
        observation_options(config),
        action_combinations=config.action_combinations,
        reward_weights=RewardWeights(**config.reward_weights),
    )
    game.start()
    return game


def observation_options(config: Config) -> ObservationOptions:
    """Pick out of a config what the player sees; what it has no field for stays as it is."""
    named = {entry.name for entry in fields(ObservationOptions)} & config.to_mapping().keys()
    return ObservationOptions(**{name: getattr(config, name) for name in named})


def action_combinations(config: Config) -> str:
    """Name the action grammar, which is the scenario's own unless the config has one."""
    return config.action_combinations or SCENARIOS[config.scenario].action_combinations


def action_count(config: Config) -> int:
    """Count the actions of the grammar."""
    return len(parse_actions(action_combinations(config)))
