"""What a training run may ask for: every field with its meaning, default and range.

Only the standard library and pure tables of `games` are imported, so a service can check a
configuration before anything is started. `python -m trainer.config` rewrites `config.schema.json`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.coherence import Q_LEARNING, check_owners, coherent, games_of
from trainer.fields import ALGORITHMS, rule_of, schema
from trainer.fields import setting as _setting
from trainer.game_settings import GameSettings
from trainer.rules import (
    Choice,
    ConfigError,
    Flag,
    Integer,
    Integers,
    Number,
    Optional,
    parse_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA_PATH", "SEED_LIMIT", "Config", "ConfigError", "parse", "schema_text"]

SCHEMA_PATH = Path(__file__).with_name("config.schema.json")

# Suites take their seeds from here up to 2**31, so no agent is judged on what it trained on.
SEED_LIMIT = 2**30


@dataclass(frozen=True, kw_only=True)
class Config(GameSettings):
    """A checked configuration; a step is one decision of one game, an iteration a window of all."""

    algorithm: str = _setting(
        Choice(ALGORITHMS), "PPO", "Learning algorithm; some settings belong to one of them only."
    )
    network_type: str = _setting(
        Choice(("feed_forward", "lstm")),
        "feed_forward",
        "Network: feed_forward sees `history` frames, lstm also remembers.",
        DRQN="lstm",
    )
    channels: tuple[int, ...] = _setting(
        Integers(1, 256, most=3), (16, 32), "Filters of each convolution: 8x8/4, 4x4/2, 3x3/2."
    )
    hidden: int = _setting(Integer(8, 4096), 256, "Units of the layer after the convolutions.")
    precision: str = _setting(
        Choice(("float32", "bfloat16")),
        "float32",
        "What the learner multiplies in; bfloat16 pays on processors and GPUs that have it.",
    )
    seed: int = _setting(Integer(0, SEED_LIMIT - 1), 0, "Seed of everything stochastic in the run.")
    gpu_id: int = _setting(
        Integer(-1, 63), -1, "Index of the GPU to learn on; -1, or a machine without one, is CPU."
    )

    max_iterations: int = _setting(
        Integer(1, 100_000_000),
        100,
        "Iterations of the run: one window of every game, and what is learned from it.",
        DQN=375,
    )
    total_steps: int = _setting(
        Integer(0, 10_000_000_000),
        0,
        "Length of the run in steps of all games together; if not 0, it decides max_iterations.",
    )
    games: int = _setting(Integer(1, 256), 16, "Games played side by side.", DQN=8)
    actors: int = _setting(Integer(1, 64), 2, "Processes that play the games, each on one core.")
    learners: int = _setting(
        Integer(1, 64), 1, "Processes that learn together, each from its share of the games."
    )
    rollout_steps: int = _setting(
        Integer(2, 4096), 64, "Steps of each game in a window; there is one an iteration.", DQN=8
    )
    batch_size: int = _setting(Integer(1, 65_536), 128, "Steps in a batch of an update.", DQN=32)
    learning_rate: float = _setting(
        Number(0, 1, open_minimum=True), 1.5e-3, "Step size of the Adam optimizer.", DQN=3e-4
    )
    final_learning_rate: float = _setting(
        Number(0, 1), 1.0, "Share of learning_rate left at the end; it falls in a straight line."
    )
    max_gradient_norm: float = _setting(
        Number(0, 1e6, open_minimum=True), 0.5, "Longest gradient of an update.", DQN=10.0
    )
    averaging: float = _setting(
        Number(0, 0.9999),
        0.99,
        "Share that the running average of the weights keeps at an update; the average is judged "
        "and saved to play. 0 takes the latest weights.",
    )
    gamma: float = _setting(Number(0, 1), 0.98, "Discount per step.", DQN=0.99)
    reward_scale: float = _setting(
        Number(0, 1e6), 0.0, "Factor on every reward the learner sees; 0 takes the scenario's own."
    )

    epochs: int = _setting(Integer(1, 64), 2, "Passes over every window.", of=("PPO",))
    gae_lambda: float = _setting(
        Number(0, 1), 0.95, "Weight of longer returns in the advantages.", of=("PPO",)
    )
    clip: float = _setting(
        Number(0, 1, open_minimum=True),
        0.2,
        "Change of a probability, as a share, that an update may gain by.",
        of=("PPO",),
    )
    entropy_weight: float = _setting(
        Number(0, 10), 0.005, "Reward for a policy that stays undecided.", of=("PPO",)
    )
    value_weight: float = _setting(
        Number(0, 10), 0.5, "Weight of the loss of values beside that of the policy.", of=("PPO",)
    )

    n_step: int = _setting(
        Integer(1, 32), 5, "Rewards summed before the value is estimated.", of=Q_LEARNING
    )
    steps_per_update: int = _setting(
        Integer(1, 65_536), 4, "Steps of all games together for each update.", of=Q_LEARNING
    )
    replay_capacity: int = _setting(
        Integer(256, 2_000_000),
        10_000,
        "Steps of all games together that the replay holds.",
        of=Q_LEARNING,
    )
    double: bool = _setting(
        Flag(),
        default=True,
        meaning="Let the network choose the action whose value the target network tells.",
        of=Q_LEARNING,
    )
    dueling: bool = _setting(
        Flag(),
        default=True,
        meaning="Estimate the value of a state and the advantages of its actions apart.",
        of=Q_LEARNING,
    )
    prioritised: bool = _setting(
        Flag(),
        default=False,
        meaning="Learn more often from the steps that the network was wrong about.",
        of=("DQN",),
    )
    priority_alpha: float = _setting(
        Number(0, 1), 0.6, "How much an error matters in drawing; 0 draws evenly.", of=("DQN",)
    )
    priority_beta: float = _setting(
        Number(0, 1),
        0.4,
        "Share of the bias of uneven drawing undone at first; it rises to 1 by the end.",
        of=("DQN",),
    )
    burn_in: int = _setting(
        Integer(0, 256), 4, "Steps that fill the memory before those with loss.", of=("DRQN",)
    )
    recurrent_updates: int = _setting(
        Integer(1, 256), 8, "Steps of a sequence that carry loss.", of=("DRQN",)
    )
    persist_replay: bool = _setting(
        Flag(),
        default=True,
        meaning="Keep the replay in checkpoints, so that a resume is exact.",
        of=Q_LEARNING,
    )
    learning_starts: int = _setting(
        Integer(64, 1_000_000), 1_000, "Steps played before the first update.", of=Q_LEARNING
    )
    target_interval: int = _setting(
        Integer(1, 10_000_000),
        250,
        "Updates between two copies of the network to the target.",
        of=Q_LEARNING,
    )
    start_decay: int = _setting(
        Integer(0, 10_000_000_000), 1_000, "Step up to which every action is random.", of=Q_LEARNING
    )
    stop_decay: int = _setting(
        Integer(1, 10_000_000_000), 8_000, "Step from which epsilon is final_decay.", of=Q_LEARNING
    )
    final_decay: float = _setting(
        Number(0, 1), 0.02, "Share of random actions in the end.", of=Q_LEARNING
    )

    metrics_interval: int = _setting(
        Integer(1, 1_000_000), 1, "Iterations between two points of every metric.", DQN=5
    )
    checkpoint_interval: int = _setting(
        Integer(1, 100_000_000), 20, "Iterations between two checkpoints.", DQN=75
    )
    eval_episodes: int = _setting(
        Integer(1, 1_000), 20, "Greedy episodes on every test map that judge each checkpoint."
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
        if not self.total_steps:
            return self.max_iterations
        return -(-self.total_steps // self.steps_per_iteration)

    @property
    def steps_per_iteration(self) -> int:
        """Steps of all games together in one iteration."""
        return self.games * self.rollout_steps

    def to_mapping(self) -> dict[str, Any]:
        """Every field that algorithm and game have, ready for JSON; `parse` gives the same."""
        names = [
            entry.name
            for entry in fields(self)
            if self.algorithm in entry.metadata["of"] and self.game in games_of(entry.name)
        ]
        values = asdict(self)
        return {
            name: list(values[name]) if isinstance(values[name], tuple) else values[name]
            for name in names
        }


def parse(mapping: Mapping[str, object]) -> Config:
    """Check `mapping` and fill in the defaults.

    Raises ConfigError naming the field: unknown ones with the nearest known name, values out of
    their range, and values that do not fit each other.
    """
    known = {entry.name: entry for entry in fields(Config)}
    given = parse_fields(mapping, {name: rule_of(entry) for name, entry in known.items()})
    chosen = {name: given.get(name, known[name].default) for name in ("algorithm", "game")}
    for name in mapping:
        check_owners(name, chosen["algorithm"], known[name].metadata["of"])
        check_owners(name, chosen["game"], games_of(name))
    values: dict[str, Any] = {
        name: entry.metadata["defaults"][one]
        for one in chosen.values()
        for name, entry in known.items()
        if one in entry.metadata["defaults"]
    }
    return coherent(Config(**values | given), given=set(mapping))


def schema_text() -> str:
    """Compose what `config.schema.json` must hold."""
    return json.dumps(schema(Config), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text())
    sys.stdout.write(f"wrote {SCHEMA_PATH}\n")
