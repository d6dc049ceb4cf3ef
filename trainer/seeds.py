"""Everything random derives from the run's seed and from what it is for, so nothing has to be kept.

Training episodes have seeds in [0, 2**29), greedy evaluations inside the training in
[2**29, 2**30), suites of the evaluator in [2**30, 2**31).
"""

from __future__ import annotations

import numpy as np

EVALUATION_SEEDS = 2**29
_TRAINING, _EVALUATION, _ACTING, _OPPOSING = 0, 1, 2, 3


def training_seed(seed: int, iteration: int, game: int, nth: int) -> int:
    """Derive the seed of the nth episode of a game since all games restarted at `iteration`."""
    return _episode_seed(seed, _TRAINING, iteration, game, nth)


def evaluation_seed(seed: int, nth: int) -> int:
    """Derive the seed of the nth episode that judges a run; the same ones at every evaluation."""
    return EVALUATION_SEEDS + _episode_seed(seed, _EVALUATION, nth)


def acting_generator(seed: int, iteration: int, actor: int) -> np.random.Generator:
    """Derive what an actor draws from while it plays one window."""
    return np.random.default_rng(np.random.SeedSequence([seed, _ACTING, iteration, actor]))


def opponent_generator(seed: int, episode_seed: int) -> np.random.Generator:
    """Derive what decides who the opponent of an episode is, and what he draws from to play it."""
    return np.random.default_rng(np.random.SeedSequence([seed, _OPPOSING, episode_seed]))


def learning_generator(seed: int, learner: int) -> np.random.Generator:
    """Derive what one of the learners draws from; the first draws as a lone one does."""
    return np.random.default_rng([seed, learner])


def _episode_seed(*key: int) -> int:
    state = np.random.SeedSequence(key).generate_state(1, np.uint32)
    return int(state[0]) % EVALUATION_SEEDS
