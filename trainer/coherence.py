"""What the fields of a config must be to each other, beside what each may hold on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trainer import maps
from trainer.rules import ConfigError

if TYPE_CHECKING:
    from trainer.config import Config

# The algorithms that learn from a replay.
Q_LEARNING = ("DQN",)

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


def _check_replay(config: Config) -> None:
    if config.network_type != "feed_forward":
        raise ConfigError("network_type", f"must be feed_forward for {config.algorithm}")
    if config.stop_decay <= config.start_decay:
        raise ConfigError("stop_decay", "must be greater than start_decay")
    window, frames = config.steps_per_iteration, config.games * config.history
    # Two steps with a future: one may be where a checkpoint or the clock cut every episode.
    least = config.games * (config.n_step + 2)
    # Whole windows make up the replay, and the one being played is not drawn from.
    held = config.replay_capacity // window * window - window - frames
    if held < least:
        raise ConfigError("replay_capacity", f"must be at least {2 * window + frames + least}")
    if not least <= config.learning_starts <= held:
        raise ConfigError("learning_starts", f"must be from {least} to {held}")


def _on_its_scenario(config: Config) -> Config:
    """Take over what the scenario decides where the config leaves it open."""
    if config.reward_scale:
        return config
    return replace(config, reward_scale=REWARD_SCALES.get(config.scenario, 1.0))
