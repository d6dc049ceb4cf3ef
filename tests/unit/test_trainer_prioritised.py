from __future__ import annotations

import numpy as np
import pytest

from games.interface import ObservationSpace
from tests.rings import play
from trainer.replay import PrioritisedDraws, Replay
from trainer.ring import CUT, Ring, RingShape

STEPS, GAMES = 5, 3


def a_replay() -> Replay:
    space = ObservationSpace(frame_channels=1, history=2, height=2, width=2)
    return Replay(Ring(RingShape(space=space, games=GAMES, rollout_steps=STEPS, windows=5)))


def grow(replay: Replay, window: int) -> None:
    play(replay._ring, STEPS, since=window * STEPS, seed=window)
    replay.grow((window + 1) * STEPS)


def drawn(draws: PrioritisedDraws, count: int = 3000, seed: int = 0) -> list[tuple[int, int]]:
    steps, games, _ = draws.draw(count, np.random.default_rng(seed))
    return list(zip(steps.tolist(), games.tolist(), strict=True))


@pytest.mark.parametrize("n_step", [1, 3])
def test_all_that_can_be_learned_from_is_drawn_and_nothing_else(n_step: int) -> None:
    replay = a_replay()
    draws = PrioritisedDraws(replay, replay._ring, n_step=n_step, alpha=0.5)
    for window in range(14):
        grow(replay, window)
        ends = replay._ring["ends"]
        expected = {
            (step, game)
            for step in range(replay.held.start, replay.held.stop - n_step)
            for game in range(GAMES)
            if ends[step % replay._ring.length, game] != CUT
        }
        assert set(drawn(draws)) == expected


def test_an_episode_cut_after_its_window_is_not_drawn_at_the_cut() -> None:
    replay = a_replay()
    draws = PrioritisedDraws(replay, replay._ring, n_step=1, alpha=0.5)
    play(replay._ring, STEPS, chances=(1, 0, 0))
    replay.grow(STEPS)
    drawn(draws)
    replay._ring.cut(STEPS - 1)
    play(replay._ring, STEPS, since=STEPS, chances=(1, 0, 0))
    replay.grow(2 * STEPS)
    assert {step for step, _ in drawn(draws)} == set(range(2 * STEPS - 1)) - {STEPS - 1}


def test_what_surprised_is_drawn_more_often() -> None:
    replay = a_replay()
    draws = PrioritisedDraws(replay, replay._ring, n_step=1, alpha=1.0)
    for window in range(4):
        grow(replay, window)
    known = np.array(sorted(set(drawn(draws))))
    errors = np.full(len(known), 0.1)
    errors[7] = -5.0
    draws.update(known[:, 0], known[:, 1], errors)
    found = drawn(draws)
    share = found.count(tuple(known[7].tolist())) / len(found)
    assert share == pytest.approx(5 / (5 + 0.1 * (len(known) - 1)), abs=0.02)


def test_probabilities_are_those_of_the_draws() -> None:
    replay = a_replay()
    draws = PrioritisedDraws(replay, replay._ring, n_step=1, alpha=1.0)
    grow(replay, 0)
    known = np.array(sorted(set(drawn(draws))))
    errors = 1.0 + np.arange(len(known))
    draws.update(known[:, 0], known[:, 1], errors)
    steps, games, probabilities = draws.draw(100, np.random.default_rng(0))
    place = {tuple(step): index for index, step in enumerate(known.tolist())}
    expected = [
        errors[place[step, game]] / errors.sum()
        for step, game in zip(steps.tolist(), games.tolist(), strict=True)
    ]
    assert probabilities == pytest.approx(expected, rel=1e-4)


def test_new_steps_are_as_likely_as_the_most_surprising() -> None:
    replay = a_replay()
    draws = PrioritisedDraws(replay, replay._ring, n_step=1, alpha=1.0)
    grow(replay, 0)
    known = np.array(sorted(set(drawn(draws))))
    draws.update(known[:, 0], known[:, 1], np.full(len(known), 3.0))
    draws.update(known[:, 0], known[:, 1], np.full(len(known), 0.001))
    grow(replay, 1)
    new = [step for step, _ in drawn(draws) if step > known[:, 0].max()]
    assert len(new) > 2900


def test_loaded_priorities_draw_the_same_now_and_later() -> None:
    replay, copy = a_replay(), a_replay()
    draws = PrioritisedDraws(replay, replay._ring, n_step=2, alpha=0.6)
    for window in range(7):
        grow(replay, window)
        steps, games, _ = draws.draw(50, np.random.default_rng(window))
        draws.update(steps, games, np.random.default_rng(window).normal(size=50))
    copy.load(replay.state(), replay.played)
    loaded = PrioritisedDraws(copy, copy._ring, n_step=2, alpha=0.6)
    loaded.load(draws.state())
    for window in (7, 8):
        assert drawn(loaded) == drawn(draws)
        grow(replay, window)
        grow(copy, window)
    assert drawn(loaded) == drawn(draws)
