"""Plays one episode and measures it; the same seed and agent give the same numbers."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import vizdoom

from games.catch import CatchGame
from games.doom.environment import DoomGame
from games.doom.observation import ObservationOptions
from games.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from elodrome.evaluator.v1.suite_pb2 import SuiteScenario

    from games.interface import Game, Outcome
    from referee.agents import Agent

ENVIRONMENT_VERSION = f"vizdoom {vizdoom.__version__}"


@dataclass(frozen=True)
class Ended:
    """An episode that has just ended, while the game still knows it."""

    game: Game
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


def open_game(row: SuiteScenario, agent: Agent) -> contextlib.closing[Game]:
    """Start the game of a suite's scenario as the agent needs it; it ends with its context."""
    return contextlib.closing(_GAMES[row.game](row.scenario, agent))


def _doom(scenario: str, agent: Agent) -> DoomGame:
    game = DoomGame(
        scenario,
        ObservationOptions(**agent.observation),
        action_combinations=agent.action_combinations,
    )
    game.start()
    return game


def _catch(_scenario: str, agent: Agent) -> CatchGame:
    return CatchGame(**agent.observation)


_GAMES: dict[str, Callable[[str, Agent], Game]] = {"doom": _doom, "catch": _catch}


def play_episode(game: Game, agent: Agent, seed: int, metrics: Sequence[str]) -> Measured:
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
