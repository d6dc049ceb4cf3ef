"""What every game promises, tried on all of them and on those that games/README.md adds."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from games.catch import CatchGame
from games.catch.environment import CELLS, PADDLE_CELLS
from games.doom.environment import DoomGame
from games.doom.observation import ObservationOptions
from games.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from games.interface import Game

README = Path(__file__).parents[2] / "games" / "README.md"


def read_readme() -> dict[str, Any]:
    """Run the page's code blocks, in order."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        exec(compile(block, README, "exec"), names)
    return names


def coin_game() -> Game:
    return read_readme()["CoinGame"]()


def started_doom() -> Game:
    game = DoomGame("basic", ObservationOptions())
    game.start()
    return game


def frame_of(game: Game, fill: int = 0) -> np.ndarray:
    space = game.observation_space
    return np.full((space.frame_channels, space.height, space.width), fill, dtype=np.uint8)


def play(game: Game, seed: int, *, decisions: int = 300) -> list[tuple]:
    """Play an episode with actions drawn from its seed; keep all that a player gets."""
    choose, frame = random.Random(seed), frame_of(game)
    game.new_episode(seed, frame)
    record: list[tuple] = [(frame.tobytes(), 0.0, False, False)]
    for _ in range(decisions):
        outcome = game.make_action(choose.randrange(game.action_count), frame)
        record.append((frame.tobytes(), outcome.reward, outcome.ended, outcome.cut))
        if outcome.ended:
            break
    return record


@pytest.mark.parametrize("make", [started_doom, CatchGame, coin_game])
def test_a_game_keeps_its_promises(make: Callable[[], Game]) -> None:
    game = make()
    try:
        first = play(game, 5)
        assert play(game, 6)[0] != first[0]
        assert play(game, 5) == first
        assert game.total_reward == pytest.approx(sum(step[1] for step in first))
        assert first[-1][2]
        assert first[-1][0] == first[-2][0]
        for fill in (0, 255):
            frame = frame_of(game, fill)
            game.new_episode(5, frame)
            assert frame.tobytes() == first[0][0]
        assert len(game.features) == len(game.feature_names)
        assert all(isinstance(value, float) for value in game.variables.values())
    finally:
        game.close()
        game.close()


def test_the_readme_plays_and_adds_a_scenario() -> None:
    names = read_readme()
    assert names["outcome"].reward in {-1.0, 1.0}
    assert names["stack"].observation.shape == (4, 36, 36)
    with DoomGame(names["hurry"], ObservationOptions()) as game:
        assert game.actions == [("MOVE_LEFT",), ("MOVE_RIGHT",), ("ATTACK",)]
        assert len(play(game, 1, decisions=25)) > 1


def test_catch_is_lost_by_waiting_and_won_by_following_the_ball() -> None:
    game, frame = CatchGame(), frame_of(CatchGame())
    scores: dict[str, list[float]] = {"waiting": [], "following": []}
    for seed in range(100):
        for name, rewards in scores.items():
            game.new_episode(seed, frame)
            decisions, outcome = 0, None
            while outcome is None or not outcome.ended:
                place = game.variables
                middle = place["PADDLE_X"] + PADDLE_CELLS // 2
                step = int(np.sign(place["BALL_X"] - middle)) if name == "following" else 0
                outcome = game.make_action(1 + step, frame)
                decisions += 1
            assert decisions == CELLS - 1
            rewards.append(outcome.reward)
    assert scores["following"] == [1.0] * 100
    # Three cells of twelve are under the paddle.
    assert -0.8 < np.mean(scores["waiting"]) < -0.2


def test_catch_shows_ball_and_paddle_and_nothing_of_before() -> None:
    game = CatchGame(history=2)
    stack = Stack(game.observation_space)
    game.new_episode(3, stack.newest)
    stack.begin()
    assert stack.observation.shape == (2, 36, 36)
    lit = 9 * (1 + PADDLE_CELLS) * 255
    for _ in range(5):
        assert stack.newest.sum() == lit
        game.make_action(0, stack.newest)
        stack.push()
    assert not np.array_equal(stack.observation[0], stack.observation[1])
