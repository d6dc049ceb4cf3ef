"""What a run asks for of its game is what is played."""

from __future__ import annotations

from contextlib import closing

from tests.unit.engines import a_frame
from trainer.config import parse
from trainer.games import game_setup


def test_episode_tics_are_the_clock_whatever_the_scenario_has() -> None:
    config = parse({"scenario": "defend_the_line", "episode_tics": 41, "frame_skip": 10})
    with closing(game_setup(config).start("defend_the_line")) as game:
        frame = a_frame(game)
        game.new_episode(3, frame)
        outcomes = [game.make_action(0, frame) for _ in range(5)]
    assert [(outcome.ended, outcome.cut) for outcome in outcomes] == [(False, False)] * 4 + [
        (True, True)
    ]
