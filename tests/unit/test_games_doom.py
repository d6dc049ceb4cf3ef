from __future__ import annotations

import random

import cv2
import numpy as np
import pytest
import vizdoom

from games.doom.environment import VARIABLES, DoomGame
from games.doom.observation import ObservationOptions
from games.doom.rewards import RewardWeights


def a_frame(game: DoomGame) -> np.ndarray:
    space = game.observation_space
    return np.zeros((space.frame_channels, space.height, space.width), dtype=np.uint8)


def play(game: DoomGame, seed: int, decisions: int = 40) -> list[tuple]:
    """Play one episode at random, as decided by its seed, or the beginning of it."""
    choose = random.Random(seed)
    frame = a_frame(game)
    game.new_episode(seed, frame)
    record: list[tuple] = [(frame.tobytes(),)]
    for _ in range(decisions):
        outcome = game.make_action(choose.randrange(game.action_count), frame)
        record.append((frame.tobytes(), outcome.reward, outcome.ended, outcome.cut))
        if outcome.ended:
            break
    return record


@pytest.mark.parametrize("scenario", ["basic", "health_gathering", "deathmatch"])
def test_random_player_plays_three_episodes(scenario: str) -> None:
    with DoomGame(scenario, ObservationOptions()) as game:
        episodes = [play(game, seed, decisions=30) for seed in range(3)]
        assert all(len(episode) > 1 for episode in episodes)
        assert episodes[0] != episodes[1]
        assert [play(game, seed, decisions=30) for seed in range(3)] == episodes


def test_two_games_of_one_seed_are_the_same_game() -> None:
    with DoomGame("basic", ObservationOptions()) as first:
        play(first, 1)
        expected = play(first, 2)
    with DoomGame("basic", ObservationOptions()) as second:
        assert play(second, 2) == expected


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (ObservationOptions(), (4, 36, 64)),
        (ObservationOptions(height=60, width=108), (4, 60, 108)),
        (ObservationOptions(height=200, width=300, history=1), (1, 200, 300)),
        (ObservationOptions(color="rgb", history=2), (6, 36, 64)),
        (ObservationOptions(depth=True, labels=True, automap=True, history=1), (4, 36, 64)),
        (ObservationOptions(color="rgb", depth=True, history=3), (12, 36, 64)),
        (ObservationOptions(color="rgb", automap=True, history=1), (4, 36, 64)),
        (ObservationOptions(label_maps="0", labels=True, history=1), (2, 36, 64)),
        (ObservationOptions(height=60, width=108, screen="400x225"), (4, 60, 108)),
    ],
)
def test_every_option_changes_the_declared_space_and_the_frame(
    options: ObservationOptions, shape: tuple[int, int, int]
) -> None:
    assert options.space.shape == shape
    with DoomGame("basic", options) as game:
        frame = a_frame(game)
        # One channel at a time is contiguous, as in a ring of the steps of many games.
        ring = np.zeros((frame.shape[0], 2, *frame.shape[1:]), dtype=np.uint8)
        game.new_episode(0, frame)
        game.new_episode(0, ring[:, 1])
        assert np.array_equal(frame, ring[:, 1])
        first = frame.copy()
        game.make_action(1, frame)
        assert not np.array_equal(frame, first)
        assert not ring[:, 0].any()
    channels_seen = [channel.any() for channel in frame]
    # The automap begins as an empty sheet of one colour.
    assert all(channels_seen[: len(channels_seen) - options.automap])


