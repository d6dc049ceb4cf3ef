"""The five published networks of Arnold, with weights of their own, as players of the referee."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from elodrome.evaluator.v1.suite_pb2 import SuiteScenario

from games.stack import Stack
from referee.agents import TrainedAgent
from referee.playing import open_game, play_episode
from tests.unit.test_trainer_arnold import PUBLISHED, random_weights
from trainer import checkpoint
from trainer.arnold import import_state_dict
from trainer.arnold_parameters import PRESETS

if TYPE_CHECKING:
    from pathlib import Path

    from games.doom.environment import DoomGame

TICS = 300


def an_agent(directory: Path, name: str) -> TrainedAgent:
    path = directory / f"{name}.safetensors"
    checkpoint.write(path, *import_state_dict(random_weights(PUBLISHED[name]), PRESETS[name]))
    return TrainedAgent(path)


def decisions(game: DoomGame, agent: TrainedAgent, seed: int, count: int) -> list[int]:
    """Begin the episode of `seed` and play so many decisions of it, or all there are."""
    stack = Stack(game.observation_space)
    game.new_episode(seed, stack.newest)
    stack.begin()
    agent.begin(seed, game.action_count)
    taken: list[int] = []
    while len(taken) < count:
        taken.append(agent.act(stack.observation, game.variables))
        if game.make_action(taken[-1], stack.newest).ended:
            break
        stack.push()
    return taken


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_network_plays_and_begins_every_episode_anew(tmp_path: Path, name: str) -> None:
    agent = an_agent(tmp_path, name)
    row = SuiteScenario(game="doom", scenario=PRESETS[name].scenario)
    count = -(-TICS // agent.observation["frame_skip"])
    with open_game(row, agent) as game:
        played = decisions(game, agent, 7, count)
        # Whoever dies sooner has played to the end.
        assert len(played) == count or game.is_episode_finished()
        assert decisions(game, agent, 7, 20) == played[:20]


def test_an_imported_player_plays_an_episode_to_its_end(tmp_path: Path) -> None:
    agent = an_agent(tmp_path, "defend_the_center")
    row = SuiteScenario(game="doom", scenario="defend_the_center")
    with open_game(row, agent) as game:
        measured = play_episode(game, agent, 2**30, ["kills", "decisions", "health"])
        assert game.is_episode_finished()
    assert measured.metrics["decisions"] > 50
