from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from games.interface import ObservationSpace
from trainer.replay import Replay, Transitions
from trainer.ring import CUT, ENDED, GOES_ON, Ring, RingShape

GAMES, STEPS, HISTORY, GAMMA = 2, 4, 3, 0.5


def a_replay(windows: int = 6) -> Replay:
    space = ObservationSpace(frame_channels=1, history=HISTORY, height=1, width=1)
    return Replay(Ring(RingShape(space=space, games=GAMES, rollout_steps=STEPS, windows=windows)))


def ring_of(replay: Replay) -> Ring:
    return replay._ring


def play(replay: Replay, ends: np.ndarray, *, since: int = 0) -> None:
    """Play [steps, games] whose frame, action and reward say which step and game it is."""
    ring = ring_of(replay)
    for step, row in enumerate(ends, start=since):
        slot, after = step % ring.length, (step + 1) % ring.length
        if step == since:
            ring["ages"][slot] = 0
            ring["frames"][slot, :, 0, 0, 0] = named(step, np.arange(GAMES))
        ring["actions"][slot] = named(step, np.arange(GAMES))
        ring["rewards"][slot] = named(step, np.arange(GAMES))
        ring["ends"][slot] = row
        ring["frames"][after, :, 0, 0, 0] = named(step + 1, np.arange(GAMES))
        ring["ages"][after] = np.where(row == GOES_ON, ring["ages"][slot] + 1, 0)
    replay.grow(since + len(ends))


def named(step: int | np.ndarray, game: int | np.ndarray) -> np.ndarray:
    """Number that tells a step of a game from all others nearby."""
    return (2 * np.asarray(step) + np.asarray(game)) % 256


def some_ends(steps: int, seed: int, *, going: float = 0.7) -> np.ndarray:
    chances = [going, (1 - going) / 2, (1 - going) / 2]
    draw = np.random.default_rng(seed)
    return draw.choice([GOES_ON, ENDED, CUT], (steps, GAMES), p=chances).astype(np.uint8)


def drawn(replay: Replay, *, n_step: int = 1, count: int = 2000, seed: int = 0) -> Transitions:
    generator = np.random.default_rng(seed)
    steps, games = replay.draw(count, n_step=n_step, generator=generator)
    return replay.transitions(steps, games, n_step=n_step, gamma=GAMMA)


@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_a_transition_is_what_a_plain_walk_comes_to(n_step: int, count: int, seed: int) -> None:
    replay = a_replay()
    ends = some_ends(count * STEPS + 4, seed)
    play(replay, ends)
    batch = drawn(replay, n_step=n_step, count=50)
    for index, (step, game) in enumerate(zip(batch.steps, batch.games, strict=True)):
        total, discount, at = 0.0, 1.0, step
        while at < step + n_step and ends[at, game] != CUT and discount:
            total += discount * named(at, game)
            discount *= GAMMA if ends[at, game] == GOES_ON else 0
            at += 1
        assert batch.actions[index] == named(step, game)
        assert batch.returns[index] == pytest.approx(total)
        assert batch.discounts[index] == discount
        if discount:
            assert batch.next_steps[index] == at


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("played", [4, 8, 20, 24, 28, 60])
def test_nothing_is_drawn_that_an_actor_may_be_writing_to(played: int, n_step: int) -> None:
    """Actors write the window after the last one played, and the first frame after that."""
    replay = a_replay()
    play(replay, some_ends(played, 1))
    ring = ring_of(replay)

    def everything() -> list[np.ndarray]:
        batch = drawn(replay, n_step=n_step)
        shown = [ring.observations(at, batch.games) for at in (batch.steps, batch.next_steps)]
        return [batch.returns, batch.discounts, batch.next_steps, batch.actions, *shown]

    before = everything()
    for step in range(played, played + STEPS):
        for name in ("frames", "ages", "actions", "rewards", "ends"):
            if step > played or name not in {"frames", "ages"}:
                ring[name][step % ring.length] = 77
    ring["frames"][(played + STEPS) % ring.length] = 77
    ring["ages"][(played + STEPS) % ring.length] = 77
    for first, second in zip(before, everything(), strict=True):
        assert np.array_equal(first, second)


def test_everything_else_is_drawn_evenly_but_for_cut_steps() -> None:
    replay = a_replay()
    ends = some_ends(40, 2)
    play(replay, ends)
    # 24 slots less a window, the frame after it, and two frames before the oldest step.
    oldest = 40 - 24 + STEPS + 1 + HISTORY - 1
    assert len(replay) == (40 - oldest) * GAMES
    batch = drawn(replay, n_step=3, count=20_000)
    steps, counts = np.unique(GAMES * batch.steps + batch.games, return_counts=True)
    wanted = [
        GAMES * step + game
        for step in range(oldest, 40 - 3)
        for game in range(GAMES)
        if ends[step, game] != CUT
    ]
    assert steps.tolist() == wanted
    np.testing.assert_allclose(counts / counts.mean(), 1, atol=0.15)


def test_a_replay_that_is_not_full_begins_at_the_beginning() -> None:
    replay = a_replay()
    assert len(replay) == 0
    play(replay, np.zeros((8, GAMES), dtype=np.uint8))
    assert len(replay) == 8 * GAMES
    assert set(drawn(replay, n_step=2).steps) == set(range(6))


def test_a_replay_that_begins_anew_knows_nothing_of_before() -> None:
    replay = a_replay()
    play(replay, np.zeros((40, GAMES), dtype=np.uint8))
    replay.load({}, played=40)
    assert len(replay) == 0
    play(replay, np.zeros((8, GAMES), dtype=np.uint8), since=40)
    assert len(replay) == 8 * GAMES
    batch = drawn(replay)
    assert set(batch.steps) == set(range(40, 47))
    first = batch.steps == 40
    shown = ring_of(replay).observations(batch.steps[first], batch.games[first])
    assert (shown[:, :, 0, 0] == named(40, batch.games[first])[:, None]).all()


def test_left_episodes_do_not_run_into_the_next_ones() -> None:
    replay = a_replay()
    play(replay, np.zeros((8, GAMES), dtype=np.uint8))
    ring_of(replay).cut(7)
    play(replay, np.zeros((8, GAMES), dtype=np.uint8), since=8)
    batch = drawn(replay, n_step=3)
    assert 7 not in batch.steps
    late = (batch.steps >= 4) & (batch.steps < 8)
    assert (batch.next_steps[late] == 7).all()
    assert (batch.discounts[late] == GAMMA ** (7 - batch.steps[late])).all()


@pytest.mark.parametrize("steps", [8, 24, 40])
def test_a_persisted_replay_draws_the_same_transitions(steps: int) -> None:
    replay, copy = a_replay(), a_replay()
    play(replay, some_ends(steps, 3))
    copy.load(replay.state(), played=steps)
    for since in (None, steps):
        if since is not None:
            for one in (replay, copy):
                play(one, some_ends(STEPS, 4), since=since)
        first, second = drawn(replay, n_step=3), drawn(copy, n_step=3)
        for name, column in vars(first).items():
            assert np.array_equal(column, getattr(second, name)), name
        shown = [ring_of(one).observations(first.steps, first.games) for one in (replay, copy)]
        assert np.array_equal(*shown)
