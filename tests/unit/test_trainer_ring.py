from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from games.interface import ObservationSpace
from trainer.ring import CUT, ENDED, GOES_ON, Ring, RingShape
from trainer.shared import Column


def a_ring(history: int = 3, *, games: int = 2, rollout_steps: int = 4, windows: int = 3) -> Ring:
    space = ObservationSpace(frame_channels=2, history=history, height=2, width=3)
    return Ring(RingShape(space=space, games=games, rollout_steps=rollout_steps, windows=windows))


def play(ring: Ring, ends: np.ndarray) -> list[list[list[int]]]:
    """Play steps whose ends are [steps, games]; answers by step and game the episode so far.

    The frame of step t of game g shows 10 t + g, wrapped to a byte, in one channel and its
    complement in the other.
    """
    steps, games = ends.shape
    episodes: list[list[int]] = [[] for _ in range(games)]
    record = []
    for step in range(steps + 1):
        slot = step % ring.length
        for game in range(games):
            value = (10 * step + game) % 256
            ring["frames"][slot, game, 0] = value
            ring["frames"][slot, game, 1] = 255 - value
            ring["ages"][slot, game] = len(episodes[game])
            episodes[game].append(value)
        record.append([list(episode) for episode in episodes])
        if step < steps:
            ring["ends"][slot] = ends[step]
            for game in np.flatnonzero(ends[step] != GOES_ON):
                episodes[game] = []
    return record


def stacked(episode: list[int], history: int) -> list[int]:
    """What an observation shows of an episode: its newest frames, the first one repeated."""
    newest = ([episode[0]] * history + episode)[-history:]
    return [value for frame in newest for value in (frame, 255 - frame)]


@given(
    st.integers(1, 4),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.2, 0.7]),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=40)
def test_an_observation_is_the_newest_frames_of_its_episode(
    history: int, steps: int, ending: float, seed: int
) -> None:
    """Across borders of windows, around the end of the ring, and at the start of an episode."""
    ring = a_ring(history)
    ends = (np.random.default_rng(seed).random((steps, 2)) < ending).astype(np.uint8) * ENDED
    record = play(ring, ends)
    held = range(max(0, steps + 1 - ring.length + history - 1), steps + 1)
    asked = [(step, game) for step in held for game in range(2)]
    where = np.array(asked, dtype=np.int64)
    found = ring.observations(where[:, 0], where[:, 1])
    assert found.shape == (len(asked), *ring.space.shape)
    assert found.dtype == np.uint8
    for observation, (step, game) in zip(found, asked, strict=True):
        assert observation[:, 0, 0].tolist() == stacked(record[step][game], history)
        assert (observation == observation[:, :1, :1]).all()


def test_observations_are_copies() -> None:
    for history in (1, 3):
        ring = a_ring(history)
        play(ring, np.zeros((3, 2), dtype=np.uint8))
        found = ring.observations(np.array([2]), np.array([1]))
        before = found.copy()
        ring["frames"][:] = 0
        assert np.array_equal(found, before)


def test_a_frame_is_stored_once_however_long_the_history() -> None:
    sizes = {a_ring(history).size_bytes for history in (1, 3, 16)}
    assert len(sizes) == 1
    space = ObservationSpace(frame_channels=1, history=4, height=36, width=64)
    ring = Ring(RingShape(space=space, games=8, rollout_steps=8, windows=10))
    assert ring["frames"].nbytes == 8 * 80 * 36 * 64
    assert ring.size_bytes < 1.02 * ring["frames"].nbytes


def test_leaving_every_episode_cuts_those_under_way_alone() -> None:
    ring = a_ring(games=3)
    ring["ends"][:] = GOES_ON
    ring["ends"][16 % ring.length] = [GOES_ON, ENDED, CUT]
    ring.cut(16)
    assert ring["ends"][16 % ring.length].tolist() == [CUT, ENDED, CUT]
    assert np.count_nonzero(ring["ends"]) == 3


@pytest.mark.parametrize("steps", [5, 12, 31])
def test_a_loaded_ring_shows_what_was_shown(steps: int) -> None:
    ring = a_ring()
    ends = (np.random.default_rng(0).random((steps, 2)) < 0.3).astype(np.uint8) * ENDED
    play(ring, ends)
    state = ring.state(steps)
    assert {len(rows) for rows in state.values()} == {min(steps, ring.length)}
    loaded = a_ring()
    loaded.load(state)
    # Not the frame after the last step: it is shown anew when an episode begins there.
    held = np.arange(max(0, steps - ring.length + 3), steps)
    for game in range(2):
        where = held, np.full_like(held, game)
        assert np.array_equal(loaded.observations(*where), ring.observations(*where))
    assert np.array_equal(loaded["ends"], ring["ends"])

    ring["rewards"][:] = 9
    assert not state["rewards"].any()


def test_what_an_algorithm_keeps_lies_beside_the_steps_and_states_by_window() -> None:
    space = ObservationSpace(frame_channels=1, history=1, height=2, width=2)
    shape = RingShape(
        space=space,
        games=2,
        rollout_steps=4,
        windows=3,
        variables=2,
        features=1,
        state_size=6,
        columns={"log_probs": Column((), "float32"), "hints": Column((3,), "int32")},
    )
    ring = Ring(shape)
    assert ring["log_probs"].shape == (12, 2)
    assert ring["hints"].shape == (12, 2, 3)
    assert ring["variables"].shape == (12, 2, 2)
    assert ring["features"].shape == (12, 2, 1)
    assert ring["states"].shape == (3, 2, 6)
    assert {"log_probs", "hints"} < set(ring.state(5))


def test_slots_of_a_window_go_round() -> None:
    ring = a_ring()
    assert ring.slots(8, 4).tolist() == [8, 9, 10, 11]
    assert ring.slots(22, 4).tolist() == [10, 11, 0, 1]
