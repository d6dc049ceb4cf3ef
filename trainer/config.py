"""What a training run may ask for: every field with its meaning, default and range.

Only the standard library and pure tables of `games` are imported, so a service can check a
configuration before anything is started. `python -m trainer.config` rewrites `config.schema.json`.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from games.catalogue import map_id
from games.doom.actions import parse_actions
from games.doom.rewards import REWARD_KINDS
from games.doom.scenarios import SCENARIOS
from trainer.rules import (
    Choice,
    ConfigError,
    Flag,
    Integer,
    Number,
    Optional,
    Rule,
    Text,
    Weights,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Setting = TypeVar("Setting")

__all__ = ["SCHEMA_PATH", "SEED_LIMIT", "Config", "ConfigError", "parse", "schema"]

SCHEMA_PATH = Path(__file__).with_name("config.schema.json")

# Suites take their seeds from here up to 2**31, so no agent is judged on what it trained on.
SEED_LIMIT = 2**30


_UUID = re.compile("[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


def _setting(rule: Rule, default: Setting, meaning: str) -> Setting:
    return field(default=default, metadata={"rule": rule, "meaning": meaning})


def _check_grammar(grammar: str) -> None:
    if grammar:
        parse_actions(grammar)


def _check_uuid(text: str) -> None:
    if text and not _UUID.fullmatch(text):
        raise ValueError("must be a UUID in lower case")


@dataclass(frozen=True, kw_only=True)
class Config:
    """A checked configuration; a step is one decision of one game, an iteration one of each."""

    algorithm: str = _setting(Choice(("DQN",)), "DQN", "Learning algorithm.")
    network_type: str = _setting(
        Choice(("feed_forward",)), "feed_forward", "Network: feed_forward sees `history` frames."
    )
    game: str = _setting(Choice(("doom",)), "doom", "Game to learn.")
    scenario: str = _setting(Choice(tuple(SCENARIOS)), "basic", "Scenario of the game.")
    map_id: str = _setting(
        Text(36, _check_uuid), "", "Catalogue id of the map; empty takes the scenario's own."
    )
    action_combinations: str = _setting(
        Text(200, _check_grammar),
        "",
        "Action grammar: ';' joins groups pressed together, '+' joins exclusive choices; "
        "empty takes the scenario's own.",
    )
    seed: int = _setting(Integer(0, SEED_LIMIT - 1), 0, "Seed of everything stochastic in the run.")
    gpu_id: int = _setting(
        Integer(-1, 63), -1, "Index of the GPU to learn on; -1, or a machine without one, is CPU."
    )

    height: int = _setting(Integer(36, 480), 36, "Height of an observed frame, in pixels.")
    width: int = _setting(Integer(36, 640), 64, "Width of an observed frame, in pixels.")
    color: str = _setting(Choice(("gray", "rgb")), "gray", "Channels of the screen: 1 or 3.")
    depth: bool = _setting(Flag(), default=False, meaning="Observe the depth of every pixel.")
    labels: bool = _setting(Flag(), default=False, meaning="Observe the object in every pixel.")
    automap: bool = _setting(Flag(), default=False, meaning="Observe the map drawn so far.")
    history: int = _setting(Integer(1, 16), 4, "Frames an observation holds.")
    frame_skip: int = _setting(Integer(1, 35), 4, "Game tics (35 a second) a decision is held.")
    reward_weights: dict[str, float] = field(
        default_factory=dict,
        metadata={
            "rule": Weights(REWARD_KINDS, 1e6),
            "meaning": "Points added to the game's own reward per event of a kind.",
        },
    )

    max_iterations: int = _setting(
        Integer(1, 100_000_000), 6_000, "Iterations of the run: one round of steps, one update."
    )
    total_steps: int = _setting(
        Integer(0, 10_000_000_000),
        0,
        "Length of the run in steps of all games together; if not 0, it decides max_iterations.",
    )
    games: int = _setting(Integer(1, 16), 4, "Games played side by side.")
    batch_size: int = _setting(Integer(1, 4096), 32, "Transitions per update.")
    learning_rate: float = _setting(
        Number(0, 1, open_minimum=True), 3e-4, "Step size of the Adam optimizer."
    )
    gamma: float = _setting(Number(0, 1), 0.99, "Discount per step.")
    n_step: int = _setting(Integer(1, 32), 5, "Rewards summed before the value is estimated.")
    reward_scale: float = _setting(
        Number(0, 1e6, open_minimum=True), 0.01, "Factor on every reward the learner sees."
    )
    replay_capacity: int = _setting(
        Integer(256, 2_000_000), 10_000, "Steps of all games together that the replay holds."
    )
    persist_replay: bool = _setting(
        Flag(), default=True, meaning="Keep the replay in checkpoints, so that a resume is exact."
    )
    learning_starts: int = _setting(
        Integer(64, 1_000_000), 1_000, "Steps played before the first update."
    )
    target_interval: int = _setting(
        Integer(1, 1_000_000), 250, "Iterations between two copies of the network to the target."
    )
    start_decay: int = _setting(
        Integer(0, 10_000_000_000), 1_000, "Step up to which every action is random."
    )
    stop_decay: int = _setting(
        Integer(1, 10_000_000_000), 8_000, "Step from which epsilon is final_decay."
    )
    final_decay: float = _setting(Number(0, 1), 0.02, "Share of random actions in the end.")

    metrics_interval: int = _setting(
        Integer(1, 1_000_000), 50, "Iterations between two points of every metric."
    )
    checkpoint_interval: int = _setting(
        Integer(1, 100_000_000), 1_000, "Iterations between two checkpoints."
    )
    eval_episodes: int = _setting(
        Integer(1, 1_000), 20, "Greedy episodes that judge each checkpoint."
    )
    target_return: float | None = _setting(
        Optional(Number(-1e9, 1e9)),
        None,
        "Mean return of those episodes at which the run is done early; null is never.",
    )
    plateau_evaluations: int = _setting(
        Integer(0, 10_000),
        0,
        "Judgements in a row without a rise after which the run is done early; 0 is never.",
    )
    plateau_delta: float = _setting(
        Number(0, 1e9), 0.0, "Least rise above the best mean return that counts as one."
    )

    @property
    def iterations(self) -> int:
        """Length of the run in iterations, whichever field decides it."""
        return -(-self.total_steps // self.games) if self.total_steps else self.max_iterations

    def to_mapping(self) -> dict[str, Any]:
        """Every field by name, ready for JSON; `parse` gives the same Config back."""
        return asdict(self)


def parse(mapping: Mapping[str, object]) -> Config:
    """Check `mapping` and fill in the defaults.

    Raises ConfigError naming the field: unknown ones with the nearest known name, values out of
    their range, and values that do not fit each other.
    """
    known = {entry.name: entry for entry in fields(Config)}
    for name in mapping:
        if name not in known:
            raise ConfigError(name, _unknown(name, list(known)))
    values: dict[str, Any] = {
        name: _rule(known[name]).parse(name, value) for name, value in mapping.items()
    }
    config = Config(**values)
    _check_together(config)
    return _on_its_map(config, given=set(mapping))


def schema() -> dict[str, Any]:
    """Say the same rules as one JSON Schema (2020-12), with meanings and defaults."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Training run",
        "type": "object",
        "properties": {entry.name: _property(entry) for entry in fields(Config)},
        "additionalProperties": False,
    }


