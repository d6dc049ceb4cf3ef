from __future__ import annotations

import numpy as np
import pytest

from games.interface import ObservationSpace
from trainer.replay import CUT, ENDED, GOES_ON, Replay

SPACE = ObservationSpace(frame_channels=1, history=3, height=2, width=2)


def frames(*values: int) -> np.ndarray:
    return np.stack([np.full((1, 2, 2), value, dtype=np.uint8) for value in values])


def remember(replay: Replay, ends: list[int], *, first: int = 1) -> None:
    """Play one game whose frame, action and reward at step i all say first + i."""
    for index, end in enumerate(ends):
        value = first + index
        replay.add(
            frames(value),
            np.array([value % 5]),
            np.array([value], dtype=np.float32),
            np.array([end], dtype=np.uint8),
        )


def transitions(replay: Replay, *, n_step: int = 1, gamma: float = 0.5) -> dict[int, tuple]:
    """Draw until everything has been seen; by the newest frame of the state."""
    batch = replay.sample(2000, n_step=n_step, gamma=gamma, generator=np.random.default_rng(0))
    newest = batch.observations[:, :, 0, 0]
    following = batch.next_observations[:, :, 0, 0]
    return {
        int(state[-1]): (
            state.tolist(),
            int(action),
            float(total),
            float(discount),
            after.tolist() if discount else None,
        )
        for state, action, total, discount, after in zip(
            newest, batch.actions, batch.returns, batch.discounts, following, strict=True
        )
    }


def test_one_step_transitions_repeat_the_first_frame_of_an_episode() -> None:
    replay = Replay(SPACE, games=1, capacity=20)
    remember(replay, [GOES_ON, GOES_ON, ENDED, GOES_ON, GOES_ON])
    assert transitions(replay) == {
        1: ([1, 1, 1], 1, 1.0, 0.5, [1, 1, 2]),
        2: ([1, 1, 2], 2, 2.0, 0.5, [1, 2, 3]),
        3: ([1, 2, 3], 3, 3.0, 0.0, None),
        4: ([4, 4, 4], 4, 4.0, 0.5, [4, 4, 5]),
    }


def test_returns_stop_at_the_end_of_an_episode() -> None:
    replay = Replay(SPACE, games=1, capacity=20)
    remember(replay, [GOES_ON, GOES_ON, ENDED, GOES_ON, GOES_ON, GOES_ON, GOES_ON])
    found = transitions(replay, n_step=3)
    assert found[1] == ([1, 1, 1], 1, 1 + 0.5 * 2 + 0.25 * 3, 0.0, None)
    assert found[2] == ([1, 1, 2], 2, 2 + 0.5 * 3, 0.0, None)
    assert found[4] == ([4, 4, 4], 4, 4 + 0.5 * 5 + 0.25 * 6, 0.125, [5, 6, 7])


def test_a_cut_episode_keeps_the_value_of_its_last_state() -> None:
    replay = Replay(SPACE, games=1, capacity=20)
    remember(replay, [GOES_ON, GOES_ON, CUT, GOES_ON, GOES_ON, GOES_ON, GOES_ON])
    found = transitions(replay, n_step=3)
    assert found[1] == ([1, 1, 1], 1, 1 + 0.5 * 2, 0.25, [1, 2, 3])
    assert 3 not in found


def test_leaving_all_episodes_cuts_them() -> None:
    replay = Replay(SPACE, games=1, capacity=20)
    remember(replay, [GOES_ON, GOES_ON])
    replay.cut()
    remember(replay, [GOES_ON, GOES_ON], first=3)
    assert transitions(replay) == {
        1: ([1, 1, 1], 1, 1.0, 0.5, [1, 1, 2]),
        3: ([3, 3, 3], 3, 3.0, 0.5, [3, 3, 4]),
    }


def test_an_ended_episode_stays_ended_when_left() -> None:
    replay = Replay(SPACE, games=1, capacity=20)
    remember(replay, [GOES_ON, ENDED])
    replay.cut()
    remember(replay, [GOES_ON, GOES_ON], first=3)
    assert transitions(replay)[2][3] == 0.0


def test_the_oldest_steps_make_room_and_histories_stay_whole() -> None:
    replay = Replay(SPACE, games=1, capacity=10)
    for count in range(1, 40):
        remember(replay, [GOES_ON], first=count)
        assert len(replay) == min(count, 10)
    found = transitions(replay)
    # Steps 30 to 39 are held; 30 and 31 have lost the frames before them, 39 has no successor yet.
    assert set(found) == set(range(32, 39))
    assert all(state == [value - 2, value - 1, value] for value, (state, *_) in found.items())


def test_games_do_not_mix() -> None:
    replay = Replay(SPACE, games=2, capacity=40)
    for value in range(1, 11):
        replay.add(
            frames(value, 100 + value),
            np.array([0, 1]),
            np.array([0, 1], dtype=np.float32),
            np.array([GOES_ON, GOES_ON], dtype=np.uint8),
        )
    for value, (state, action, total, _, following) in transitions(replay).items():
        is_second = value > 100
        assert (action, total) == (int(is_second), float(is_second))
        assert all((frame > 100) == is_second for frame in state + following)


@pytest.mark.parametrize("steps", [5, 10, 27])
def test_persisted_replay_draws_the_same_transitions(steps: int) -> None:
    replay = Replay(SPACE, games=1, capacity=10)
    remember(replay, [ENDED if index % 4 == 3 else GOES_ON for index in range(steps)])
    copy = Replay(SPACE, games=1, capacity=10)
    copy.load(replay.state())
    assert len(copy) == len(replay)
    assert transitions(copy) == transitions(replay)
    remember(replay, [GOES_ON, GOES_ON], first=50)
    remember(copy, [GOES_ON, GOES_ON], first=50)
    assert transitions(copy) == transitions(replay)
