"""What the fields of a config must be to each other, beside what each may hold on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from games.catalogue import MAP_NAMES
from games.doom.observation import ObservationError, ObservationOptions
from trainer import maps
from trainer.rules import ConfigError

if TYPE_CHECKING:
    from trainer.config import Config

# The algorithms that learn from a replay, and the network that each of them has.
_NETWORK_TYPES = {"DQN": "feed_forward", "DRQN": "lstm"}
Q_LEARNING = tuple(_NETWORK_TYPES)

# What is no setting of the other games.
OF_DOOM = (
    *("action_combinations", "height", "width", "color", "depth", "labels", "automap"),
    *("label_maps", "screen", "render", "frame_skip", "episode_tics"),
    *("randomise_textures", "randomise_health", "randomise_spawn"),
    *("bots", "bot_skill", "bot_health", "self_play", "opponent_pool", "opponent_weights"),
    *("reward_weights", "game_variables", "game_features", "feature_weight"),
)

# What brings the rewards of a scenario near one, which is what networks learn best from.
REWARD_SCALES = {
    "basic": 0.01,
    "simpler_basic": 0.01,
    "rocket_basic": 0.01,
    "health_gathering": 0.01,
    "health_gathering_supreme": 0.01,
    "take_cover": 0.01,
    "deadly_corridor": 0.01,
}

# What a scenario's own reward tells too late: a bullet that misses is missed a minute afterwards.
SHAPING = {"defend_the_center": {"use_ammo": -0.4}}


def check_owners(name: str, one: str, owners: tuple[str, ...]) -> None:
    """Refuse the setting of an algorithm or a game that is not `one`; raises ConfigError."""
    if one not in owners:
        raise ConfigError(name, f"is no setting of {one}, only of {', '.join(owners)}")


def games_of(name: str) -> tuple[str, ...]:
    """Name the games that have a setting."""
    return ("doom",) if name in OF_DOOM else tuple(MAP_NAMES)


def coherent(config: Config, *, given: set[str]) -> Config:
    """Check the fields together, and fill in what follows from others than the `given` ones.

    Raises ConfigError naming the field that does not fit.
    """
    config = maps.settled(config, given=given)
    _check_together(config)
    return _on_its_scenario(config)


def _check_together(config: Config) -> None:
    if config.actors > config.games:
        raise ConfigError("actors", "must not exceed games")
    for field in ("games", "actors", "batch_size"):
        if getattr(config, field) % config.learners:
            raise ConfigError(field, f"must be a multiple of learners, which is {config.learners}")
    if config.history > config.rollout_steps:
        raise ConfigError("rollout_steps", "must not be less than history")
    if config.algorithm in Q_LEARNING:
        _check_replay(config)
    if config.self_play:
        _check_self_play(config)
    _check_screen(config)


def _check_screen(config: Config) -> None:
    try:
        ObservationOptions(height=config.height, width=config.width, screen=config.screen)
    except ObservationError as error:
        field, _, rule = str(error).partition(": ")
        raise ConfigError(field, rule) from error


def _check_self_play(config: Config) -> None:
    if not any(config.opponent_weights.values()):
        raise ConfigError("opponent_weights", "must not all be 0")
    others = ("bots", "randomise_textures", "randomise_health", "randomise_spawn")
    for field in others:
        if getattr(config, field):
            raise ConfigError(field, "is not to be had in self-play")


def _check_replay(config: Config) -> None:
    fitting = _NETWORK_TYPES[config.algorithm]
    if config.network_type != fitting:
        raise ConfigError("network_type", f"must be {fitting} for {config.algorithm}")
    if config.stop_decay <= config.start_decay:
        raise ConfigError("stop_decay", "must be greater than start_decay")
    window, frames = config.steps_per_iteration, config.games * config.history
    sequence = config.burn_in + config.recurrent_updates
    # Two steps with a future: one may be where a checkpoint or the clock cut every episode.
    least = config.games * (2 + (sequence if config.algorithm == "DRQN" else config.n_step))
    # Whole windows make up the replay, and the one being played is not drawn from.
    held = config.replay_capacity // window * window - window - frames
    if held < least:
        raise ConfigError("replay_capacity", f"must be at least {2 * window + frames + least}")
    if not least <= config.learning_starts <= held:
        raise ConfigError("learning_starts", f"must be from {least} to {held}")


def _on_its_scenario(config: Config) -> Config:
    """Take over what the scenario decides where the config leaves it open."""
    return replace(
        config,
        reward_scale=config.reward_scale or REWARD_SCALES.get(config.scenario, 1.0),
        reward_weights=config.reward_weights or dict(SHAPING.get(config.scenario, {})),
    )
