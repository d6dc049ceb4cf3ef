from __future__ import annotations

import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import vizdoom

from games.doom.engine import EngineDiedError, EngineError
from games.doom.multiplayer import Match
from games.doom.observation import ObservationOptions
from games.doom.scenarios import SCENARIOS
from games.doom.script import Op, Script, Trigger, assemble
from games.doom.wad import Lump, read_wad, write_wad
from tests.unit.engines import a_frame, own_engines, write_arenas

if TYPE_CHECKING:
    import numpy as np

ROCKETS = replace(SCENARIOS["deathmatch_rockets"], timeout_tics=60)
DUEL = replace(SCENARIOS["self_play"], timeout_tics=24)

# An action of a line with one argument, which is 0: Exit_Normal (https://zdoom.org/wiki/Exit_Normal).
_EXIT = (9, 243, 0)


def frames_of(match: Match) -> list[np.ndarray]:
    return [a_frame(seat) for seat in match.seats]


def play(match: Match, seed: int) -> list[tuple]:
    """Play a match to its end, each player at random, as decided by the seed."""
    choose = random.Random(seed)
    frames = frames_of(match)
    match.new_episode(seed, frames)
    seen = [seat.features for seat in match.seats]
    record: list[tuple] = [([frame.tobytes() for frame in frames], seen)]
    for _ in range(100):
        actions = [choose.randrange(match.action_count) for _ in match.seats]
        outcomes = match.make_actions(actions, frames)
        record.append((outcomes, match.tics, [frame.tobytes() for frame in frames]))
        if outcomes[0].ended:
            return record
    raise AssertionError("the match does not end")


@pytest.mark.parametrize("players", [1, 9])
def test_a_match_of_one_or_nine_is_refused(players: int) -> None:
    with pytest.raises(ValueError, match=rf"players is {players}; it must be in \[2, 8\]"):
        Match(players, "self_play", ObservationOptions())


def test_four_players_finish_a_match_at_equal_tics() -> None:
    with Match(4, ROCKETS, ObservationOptions(frame_skip=5)) as match:
        (first, _), *decisions = play(match, 1)
        assert len(own_engines()) == 4
    assert len(set(first)) == 4
    assert [tics for _, tics, _ in decisions] == [[1 + 5 * k] * 4 for k in range(1, 13)]
    last = decisions[-1][0]
    assert [(outcome.ended, outcome.cut) for outcome in last] == [(True, True)] * 4
    assert not any(outcome.ended for outcomes, *_ in decisions[:-1] for outcome in outcomes)
    assert not own_engines()


def test_the_clock_ends_a_match_in_the_middle_of_a_decision() -> None:
    row = replace(DUEL, timeout_tics=21, living_reward=1.0)
    with Match(2, row, ObservationOptions(frame_skip=8)) as match:
        _, *decisions = play(match, 1)
        assert [tics for _, tics, _ in decisions] == [[9, 9], [17, 17], [22, 22]]
        for number, seat in enumerate(match.seats):
            played = [outcomes[number] for outcomes, *_ in decisions]
            assert [outcome.ended for outcome in played] == [False, False, True]
            assert played[-1].cut
            assert sum(outcome.reward for outcome in played) == seat.total_reward == 21


def test_a_map_that_ends_by_itself_ends_the_match(tmp_path: Path) -> None:
    exit_after = [Op.DELAY_DIRECT, 12, *_EXIT]
    behaviour = assemble([Script(Trigger.OPEN, exit_after)])
    wad = tmp_path / "short.wad"
    stock = read_wad(Path(vizdoom.scenarios_path) / "multi_duel.wad")
    write_wad(
        wad, [Lump(one.name, behaviour if one.name == "BEHAVIOR" else one.content) for one in stock]
    )
    row = replace(DUEL, timeout_tics=2100)
    with Match(2, row, ObservationOptions(frame_skip=8), wad=wad) as match:
        _, *decisions = play(match, 1)
    assert len(decisions) == 2
    assert [(outcome.ended, outcome.cut) for outcome in decisions[-1][0]] == [(True, False)] * 2


def test_players_see_each_other_and_a_match_repeats_itself() -> None:
    options = ObservationOptions(labels=True)
    with Match(2, DUEL, options, features=True) as match:
        record = play(match, 3)
        assert play(match, 3) == record
    enemies = [enemy for _, enemy in record[0][1]]
    assert enemies == [True, True]


def test_a_dead_engine_ends_the_match_for_all() -> None:
    with Match(2, DUEL, ObservationOptions()) as match:
        frames = frames_of(match)
        match.new_episode(1, frames)
        os.kill(match.seats[1].engine_pid, signal.SIGKILL)
        with pytest.raises(EngineDiedError, match=r"player 2 of 2 ended the match.* SIGKILL"):
            match.make_actions([0, 0], frames)
        assert not own_engines()
        match.new_episode(1, frames)
        match._tic_deadline_s = 0.5
        os.kill(match.seats[1].engine_pid, signal.SIGSTOP)
        with pytest.raises(EngineError, match=r"the match stood still for 0\.5 s"):
            match.make_actions([0, 0], frames)
        assert not own_engines()


def test_a_match_that_cannot_start_says_why(tmp_path: Path) -> None:
    wad = tmp_path / "broken.wad"
    write_wad(wad, [Lump("MAP01"), Lump("TEXTMAP", b'namespace = "zdoom";'), Lump("ENDMAP")])
    broken = Match(2, ROCKETS, ObservationOptions(), wad=wad)
    with broken as match, pytest.raises(EngineError, match=r"broken\.wad.*Map has no vertices"):
        match.new_episode(1, frames_of(match))
    late = Match(2, ROCKETS, ObservationOptions(), start_deadline_s=0.0)
    with late as match, pytest.raises(EngineError, match=r"player . of 2 ended .*within 0 s"):
        match.new_episode(1, frames_of(match))
    assert not own_engines()


def test_a_match_is_played_on_a_map_of_ones_own(tmp_path: Path) -> None:
    wad = write_arenas(tmp_path / "arena.wad", MAP01=512)
    with Match(2, ROCKETS, ObservationOptions(), wad=wad) as match:
        frames = frames_of(match)
        match.new_episode(1, frames)
        match.make_actions([0, 0], frames)
        assert match.tics == [5, 5]
