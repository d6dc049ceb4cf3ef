"""Who plays: a trained policy, or a built-in agent that knows nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from elodrome.evaluator.v1.suite_pb2 import SuiteScenario

    from games.interface import Frame


class Agent(Protocol):
    """A player; the same seed and the same observations give the same actions."""

    @property
    def observation(self) -> Mapping[str, Any]:
        """What it has to be shown, and how long its decisions last, as options of its game."""
        ...

    @property
    def action_combinations(self) -> str:
        """The grammar of its actions; empty is the scenario's own."""
        ...

    def begin(self, seed: int, action_count: int) -> None:
        """Get ready for the episode of `seed`."""
        ...

    def act(self, observation: Frame, variables: Mapping[str, float]) -> int:
        """Choose an action for uint8 [channels, height, width] and the game's variables now."""
        ...


@dataclass
class BuiltinAgent:
    """`random` draws every action evenly, `fixed` always takes the first one."""

    name: str
    observation: Mapping[str, Any]
    action_combinations: str

    def begin(self, seed: int, action_count: int) -> None:
        """Seed the draws with the episode's own seed."""
        self._random = random.Random(seed)  # noqa: S311 - nothing secret
        self._action_count = action_count

    def act(self, observation: Frame, variables: Mapping[str, float]) -> int:  # noqa: ARG002
        """Choose without looking."""
        if self.name == "fixed":
            return 0
        return int(self._random.random() * self._action_count)


class TrainedAgent:
    """The network of a checkpoint, playing greedily."""

    def __init__(self, path: Path) -> None:
        """Load the checkpoint; raises CheckpointError."""
        # Torch takes seconds to load, which an evaluation of a built-in agent need not wait for.
        import torch  # noqa: PLC0415

        from trainer.policy import load  # noqa: PLC0415

        # One core plays the game; results also do not depend on how many a machine has.
        torch.set_num_threads(1)
        self.policy = load(path)
        self.observation = self.policy.manifest.observation
        self.action_combinations = self.policy.manifest.action_combinations

    def begin(self, seed: int, action_count: int) -> None:  # noqa: ARG002 - it draws nothing
        """Forget the episode before."""
        self.policy.begin()

    def act(self, observation: Frame, variables: Mapping[str, float]) -> int:
        """Choose the action of the highest value."""
        return self.policy.act(observation, variables)


def builtin_agent(name: str, scenario: SuiteScenario) -> BuiltinAgent:
    """Set a built-in agent up as the suite's scenario says."""
    observation = {"frame_skip": scenario.frame_skip} if scenario.game == "doom" else {}
    return BuiltinAgent(name, observation, scenario.action_combinations)
