from __future__ import annotations

from itertools import product

import numpy as np

from trainer.config import SEED_LIMIT
from trainer.seeds import (
    EVALUATION_SEEDS,
    acting_generator,
    evaluation_seed,
    learning_generator,
    training_seed,
)


def test_seeds_of_training_and_judging_and_of_suites_are_disjoint() -> None:
    training = [training_seed(seed, 0, game, 0) for seed in range(50) for game in range(50)]
    judging = [evaluation_seed(seed, nth) for seed in range(50) for nth in range(20)]
    assert min(training) >= 0
    assert max(training) < EVALUATION_SEEDS <= min(judging)
    assert max(judging) < 2 * EVALUATION_SEEDS == SEED_LIMIT


def test_every_episode_has_a_seed_of_its_own() -> None:
    seeds = [training_seed(*key) for key in product(range(6), repeat=4)]
    assert len(set(seeds)) == len(seeds)
    assert len({evaluation_seed(3, nth) for nth in range(100)}) == 100


def test_a_seed_follows_from_what_it_is_for() -> None:
    assert training_seed(1, 2, 3, 4) == training_seed(1, 2, 3, 4)
    assert evaluation_seed(1, 2) == evaluation_seed(1, 2)
    # Written down, because checkpoints of other days go on from them.
    assert (training_seed(1, 2, 3, 4), evaluation_seed(1, 2)) == (176_423_197, 858_156_734)


def test_every_actor_and_window_draws_otherwise() -> None:
    keys = list(product(range(4), repeat=3))
    draws = [tuple(acting_generator(*key).integers(0, 2**31, 4)) for key in keys]
    assert len(set(draws)) == len(keys)
    again = acting_generator(1, 2, 3).integers(0, 2**31, 4)
    assert np.array_equal(again, draws[keys.index((1, 2, 3))])


def test_every_learner_draws_otherwise_and_the_first_as_a_lone_one() -> None:
    draws = {
        tuple(learning_generator(*key).integers(0, 2**31, 4)) for key in product(range(4), repeat=2)
    }
    assert len(draws) == 16
    alone = np.random.default_rng(3).integers(0, 2**31, 4)
    assert np.array_equal(learning_generator(3, 0).integers(0, 2**31, 4), alone)
