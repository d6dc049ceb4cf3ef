"""What a run asks for of its game is what is played."""

from __future__ import annotations

import json
from contextlib import closing

from elodrome.evaluator.v1.suite_pb2 import SuiteScenario

from games.doom.environment import DoomGame
from referee.agents import BuiltinAgent
from referee.playing import open_game
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


def test_what_is_drawn_and_shown_is_as_the_run_says_when_it_is_judged_too() -> None:
    config = parse(
        {
            "color": "gray",
            "screen": "320x240",
            "render": "none",
            "label_maps": "0;1+3",
            "width": 80,
            "height": 45,
            "history": 2,
            "frame_skip": 3,
        }
    )
    setup = game_setup(config)
    assert setup.space.shape == (2 * 3, 45, 80)
    # Checkpoints hold what the setup says, and a referee has nothing else to go by.
    player = BuiltinAgent("fixed", json.loads(json.dumps(setup.observation)), "")
    row = SuiteScenario(game="doom", scenario="basic")
    shown = []
    with closing(setup.start("basic")) as trained, open_game(row, player) as judged:
        for game in (trained, judged):
            assert isinstance(game, DoomGame)
            assert (game.options.screen, game.options.render) == ("320x240", "none")
            frame = a_frame(game)
            game.new_episode(3, frame)
            # The monster, which is an enemy, and no thing of any other kind.
            assert frame[1].any()
            assert not frame[2].any()
            shown.append(frame.tobytes())
    assert shown[0] == shown[1]
