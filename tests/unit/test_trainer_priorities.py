from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.priorities import SMALLEST_ERROR, Priorities, importance_weights


def tree_of(*errors: float, alpha: float = 1.0) -> Priorities:
    priorities = Priorities(len(errors), alpha=alpha)
    priorities.update(np.arange(len(errors)), np.array(errors))
    return priorities


def frequencies(priorities: Priorities, *, count: int = 7, rounds: int = 3000) -> np.ndarray:
    generator = np.random.default_rng(0)
    drawn = np.concatenate([priorities.sample(count, generator)[0] for _ in range(rounds)])
    return np.bincount(drawn) / len(drawn)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_steps_are_drawn_in_proportion_to_their_priority(alpha: float) -> None:
    errors = np.array([5.0, 0.1, 2.0, -3.0, 0.7])
    expected = np.abs(errors) ** alpha
    expected /= expected.sum()
    np.testing.assert_allclose(frequencies(tree_of(*errors, alpha=alpha)), expected, atol=0.01)


def test_every_part_of_the_total_is_drawn_from() -> None:
    places, _ = tree_of(*[1.0] * 32).sample(32, np.random.default_rng(0))
    assert places.tolist() == list(range(32))


def test_probabilities_are_those_of_a_single_draw() -> None:
    places, probabilities = tree_of(1.0, 3.0, 4.0).sample(64, np.random.default_rng(0))
    np.testing.assert_allclose(probabilities, np.array([1, 3, 4])[places] / 8, rtol=1e-5)


def test_a_new_step_is_as_likely_as_the_most_surprising_one_ever() -> None:
    priorities = Priorities(4, alpha=1.0)
    priorities.add(np.array([0]))
    assert priorities.total == 1
    priorities.update(np.array([0]), np.array([8.0]))
    priorities.update(np.array([0]), np.array([2.0]))
    priorities.add(np.array([3]))
    assert priorities.total == pytest.approx(8 + 2)


def test_removed_steps_and_unknown_ones_are_never_drawn() -> None:
    priorities = tree_of(1.0, 100.0, 1.0, 1.0)
    priorities.remove(np.array([1, 3]))
    assert set(priorities.sample(4000, np.random.default_rng(0))[0]) == {0, 2}

    only = Priorities(5, alpha=1.0)
    only.add(np.array([2]))
    assert set(only.sample(100, np.random.default_rng(0))[0]) == {2}


def test_a_step_without_an_error_can_still_be_drawn() -> None:
    assert tree_of(0.0, 0.0).total == pytest.approx(2 * SMALLEST_ERROR)


def test_the_last_of_equal_places_counts() -> None:
    priorities = tree_of(1.0, 1.0)
    priorities.update(np.array([0, 0]), np.array([7.0, 3.0]))
    assert priorities.total == pytest.approx(4)


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place has a priority"):
        Priorities(3, alpha=1.0).sample(1, np.random.default_rng(0))


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_tree_is_what_its_last_priorities_make_it(capacity: int, seed: int) -> None:
    """Whatever was changed in whatever order, draws agree with a walk along all priorities."""
    generator = np.random.default_rng(seed)
    priorities, plain = Priorities(capacity, alpha=1.0), np.zeros(capacity)
    for _ in range(6):
        places = np.unique(generator.integers(0, capacity, 9))
        if generator.random() < 0.3:
            priorities.remove(places)
            plain[places] = 0
        else:
            errors = generator.exponential(size=len(places)) ** 8
            priorities.update(places, errors)
            plain[places] = errors + SMALLEST_ERROR
    assert priorities.total == pytest.approx(plain.sum())
    if not priorities.total:
        return
    drawn, probabilities = priorities.sample(50, np.random.default_rng(seed))
    points = (np.arange(50) + np.random.default_rng(seed).random(50)) / 50 * plain.sum()
    ends = np.cumsum(plain)
    assert (plain[drawn] > 0).all()
    slack = 1e-9 * plain.sum()
    assert (points <= ends[drawn] + slack).all()
    assert (points >= ends[drawn] - plain[drawn] - slack).all()
    np.testing.assert_allclose(probabilities, plain[drawn] / plain.sum())


def test_rounding_never_leads_to_a_step_without_priority() -> None:
    """Sums of uneven numbers round; the last point of all must still fall on a known step."""

    class Topmost:
        def random(self, count: int) -> np.ndarray:
            return np.ones(count)

    generator = np.random.default_rng(1)
    for _ in range(200):
        priorities = Priorities(64, alpha=1.0)
        known = np.flatnonzero(generator.random(64) < 0.2)
        priorities.update(known, generator.exponential(size=len(known)) ** 6)
        places, _ = priorities.sample(3, Topmost())
        assert set(places) <= set(known)


def test_a_loaded_tree_goes_on_exactly_alike() -> None:
    generator = np.random.default_rng(3)
    priorities = Priorities(100, alpha=0.7)
    for _ in range(20):
        places = generator.integers(0, 100, 10)
        priorities.update(places, generator.normal(size=10))
    loaded = Priorities(100, alpha=0.7)
    loaded.load(priorities.state())

    for seed in range(20):
        for tree in (priorities, loaded):
            tree.add(np.array([seed]))
        first, second = (
            tree.sample(32, np.random.default_rng(seed)) for tree in (priorities, loaded)
        )
        assert first[0].tolist() == second[0].tolist()
        assert first[1].tolist() == second[1].tolist()
        for tree in (priorities, loaded):
            tree.update(first[0], np.cos(first[0]))
    assert loaded.total == priorities.total


def test_importance_weights_undo_the_bias_of_the_draw() -> None:
    probabilities = np.array([0.5, 0.25, 0.125])
    assert importance_weights(probabilities, 1.0).tolist() == [0.25, 0.5, 1.0]
    assert importance_weights(probabilities, 0.0).tolist() == [1, 1, 1]
    np.testing.assert_allclose(importance_weights(probabilities, 0.5)[0], 0.5)


def test_a_weighted_mean_over_draws_is_the_mean_over_all_steps() -> None:
    errors, values = np.array([9.0, 1.0, 4.0]), np.array([1.0, 10.0, 100.0])
    priorities = tree_of(*errors)
    places, probabilities = priorities.sample(30_000, np.random.default_rng(0))
    weights = importance_weights(probabilities, 1.0)
    assert np.average(values[places], weights=weights) == pytest.approx(values.mean(), rel=0.02)
