"""Plays one episode and measures it; the same seed and agent give the same numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import vizdoom

from games.doom.environment import DoomGame
from games.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from games.interface import Outcome
    from referee.agents import Agent

ENVIRONMENT_VERSION = f"vizdoom {vizdoom.__version__}"


@dataclass(frozen=True)
class Ended:
    """An episode that has just ended, while the game still knows it."""

    game: DoomGame
    last: Outcome
    decisions: int


@dataclass(frozen=True)
class Measured:
    """The metrics of one episode by name, and how long it took to play, in seconds."""

    metrics: dict[str, float]
    duration_s: float


MEASURES: dict[str, Callable[[Ended], float]] = {
    "return": lambda ended: ended.game.total_reward,
    "decisions": lambda ended: float(ended.decisions),
    "kills": lambda ended: ended.game.variables["KILLCOUNT"],
    "hits": lambda ended: ended.game.variables["HITCOUNT"],
    "health": lambda ended: ended.game.variables["HEALTH"],
    "timed_out": lambda ended: float(ended.last.cut),
}


def open_game(scenario: str, agent: Agent) -> DoomGame:
    """Declare the game as the agent needs it; it begins on entry of its context."""
    return DoomGame(scenario, agent.options, action_combinations=agent.action_combinations)


def play_episode(game: DoomGame, agent: Agent, seed: int, metrics: Sequence[str]) -> Measured:
    """Play the episode of `seed` to its end."""
    started = time.perf_counter()
    stack = Stack(game.observation_space)
    game.new_episode(seed, stack.newest)
    stack.begin()
    agent.begin(seed, game.action_count)
    decisions = 0
    while True:
        outcome = game.make_action(agent.act(stack.observation, game.variables), stack.newest)
        decisions += 1
        if outcome.ended:
            break
        stack.push()
    ended = Ended(game, outcome, decisions)
    values = {name: MEASURES[name](ended) for name in metrics}
    return Measured(values, time.perf_counter() - started)
