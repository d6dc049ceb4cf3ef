"""Rings as actors leave them, without anybody playing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.ring import CUT, ENDED, GOES_ON, Ring, RingShape

if TYPE_CHECKING:
    from games.interface import ObservationSpace
    from trainer.config import Config


def ring_for(config: Config, space: ObservationSpace, *, features: int = 0) -> Ring:
    """Reserve a ring as the learners of a config that have a replay want it."""
    return Ring(
        RingShape(
            space=space,
            games=config.games,
            rollout_steps=config.rollout_steps,
            windows=config.replay_capacity // config.steps_per_iteration,
            features=features,
        )
    )


def play(
    ring: Ring,
    steps: int,
    *,
    since: int = 0,
    actions: int = 2,
    chances: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> None:
    """Write `steps` random steps of every game from step `since` on.

    `chances` are those that a step goes on, ends its episode, or is cut.
    """
    generator = np.random.default_rng(seed)
    shape = ring.shape
    for step in range(since, since + steps):
        slot, after = step % ring.length, (step + 1) % ring.length
        ends = generator.choice([GOES_ON, ENDED, CUT], shape.games, p=chances)
        ring["ends"][slot] = ends
        ring["rewards"][slot] = generator.normal(size=shape.games)
        ring["actions"][slot] = generator.integers(0, actions, shape.games)
        ring["features"][slot] = generator.integers(0, 2, ring["features"][slot].shape)
        ring["frames"][after] = generator.integers(0, 256, ring["frames"][after].shape)
        ring["ages"][after] = np.where(ends == GOES_ON, ring["ages"][slot] + 1, 0)
