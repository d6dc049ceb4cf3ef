"""What of a ring the learners that go back to old steps may read."""

from __future__ import annotations

import numpy as np
import pytest

from games.interface import ObservationSpace
from tests.toy import LampGame, a_config, parts
from trainer.config import ConfigError, parse
from trainer.replay import Replay
from trainer.ring import CUT, ENDED, GOES_ON, Ring, RingShape

SPACE = ObservationSpace(frame_channels=1, history=3, height=2, width=2)
STEPS, GAMES = 4, 2


def a_ring() -> Ring:
    return Ring(RingShape(space=SPACE, games=GAMES, rollout_steps=STEPS, windows=4))


def test_what_the_actors_may_write_is_not_held() -> None:
    replay = Replay(a_ring())
    replay.grow(8)
    assert replay.held == range(8)
    replay.grow(100)
    # Of 16 slots, 4 and one more may be under the pen; 2 of the others have lost frames to stack.
    assert replay.held == range(91, 100)
    assert len(replay) == 9 * GAMES


def test_a_replay_that_was_not_kept_begins_anew() -> None:
    replay = Replay(a_ring())
    replay.load({}, played=40)
    assert len(replay) == 0
    replay.grow(44)
    assert replay.held == range(40, 44)
    steps, _ = replay.draw(100, n_step=1, generator=np.random.default_rng(0))
    assert set(steps) == {40, 41, 42}


def test_a_replay_that_was_kept_holds_the_same() -> None:
    ring = a_ring()
    ring["rewards"][:] = np.arange(16)[:, None]
    replay = Replay(ring)
    replay.grow(12)
    copy = Replay(other := a_ring())
    copy.load(replay.state(), played=12)
    assert copy.held == replay.held
    assert np.array_equal(other["rewards"][:12], ring["rewards"][:12])


def test_an_episode_that_is_left_is_cut_unless_it_has_ended() -> None:
    ring = a_ring()
    ring["ends"][7] = [GOES_ON, ENDED]
    ring.cut(7)
    assert ring["ends"][7].tolist() == [CUT, ENDED]


def test_a_restart_cuts_what_was_under_way() -> None:
    # Six decisions are an episode, eight a window.
    made = parts(a_config("DQN"), LampGame)
    with made.alone() as players:
        players.restart(0)
        players.start(0)
        assert (made.ring["ends"][7] == GOES_ON).all()
        players.restart(1)
        assert (made.ring["ends"][7] == CUT).all()
        assert (made.ring["ages"][8] == 0).all()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"learning_starts": 272 - 1, "n_step": 32}, "learning_starts"),
        ({"learning_starts": 9_920}, "learning_starts"),
        ({"replay_capacity": 256, "learning_starts": 200}, "learning_starts"),
        ({"replay_capacity": 256, "n_step": 32}, "replay_capacity"),
    ],
)
def test_a_replay_that_could_never_be_learned_from_is_refused(
    settings: dict[str, object], field: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse({"algorithm": "DQN", **settings})
    assert refusal.value.field == field


@pytest.mark.parametrize("n_step", [1, 7, 32])
def test_the_smallest_replay_that_is_allowed_has_something_to_draw(n_step: int) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse({"algorithm": "DQN", "n_step": n_step, "replay_capacity": 256, "games": 32})
    least = int(refusal.value.rule.split()[-1])
    starts = 32 * (n_step + 2)
    config = parse(
        {
            "algorithm": "DQN",
            "n_step": n_step,
            "replay_capacity": least,
            "learning_starts": starts,
            "games": 32,
        }
    )
    windows = config.replay_capacity // config.steps_per_iteration
    shape = RingShape(
        space=ObservationSpace(1, config.history, 2, 2),
        games=32,
        rollout_steps=config.rollout_steps,
        windows=windows,
    )
    replay = Replay(Ring(shape))
    for played in range(8, 200, 8):
        # As if a checkpoint came after every window.
        replay._ring.cut(played - 1)
        replay.grow(played)
        if len(replay) >= config.learning_starts:
            replay.draw(10, n_step=n_step, generator=np.random.default_rng(0))
    assert len(replay) >= config.learning_starts
