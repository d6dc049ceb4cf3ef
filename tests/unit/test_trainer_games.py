"""What a run asks for of its game is what is played."""

from __future__ import annotations

from contextlib import closing

from games.doom.environment import DoomGame
from tests.unit.engines import a_frame
from trainer.config import parse
from trainer.games import game_setup
from trainer.maps import MapPlan


def test_episode_tics_are_the_clock_whatever_the_scenario_has() -> None:
    config = parse({"scenario": "defend_the_line", "episode_tics": 41, "frame_skip": 10})
    with closing(game_setup(config).start("defend_the_line")) as game:
        frame = a_frame(game)
        game.new_episode(3, frame)
        outcomes = [game.make_action(0, frame) for _ in range(5)]
    assert [(outcome.ended, outcome.cut) for outcome in outcomes] == [(False, False)] * 4 + [
        (True, True)
    ]


def test_a_stage_of_a_curriculum_brings_its_own_opponents() -> None:
    stages = [{"scenario": "deathmatch_shotgun", "bots": 2}]
    config = parse({"curriculum": stages, "bots": 4})
    (level,) = MapPlan(config).trained
    with closing(game_setup(config).start(level)) as game:
        assert isinstance(game, DoomGame)
        game.new_episode(3, a_frame(game))
        state = game.get_state()
    assert state is not None
    assert [name for name, _ in state.players[1:]] == ["Anvil", "Bishop"]
