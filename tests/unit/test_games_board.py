"""Board games are fair, repeatable, and end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import Any

import pytest

from games import board
from games.board import BoardGame
from games.board.environment import nest

# Actions of a game that the first seat wins, and of one that nobody does.
WON = {"connect_four": (0, 1, 0, 1, 0, 1, 0), "tic_tac_toe": (0, 3, 1, 4, 2)}
DRAWN = {
    "connect_four": tuple(
        column
        for columns in ((0, 1), (2, 3), (4, 5))
        for pair in (columns, columns, columns[::-1], columns[::-1], columns, columns)
        for column in pair
    )
    + (6,) * 6,
    "tic_tac_toe": (0, 1, 2, 4, 3, 5, 7, 6, 8),
}


def play(name: str, seed: int) -> list[Any]:
    """Play random against random; keep every position and the scores."""
    game, choose = BoardGame(name), random.Random(seed)
    game.reset(seed)
    record: list[Any] = [game.state()]
    while game.seat is not None:
        game.act(choose.choice(game.legal_actions()))
        record.append(game.state())
    return [*record, game.scores()]


@pytest.mark.parametrize("name", board.NAMES)
def test_the_same_seed_and_actions_are_the_same_game(name: str) -> None:
    assert play(name, 3) == play(name, 3)
    assert play(name, 3) != play(name, 4)


@pytest.mark.parametrize("name", board.NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_random_against_random_ends_with_a_legal_result(name: str, seed: int) -> None:
    *positions, scores = play(name, seed)
    assert scores in {(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)}
    assert 5 <= len(positions) - 1 <= 42
    assert json.loads(json.dumps(positions)) == positions


@pytest.mark.parametrize("name", board.NAMES)
def test_who_won_scores_1_and_a_draw_a_half(name: str) -> None:
    game = BoardGame(name)
    for actions, scores in ((WON[name], (1.0, 0.0)), (DRAWN[name], (0.5, 0.5))):
        game.reset(0)
        for action in actions:
            game.act(action)
        assert (game.seat, game.legal_actions(), game.scores()) == (None, [], scores)


@pytest.mark.parametrize("name", board.NAMES)
def test_each_seat_sees_its_own_pieces_first(name: str) -> None:
    game = BoardGame(name)
    game.reset(0)
    game.act(0)
    assert game.seat == 1
    [[row, column]] = [
        (row, column)
        for row, cells in enumerate(game.state()["board"])
        for column, piece in enumerate(cells)
        if piece == 1
    ]
    for seat, cell in ((0, [1, 0]), (1, [0, 1])):
        seen = game.observation(seat)
        assert nest(seen.shape, seen.values)[row][column] == cell


def test_an_illegal_action_changes_nothing() -> None:
    game = BoardGame("tic_tac_toe")
    game.reset(0)
    game.act(4)
    before = game.state()
    for action in (4, 9, -1):
        with pytest.raises(ValueError, match="none of"):
            game.act(action)
    assert game.state() == before
    assert game.seat == 1


def test_a_game_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'chess' is none of connect_four, tic_tac_toe"):
        BoardGame("chess")


def test_whoever_only_names_board_games_loads_no_engine() -> None:
    code = "import sys, games.board; sys.exit('pettingzoo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_names_library_and_rules() -> None:
    assert BoardGame("connect_four").environment_version == "pettingzoo 1.27.0 connect_four_v3"
