"""A network with a memory: empty where an episode begins, the same step by step and at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.recall import DECISIONS, RECALL
from trainer.actor import Actor, Post
from trainer.networks import QNetwork, Seen, Shape, build
from trainer.q_learning import GreedyBehaviour
from trainer.ring import Ring, RingShape
from trainer.weights import Weights

GAMES = 6
SHAPE = Shape(frames=(1, 12, 12), action_count=2, channels=(4,), hidden=8, recurrent=True)


def an_actor(rollout_steps: int) -> Actor:
    ring = Ring(
        RingShape(
            space=RECALL.space,
            games=GAMES,
            rollout_steps=rollout_steps,
            windows=8,
            state_size=2 * SHAPE.hidden,
        )
    )
    network = build(lambda: QNetwork(SHAPE), seed=2)
    weights = Weights(network)
    weights.publish(network)
    return Actor(
        Post(
            number=0,
            first=0,
            count=GAMES,
            seed=0,
            make_game=RECALL.start,
            maps=("",),
            variables=(),
            behaviour=GreedyBehaviour(SHAPE, dueling=True),
            ring=ring,
            weights=weights,
        )
    )


@pytest.mark.parametrize("rollout_steps", [DECISIONS, DECISIONS - 1])
def test_memory_is_empty_only_where_an_episode_begins(rollout_steps: int) -> None:
    actor = an_actor(rollout_steps)
    actor.restart(0)
    for iteration in range(6):
        actor.play(iteration, exploration=0.0)
    ring = actor._ring
    for window in range(7):
        begins = ring["ages"][window * rollout_steps] == 0
        is_empty = (ring["states"][window] == 0).all(axis=1)
        assert np.array_equal(is_empty, begins), window


def test_episodes_of_one_seed_begin_with_the_same_action() -> None:
    actor = an_actor(DECISIONS)
    actor.restart(0)
    for iteration in range(7):
        actor.play(iteration, exploration=0.0)
    ring = actor._ring
    begins = np.nonzero(ring["ages"][: 7 * DECISIONS] == 0)
    halves = ring["frames"][begins][:, 0, 0, 0] > 0
    for half in (True, False):
        assert len(set(ring["actions"][begins][halves == half].tolist())) == 1
    episodes = [one for game in actor.evaluate([[3, 3]] * GAMES) for one in game]
    assert len(episodes) == 2 * GAMES
    assert all(episode == episodes[0] for episode in episodes)


def test_unrolling_is_going_step_by_step() -> None:
    network = build(lambda: QNetwork(SHAPE), seed=0)
    steps, count = 7, 3
    frames = torch.randint(0, 256, (steps * count, 1, 12, 12), dtype=torch.uint8)
    state = torch.randn(count, 2 * SHAPE.hidden)
    fresh = torch.rand(steps, count) < 0.3
    for begins in (torch.zeros_like(fresh), fresh):
        expected, now = [], state
        for step in range(steps):
            now = now * ~begins[step][:, None]
            shown = frames[step * count : (step + 1) * count]
            hidden, now = network.torso(Seen(shown, torch.zeros(count, 0)), now)
            expected.append(hidden)
        seen = Seen(frames, torch.zeros(len(frames), 0))
        answers = [network.torso.unroll(seen, state, begins)]
        if not begins.any():
            answers.append(network.torso.unroll(seen, state, None))
        for answer in answers:
            torch.testing.assert_close(answer, torch.cat(expected))