def test_channels_are_the_shrunken_buffers_in_their_order() -> None:
    options = ObservationOptions(color="rgb", depth=True, labels=True)
    with DoomGame("basic", options) as game:
        frame = a_frame(game)
        game.new_episode(0, frame)
        state = game.get_state()
    assert state is not None
    size = (options.width, options.height)
    screen = cv2.resize(state.buffers["screen"], size, interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(frame[:3], np.moveaxis(screen, 2, 0))
    depth = cv2.resize(state.buffers["depth"], size, interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(frame[3], depth)
    assert set(np.unique(frame[4])) <= set(np.unique(state.buffers["labels"]))


def test_every_label_map_is_a_channel_in_place_of_the_labels() -> None:
    options = ObservationOptions(label_maps="0;1+3", labels=True, automap=True, history=2)
    assert options.space.frame_channels == 4
    assert options.space.shape == (8, 36, 64)


def test_label_maps_show_where_the_enemies_stand() -> None:
    options = ObservationOptions(history=1, label_maps="1;0", screen="160x120")
    with DoomGame("basic", options) as game:
        frame = a_frame(game)
        game.new_episode(3, frame)
        labels = game._engine.get_state().labels
    _, items, enemies = frame
    (monster,) = [label for label in labels if label.object_category == "Monster"]
    assert not items.any()
    row, column = np.argwhere(enemies == enemies.max()).mean(axis=0)
    assert column == pytest.approx((monster.x + monster.width / 2) * 64 / 160, abs=2)
    assert row == pytest.approx((monster.y + monster.height / 2) * 36 / 120, abs=2)


def first_screen(**options: str) -> np.ndarray:
    with DoomGame("basic", ObservationOptions(history=1, **options)) as game:
        frame = a_frame(game)
        game.new_episode(3, frame)
        return frame[0].astype(int)


def test_what_is_drawn_can_be_chosen() -> None:
    plain, with_weapon = first_screen(render="none"), first_screen(render="weapon")
    with_hud = first_screen(render="hud+weapon")
    # Basic draws the weapon and nothing else.
    assert np.array_equal(first_screen(), with_weapon)
    changed = plain != with_weapon
    assert changed[18:, 20:44].any()
    assert not changed[:18].any()
    assert (with_hud != with_weapon)[-5:].any(axis=0).all()


def test_a_screen_that_is_chosen_is_as_wide_as_it_says() -> None:
    """A wider screen shows more to both sides, and is averaged down."""
    narrow, wide = first_screen(screen="160x120"), first_screen(screen="400x225")
    assert np.abs(narrow - wide).mean() > 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"screen": "123x45"}, "screen: must be one of 160x120"),
        ({"render": "weapon+laser"}, "hud"),
        ({"render": "none+weapon"}, "hud"),
        ({"label_maps": "0;4"}, "kinds 0 to 3"),
        ({"label_maps": "0+1;1"}, "at most once"),
        ({"label_maps": "0;"}, "kinds 0 to 3"),
    ],
)
def test_options_that_no_game_can_show_are_refused(options: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ObservationOptions(**options)


def test_frame_skip_decides_how_long_a_decision_lasts() -> None:
    with DoomGame("basic", ObservationOptions(frame_skip=10)) as game:
        frame = a_frame(game)
        game.new_episode(0, frame)
        before = game.get_state()
        outcome = game.make_action(1, frame)
        after = game.get_state()
    assert outcome.reward == -10
    assert before is not None
    assert after is not None
    assert after.tic - before.tic == 10


def test_episode_that_ran_out_of_time_is_cut() -> None:
    with DoomGame("basic", ObservationOptions(frame_skip=30)) as game:
        frame = a_frame(game)
        game.new_episode(0, frame)
        outcomes = [game.make_action(1, frame) for _ in range(9)]
        last = frame.copy()
        outcomes.append(game.make_action(1, frame))
        assert np.array_equal(frame, last)
        assert game.is_episode_finished()
        assert game.get_state() is None
        assert game.total_reward == sum(outcome.reward for outcome in outcomes) == -300
    assert [(outcome.ended, outcome.cut) for outcome in outcomes[-2:]] == [
        (False, False),
        (True, True),
    ]


def test_variables_match_the_engine() -> None:
    with DoomGame("deathmatch", ObservationOptions()) as game:
        play(game, 3, decisions=20)
        variables = game.variables
        read = game._engine.get_game_variable
        assert variables == {name: read(getattr(vizdoom.GameVariable, name)) for name in VARIABLES}
    assert variables["HEALTH"] > 0
    assert (variables["POSITION_X"], variables["POSITION_Y"]) != (0.0, 0.0)


def test_deaths_are_those_of_the_episode() -> None:
    with DoomGame("health_gathering", ObservationOptions(frame_skip=35)) as game:
        for seed in range(2):
            frame = a_frame(game)
            game.new_episode(seed, frame)
            assert game.variables["DEATHCOUNT"] == 0
            while not game.make_action(0, frame).ended:
                pass
            assert game.variables["DEATHCOUNT"] == 1


def test_shaped_reward_is_added_to_the_game_but_not_to_its_score() -> None:
    weights = RewardWeights(use_ammo=-3.0)
    options = ObservationOptions(frame_skip=8)
    with DoomGame("basic", options, action_combinations="attack", reward_weights=weights) as game:
        frame = a_frame(game)
        game.new_episode(0, frame)
        outcomes = [game.make_action(0, frame) for _ in range(3)]
        shots = sum(event.kind == "use_ammo" for outcome in outcomes for event in outcome.events)
        assert shots > 0
        total = sum(outcome.reward for outcome in outcomes)
        assert total == pytest.approx(game.total_reward - 3.0 * shots)
