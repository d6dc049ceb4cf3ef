from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from games.doom.bots import Bots
from games.doom.environment import DoomGame
from games.doom.observation import ObservationOptions
from games.doom.rewards import RewardWeights
from games.doom.scenarios import SCENARIOS
from tests.unit.engines import a_frame

if TYPE_CHECKING:
    from games.interface import Outcome

MATCH = replace(SCENARIOS["deathmatch_rockets"], timeout_tics=700)


def play(game: DoomGame, seed: int, decisions: int = 30) -> list[tuple]:
    """Play one episode at random, as decided by its seed, or the beginning of it."""
    choose = random.Random(seed)
    frame = a_frame(game)
    game.new_episode(seed, frame)
    record: list[tuple] = [(frame.tobytes(), game.variables)]
    for _ in range(decisions):
        outcome = game.make_action(choose.randrange(game.action_count), frame)
        record.append((frame.tobytes(), game.variables, outcome))
        if outcome.ended:
            break
    return record


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"count": 0}, r"bots\.count is 0; it must be in \[1, 15\]"),
        ({"count": 16}, r"bots\.count is 16; it must be in \[1, 15\]"),
        ({"count": 1, "skill": 101}, r"bots\.skill is 101; it must be in \[0, 100\]"),
        ({"count": 1, "health": 0}, r"bots\.health is 0; it must be in \[1, 200\]"),
    ],
)
def test_a_number_out_of_range_is_refused(numbers: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bots(**numbers)


def test_bots_are_refused_where_there_is_no_deathmatch() -> None:
    with pytest.raises(ValueError, match="bots cannot play basic"):
        DoomGame("basic", ObservationOptions(), bots=Bots(1))


def test_four_bots_are_four_opponents_in_every_episode() -> None:
    with DoomGame(MATCH, ObservationOptions(), bots=Bots(4)) as game:
        for seed in range(2):
            game.new_episode(seed, a_frame(game))
            state = game.get_state()
            assert state is not None
            (_, own), *others = state.players
            assert own == 0
            assert others == [("Anvil", 0), ("Bishop", 0), ("Cobalt", 0), ("Dagger", 0)]


def test_an_episode_is_that_of_its_seed_whatever_was_played_before() -> None:
    with DoomGame(MATCH, ObservationOptions(frame_skip=10), bots=Bots(4)) as game:
        to_the_end = play(game, 1, decisions=100)
        cut_short = play(game, 2, decisions=5)
        assert to_the_end[-1][-1].cut
        assert play(game, 1, decisions=100) == to_the_end
        assert play(game, 2, decisions=5) == cut_short
    assert to_the_end[0] != cut_short[0]
    with DoomGame(MATCH, ObservationOptions(frame_skip=10), bots=Bots(4)) as another:
        assert play(another, 2, decisions=5) == cut_short


def test_who_dies_comes_back_and_the_episode_goes_on() -> None:
    weights = RewardWeights(suicide=-5.0, death=-1.0)
    options = ObservationOptions(frame_skip=10)
    with DoomGame(
        MATCH,
        options,
        bots=Bots(4),
        action_combinations="move_f;turn_lr;attack",
        reward_weights=weights,
    ) as game:
        # In the last of these a bot appears right where the player stands.
        for seed in (0, 1, 3):
            record = play(game, seed, decisions=100)
            assert record[0][1]["DEATHCOUNT"] == 0
            assert record[0][1]["HEALTH"] == 100
            variables, last = record[-1][1:]
            assert last.cut
            outcomes: list[Outcome] = [entry[2] for entry in record[1:]]
            kinds = [event.kind for outcome in outcomes for event in outcome.events]
            deaths = kinds.count("death") + kinds.count("suicide")
            assert deaths == variables["DEATHCOUNT"] > 0
            assert deaths - 1 <= kinds.count("respawn") <= deaths
            assert kinds.count("suicide") >= -variables["FRAGCOUNT"] > 0
            shaped = -5.0 * kinds.count("suicide") - kinds.count("death")
            assert sum(outcome.reward for outcome in outcomes) == game.total_reward + shaped


def test_an_episode_tells_its_kills_and_deaths() -> None:
    weights = RewardWeights(kill=2.0, death=-1e-3, suicide=-1e-3)
    options = ObservationOptions(frame_skip=10)
    with DoomGame(MATCH, options, bots=Bots(8, health=1), reward_weights=weights) as game:
        told = []
        for seed in range(3):
            record = play(game, seed, decisions=100)
            events = [event for *_, outcome in record[1:] for event in outcome.events]
            kills = sum(event.amount for event in events if event.kind == "kill")
            deaths = sum(event.kind in {"death", "suicide"} for event in events)
            suicides = sum(event.kind == "suicide" for event in events)
            assert game.facts == {"kills": kills, "deaths": deaths}
            # What the engine counts is both at once, and of bots no kill.
            assert game.variables["FRAGCOUNT"] == kills - suicides
            assert game.variables["KILLCOUNT"] == 0
            assert game.total_reward == kills
            told.append((kills, deaths, suicides))
    assert all(map(sum, zip(*told, strict=True))), told


def frags_of(bots: Bots) -> list[int]:
    """Let the bots fight for 19 seconds of three episodes, and count for everybody."""
    options = ObservationOptions(frame_skip=35)
    frags = []
    with DoomGame(MATCH, options, bots=bots, action_combinations="turn_lr") as game:
        for seed in range(3):
            game.new_episode(seed, a_frame(game))
            for _ in range(19):
                game.make_action(0, a_frame(game))
            assert game.variables["HEALTH"] <= 100
            state = game.get_state()
            assert state is not None
            frags += [count for _, count in state.players]
    return frags


def test_the_weak_die_sooner() -> None:
    weak, strong = frags_of(Bots(4, health=1)), frags_of(Bots(4, health=200))
    assert sum(map(abs, weak)) > sum(map(abs, strong))


def test_skill_changes_how_they_play() -> None:
    assert frags_of(Bots(4, skill=0)) != frags_of(Bots(4, skill=100))