def schema_text() -> str:
    """Compose what `config.schema.json` must hold."""
    return json.dumps(schema(), indent=2) + "\n"


def _check_together(config: Config) -> None:
    if config.stop_decay <= config.start_decay:
        raise ConfigError("stop_decay", "must be greater than start_decay")
    if config.learning_starts > config.replay_capacity:
        raise ConfigError("learning_starts", "must not exceed replay_capacity")
    if config.replay_capacity < config.games * 2 * (config.n_step + config.history):
        raise ConfigError("replay_capacity", "must hold a few observations of every game")


def _on_its_map(config: Config, *, given: set[str]) -> Config:
    """Take the scenario from the map, where one is named."""
    if not config.map_id:
        return config
    scenario = {map_id(config.game, name): name for name in SCENARIOS}.get(config.map_id)
    if scenario is None:
        raise ConfigError("map_id", f"is no map of {config.game}")
    if "scenario" in given and config.scenario != scenario:
        raise ConfigError("scenario", f"does not fit map_id, which is {scenario}")
    return replace(config, scenario=scenario)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"is not a field; did you mean {near[0]}?" if near else "is not a field"


def _rule(entry: Field[Any]) -> Rule:
    return entry.metadata["rule"]


def _property(entry: Field[Any]) -> dict[str, Any]:
    factory = entry.default_factory
    default = entry.default if factory is MISSING else factory()
    return {**_rule(entry).schema(), "default": default, "description": entry.metadata["meaning"]}


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text())
    sys.stdout.write(f"wrote {SCHEMA_PATH}\n")
