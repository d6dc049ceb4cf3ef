"""Opponents: who of the pool is drawn, and that it is he who plays."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.duel import SIDE, SPACE, LampDuel
from trainer.config import ConfigError, parse
from trainer.networks import ActorCritic, Network, Seen, Shape, build
from trainer.ppo import PPOBehaviour
from trainer.self_play import Opponents, Opposition, Pool, SelfPlayGame

if TYPE_CHECKING:
    from collections.abc import Mapping

SHAPE = Shape(frames=SPACE.shape, action_count=3, variables=1, channels=(4,), hidden=8)
DUEL = {"self_play": True, "scenario": "self_play"}


def pointing(at: int) -> Network:
    """A network that takes one action whatever it sees."""
    network = build(lambda: ActorCritic(SHAPE), seed=0)
    with torch.no_grad():
        network.preferences.bias[at] = 1e4
    return network


def a_pool(size: int, iterations: Mapping[int, int]) -> Pool:
    """Take snapshots of networks that point; `iterations` says at which, of what."""
    pool = Pool(pointing(0), size)
    for iteration, at in iterations.items():
        pool.add(iteration, pointing(at))
    return pool


def opposition(pool: Pool, **weights: float) -> Opposition:
    return Opposition(
        pool=pool,
        weights=weights or {"latest": 0.5, "past": 0.5},
        behaviour=PPOBehaviour(SHAPE),
        variables=("HEALTH",),
        seed=5,
    )


def drawn(pool: Pool, count: int, **weights: float) -> Counter[int]:
    chosen = opposition(pool, **weights)
    return Counter(chosen.draw(np.random.default_rng(seed)) for seed in range(count))


# -- the pool ----------------------------------------------------------------------------------


def test_a_full_pool_lets_its_oldest_go() -> None:
    pool = a_pool(3, {})
    held = []
    for iteration in (0, 20, 40, 60, 80):
        pool.add(iteration, pointing(0))
        held.append(pool.iterations)
    assert held == [[0], [0, 20], [0, 20, 40], [20, 40, 60], [40, 60, 80]]


def answers(pool: Pool, iteration: int) -> list[float]:
    """Preferences of a snapshot for some frame."""
    network = build(lambda: ActorCritic(SHAPE), seed=9)
    pool.lend(iteration, network)
    frames = torch.arange(SIDE * SIDE, dtype=torch.uint8).view(1, 1, SIDE, SIDE)
    with torch.no_grad():
        preferences, *_ = network(Seen(frames, torch.ones(1, 1)), torch.zeros(1, 0))
    return preferences[0].tolist()


def test_a_pool_comes_back_out_of_a_checkpoint_as_it_was() -> None:
    pool = a_pool(3, {0: 0, 20: 1, 40: 2, 60: 0})
    other = a_pool(3, {7: 0, 8: 0})
    other.load(pool.state())
    assert other.iterations == pool.iterations == [20, 40, 60]
    for iteration in (20, 40, 60):
        assert answers(other, iteration) == answers(pool, iteration)
    other.add(80, pointing(1))
    assert other.iterations == [40, 60, 80]

    fewer = Pool(pointing(0), 5)
    fewer.load(a_pool(5, {0: 1}).state())
    assert fewer.iterations == [0]


# -- who is drawn ------------------------------------------------------------------------------


def test_opponents_are_drawn_by_the_weights_that_are_set() -> None:
    pool = a_pool(4, {0: 0, 20: 0, 40: 0, 60: 0})
    count = drawn(pool, 2000, latest=1, past=2, oldest=1)
    # A quarter each for the latest and the oldest, and a half shared by all four.
    shares = {0: 0.375, 20: 0.125, 40: 0.125, 60: 0.375}
    for iteration, share in shares.items():
        spread = np.sqrt(share * (1 - share) / 2000)
        assert abs(count[iteration] / 2000 - share) < 4 * spread
    assert set(drawn(pool, 50, latest=3)) == {60}
    assert set(drawn(pool, 50, oldest=0.1)) == {0}
    assert set(drawn(pool, 50, oldest=0, latest=1)) == {60}
    assert set(drawn(a_pool(4, {0: 0}), 50)) == {0}


def test_the_seed_of_an_episode_decides_its_opponent() -> None:
    game = SelfPlayGame(LampDuel("self_play"), opposition(a_pool(9, dict.fromkeys(range(9), 0))))
    frame = np.zeros((1, SIDE, SIDE), dtype=np.uint8)
    met = []
    for seed in [*range(20), *range(20)]:
        game.new_episode(seed, frame)
        met.append(game.opponent)
    assert met[:20] == met[20:]
    assert len(set(met)) >= 3


# -- how they play -----------------------------------------------------------------------------


def test_the_opponent_plays_with_the_weights_of_his_iteration() -> None:
    duel = LampDuel("self_play")
    pool = a_pool(3, {0: 2, 20: 0, 40: 1})
    game = SelfPlayGame(duel, opposition(pool, past=1))
    frame = np.zeros((1, SIDE, SIDE), dtype=np.uint8)
    for seed in range(12):
        game.new_episode(seed, frame)
        while not game.make_action(2, frame).ended:
            pass
        mine, his = duel.seats
        assert mine.pointed == [2] * LampDuel.DECISIONS
        assert his.pointed == [{0: 2, 20: 0, 40: 1}[game.opponent]] * LampDuel.DECISIONS


def test_an_episode_is_that_of_its_seed_and_actions_whoever_chooses_at_random() -> None:
    undecided = build(lambda: ActorCritic(SHAPE), seed=3)
    pool = Pool(undecided, 1)
    pool.add(0, undecided)

    def played(seed: int) -> tuple[list[int], list[bytes]]:
        duel = LampDuel("self_play")
        game, frame = SelfPlayGame(duel, opposition(pool)), np.zeros((1, SIDE, SIDE), np.uint8)
        game.new_episode(seed, frame)
        shown = [frame.tobytes()]
        while not game.make_action(1, frame).ended:
            shown.append(frame.tobytes())
        return duel.seats[1].pointed, shown

    assert played(1) == played(1)
    assert len({tuple(played(seed)[0]) for seed in range(8)}) > 3


@pytest.mark.parametrize(("hits", "win_rate"), [(6, 1.0), (0, 0.0)])
def test_a_game_tells_who_was_met_and_whether_he_is_beaten(hits: int, win_rate: float) -> None:
    game = SelfPlayGame(LampDuel("self_play"), opposition(a_pool(1, {40: 0})))
    frame = np.zeros((1, SIDE, SIDE), dtype=np.uint8)
    game.new_episode(3, frame)
    assert game.facts == {"pointed": 0.0, "opponent_iteration": 40.0, "win_rate": 0.5}
    outcome = None
    for nth in range(LampDuel.DECISIONS):
        lit = int(frame[0, 0].argmax()) // 4
        # Who points anywhere else than both the lamp and the opponent only loses.
        outcome = game.make_action(lit if nth < hits else (1 if lit == 0 else 0), frame)
    assert outcome is not None
    assert outcome.ended
    mine, his = (seat.total_reward for seat in game._match.seats)
    assert mine == -his == game.total_reward != 0
    assert game.facts == {"pointed": 6.0, "opponent_iteration": 40.0, "win_rate": win_rate}
    assert game.variables == {"HEALTH": 100.0}
    assert game.features == (False,)
    game.close()
    assert game._match.is_closed


def test_a_memory_of_an_opponent_ends_with_the_episode() -> None:
    shape = Shape(**{**vars(SHAPE), "recurrent": True})
    network = build(lambda: ActorCritic(shape), seed=3)
    pool = Pool(network, 1)
    pool.add(0, network)
    chosen = Opposition(pool, {"latest": 1}, PPOBehaviour(shape), ("HEALTH",), seed=5)
    game, frame = SelfPlayGame(LampDuel("self_play"), chosen), np.zeros((1, SIDE, SIDE), np.uint8)
    game.new_episode(1, frame)
    assert not game._state.any()
    game.make_action(0, frame)
    assert game._state.shape == (1, 16)
    assert game._state.any()
    game.new_episode(1, frame)
    assert not game._state.any()


def test_the_learner_counts_whom_it_met_until_somebody_joins(
    caplog: pytest.LogCaptureFixture,
) -> None:
    opponents = Opponents(a_pool(4, {0: 0, 20: 1}))
    for iteration in (0, 20, 20):
        opponents.meet([{"score": 0, "length": 6, "facts": {"opponent_iteration": iteration}}])
    with caplog.at_level("INFO"):
        opponents.add(40, pointing(2))
        opponents.add(60, pointing(2))
    # A thread of another test may have something to say too.
    told = [record.message for record in caplog.records if record.name == "trainer.self_play"]
    assert told == ["iteration 40: episodes by opponents' iteration: 0: 1, 20: 2"]
    assert opponents.pool.iterations == [0, 20, 40, 60]


# -- configs -----------------------------------------------------------------------------------


def test_self_play_has_defaults_and_survives_its_own_mapping() -> None:
    config = parse(DUEL)
    assert (config.opponent_pool, config.opponent_weights) == (10, {"latest": 0.5, "past": 0.5})
    assert parse(config.to_mapping()) == config
    assert parse({**DUEL, "opponent_weights": {"oldest": 1}}).opponent_weights == {"oldest": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenario": "basic"}, "self_play: cannot play basic, which is for one player"),
        ({"game": "catch", "scenario": "board"}, "self_play: is no setting of catch, only of doom"),
        ({"opponent_pool": 0}, "opponent_pool: must be a whole number from 1 to 64"),
        ({"opponent_weights": {"latest": -1}}, "opponent_weights.latest: must be a number from 0 "),
        ({"opponent_weights": {"newest": 1}}, "opponent_weights.newest: is unknown; known: latest"),
        ({"opponent_weights": {"latest": 0}}, "opponent_weights: must not all be 0"),
        ({"opponent_weights": {}}, "opponent_weights: must not all be 0"),
        ({"bots": 3}, "bots: is not to be had in self-play"),
        ({"randomise_spawn": True}, "randomise_spawn: is not to be had in self-play"),
    ],
)
def test_what_does_not_go_with_self_play_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse({**DUEL, **change})
    assert str(refusal.value).startswith(message)
