"""What a network remembers ends with the episode, whoever plays."""

from __future__ import annotations

import numpy as np
import pytest

from tests.toy import BRIEF, LampGame, Parts, a_config, parts

WINDOWS = 6


def played(rollout_steps: int) -> Parts:
    """Let an untrained network with a memory play some windows greedily."""
    config = a_config(
        "DRQN", games=8, rollout_steps=rollout_steps, replay_capacity=1000, learning_starts=200
    )
    made = parts(config, BRIEF)
    with made.alone() as players:
        players.restart(0)
        for iteration in range(WINDOWS):
            players.start(iteration, 0.0)
    return made


@pytest.mark.parametrize("rollout_steps", [LampGame.DECISIONS, LampGame.DECISIONS - 1])
def test_memory_is_empty_only_where_an_episode_begins(rollout_steps: int) -> None:
    made = played(rollout_steps)
    for window in range(WINDOWS + 1):
        begins = made.ring["ages"][window * rollout_steps] == 0
        is_empty = (made.ring["states"][window] == 0).all(axis=1)
        assert np.array_equal(is_empty, begins), window


def test_episodes_that_begin_alike_begin_with_the_same_action() -> None:
    ring = played(LampGame.DECISIONS).ring
    begins = np.nonzero(ring["ages"][: WINDOWS * LampGame.DECISIONS] == 0)
    lit = ring["frames"][begins][:, 0, 0].argmax(axis=1)
    assert set(lit.tolist()) == {0, 4, 8}
    for lamp in (0, 4, 8):
        assert len(set(ring["actions"][begins][lit == lamp].tolist())) == 1
