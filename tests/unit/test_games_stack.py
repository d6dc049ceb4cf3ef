from __future__ import annotations

import numpy as np

from games.interface import ObservationSpace
from games.stack import Stack

SPACE = ObservationSpace(frame_channels=2, history=3, height=1, width=1)


def seen(stack: Stack) -> list[int]:
    return stack.observation[:, 0, 0].tolist()


def test_observation_begins_with_the_first_frame_and_moves_on() -> None:
    stack = Stack(SPACE)
    stack.newest[:, 0, 0] = 1, 11
    stack.begin()
    assert seen(stack) == [1, 11, 1, 11, 1, 11]
    for value in (2, 3, 4):
        stack.newest[:, 0, 0] = value, 10 + value
        stack.push()
    assert seen(stack) == [2, 12, 3, 13, 4, 14]
    assert stack.observation.shape == SPACE.shape
    assert stack.observation.dtype == np.uint8


def test_next_episode_knows_nothing_of_the_last_one() -> None:
    stack = Stack(SPACE)
    for value in (1, 2, 3):
        stack.newest[:] = value
        stack.push()
    stack.newest[:] = 9
    stack.begin()
    assert seen(stack) == [9] * 6


def test_history_of_one_is_the_newest_frame() -> None:
    stack = Stack(ObservationSpace(frame_channels=1, history=1, height=2, width=3))
    stack.begin()
    stack.newest[:] = np.arange(6).reshape(1, 2, 3)
    stack.push()
    assert np.array_equal(stack.observation, stack.newest)
