"""The statistics behind every interval and gate, against scipy and against what they promise."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.evaluator import inference
from services.evaluator.inference import Resampling

SKEWED = [3.1, 2.2, 9.7, 4.4, 1.0, 2.8, 30.2, 3.3, 5.9, 2.0, 7.7, 6.1, 4.8, 3.9, 12.5, 2.6]
BASE = [61.0, 75.0, 80.0, 43.0, 77.0, 12.0, 70.0, 66.0, 81.0, 59.0]
CANDIDATE = [79.0, 78.0, 83.0, 60.0, 77.0, 55.0, 74.0, 81.0, 80.0, 72.0]


def resampling(seed: int = 7, *, count: int = 10_000, confidence: float = 0.95) -> Resampling:
    return Resampling(seed, "test", count, confidence)


def widened(confidence: float, count: int) -> float:
    """The confidence whose plain interval is as wide as the small-sample interval."""
    t = stats.t.ppf((1 + confidence) / 2, count - 1) * math.sqrt(count / (count - 1))
    return 2 * stats.norm.cdf(t) - 1


def test_bca_interval_equals_scipys() -> None:
    ours = inference.estimate(SKEWED, resampling())
    scipys = stats.bootstrap(
        (SKEWED,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1),
        confidence_level=widened(0.95, len(SKEWED)),
    ).confidence_interval  # fmt: skip
    width = scipys.high - scipys.low
    assert ours.lower == pytest.approx(scipys.low, abs=0.04 * width)
    assert ours.upper == pytest.approx(scipys.high, abs=0.04 * width)


def test_bca_interval_of_two_samples_equals_scipys() -> None:
    ours = inference.unpaired_difference(SKEWED, CANDIDATE, resampling())
    scipys = stats.bootstrap(
        (CANDIDATE, SKEWED), lambda a, b, axis: a.mean(axis) - b.mean(axis), method="BCa",
        n_resamples=20_000, confidence_level=widened(0.95, 10), rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    width = scipys.high - scipys.low
    assert ours.lower == pytest.approx(scipys.low, abs=0.04 * width)
    assert ours.upper == pytest.approx(scipys.high, abs=0.04 * width)


def test_wilson_interval_equals_scipys() -> None:
    ours = inference.estimate([1.0] * 7 + [0.0] * 23, resampling(), rate=True)
    scipys = stats.binomtest(7, 30).proportion_ci(0.95, method="wilson")
    assert (ours.lower, ours.upper) == pytest.approx((scipys.low, scipys.high))
    assert ours.method == "wilson"


def test_exact_sign_flip_test_equals_scipys() -> None:
    change = inference.paired_difference(BASE, CANDIDATE, resampling())
    scipys = stats.permutation_test(
        (CANDIDATE, BASE), lambda a, b: np.mean(a) - np.mean(b), permutation_type="samples",
        n_resamples=np.inf, vectorized=False,
    )  # fmt: skip
    assert change.test == "sign_flip_exact"
    assert change.p_value == pytest.approx(scipys.pvalue)


def test_sampled_sign_flip_test_is_close_to_the_exact_one() -> None:
    rng = random.Random(3)
    base = [rng.gauss(0, 10) for _ in range(15)]
    candidate = [value + rng.gauss(3, 6) for value in base]
    change = inference.paired_difference(base, candidate, resampling())
    exact = stats.permutation_test(
        ([new - old for old, new in zip(base, candidate, strict=True)],), np.sum,
        permutation_type="samples", n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    assert change.test == "sign_flip_sampled"
    assert change.p_value == pytest.approx(exact.pvalue, abs=0.01)


def test_exact_permutation_test_equals_scipys() -> None:
    change = inference.unpaired_difference(BASE[:6], CANDIDATE[:7], resampling())
    scipys = stats.permutation_test(
        (CANDIDATE[:7], BASE[:6]), lambda a, b: np.mean(a) - np.mean(b),
        permutation_type="independent", n_resamples=np.inf, vectorized=False,
        alternative="two-sided",
    )  # fmt: skip
    assert change.test == "permutation_exact"
    # scipy doubles the smaller tail, ours counts both: they agree up to the tails' asymmetry.
    assert change.p_value == pytest.approx(scipys.pvalue, abs=0.03)


def test_t_quantile_equals_scipys() -> None:
    for degrees in (4, 9, 19, 99):
        for probability in (0.9, 0.95, 0.975, 0.995):
            exact = stats.t.ppf(probability, degrees)
            assert inference.t_quantile(probability, degrees) == pytest.approx(exact, rel=0.005)


def test_effect_sizes_follow_their_definitions() -> None:
    paired = inference.paired_difference(BASE, CANDIDATE, resampling())
    changes = np.subtract(CANDIDATE, BASE)
    assert paired.effect_size == pytest.approx(changes.mean() / changes.std(ddof=1))
    assert paired.effect_size_name == "cohens_dz"
    unpaired = inference.unpaired_difference(BASE, CANDIDATE, resampling())
    pooled = math.sqrt((np.var(BASE, ddof=1) + np.var(CANDIDATE, ddof=1)) / 2)
    g = (np.mean(CANDIDATE) - np.mean(BASE)) / pooled * (1 - 3 / (4 * 18 - 1))
    assert unpaired.effect_size == pytest.approx(g)


def test_intervals_cover_the_true_mean_as_often_as_they_say() -> None:
    """95 % intervals of 1,000 simulated evaluations of 20 episodes cover 93 to 97 %."""
    rng = random.Random(11)
    covered = 0
    for simulation in range(1_000):
        values = [rng.gauss(50, 20) for _ in range(20)]
        interval = inference.estimate(values, resampling(simulation, count=400))
        covered += interval.lower <= 50 <= interval.upper
    assert 930 <= covered <= 970


def test_intervals_cover_the_true_rate_as_often_as_they_say() -> None:
    rng = random.Random(12)
    covered = 0
    for _ in range(1_000):
        values = [float(rng.random() < 0.7) for _ in range(60)]
        interval = inference.estimate(values, resampling(), rate=True)
        covered += interval.lower <= 0.7 <= interval.upper
    assert 930 <= covered <= 970


def test_same_seed_gives_the_same_numbers_and_another_does_not() -> None:
    first = inference.estimate(SKEWED, resampling(1, count=500))
    assert inference.estimate(SKEWED, resampling(1, count=500)) == first
    assert inference.estimate(SKEWED, resampling(2, count=500)).lower != first.lower


def test_single_episode_has_no_interval() -> None:
    only = inference.estimate([4.0], resampling())
    assert (only.lower, only.mean, only.upper, only.method) == (4.0, 4.0, 4.0, "none")


def test_equal_samples_differ_by_nothing() -> None:
    change = inference.paired_difference(BASE, BASE, resampling())
    assert (change.delta, change.lower, change.upper) == (0, 0, 0)
    assert change.p_value == 1
    assert change.effect_size == 0


def test_constant_gain_is_certain() -> None:
    change = inference.paired_difference(BASE, [value + 2 for value in BASE], resampling())
    assert (change.lower, change.upper) == (2, 2)
    assert change.p_value == pytest.approx(2 / 2**10)
    assert change.effect_size == math.inf


values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(values=values)
def test_interval_lies_within_the_values(values: list[float]) -> None:
    interval = inference.estimate(values, resampling(count=200))
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= interval.lower <= interval.upper <= max(values) + slack


@settings(max_examples=60, deadline=None)
@given(values=values, shift=st.floats(-100, 100))
def test_swapping_the_sides_turns_the_sign(values: list[float], shift: float) -> None:
    other = [value + shift for value in reversed(values)]
    forth = inference.paired_difference(values, other, resampling(count=200))
    back = inference.paired_difference(other, values, resampling(count=200))
    assert forth.delta == pytest.approx(-back.delta, abs=1e-6)
    assert forth.p_value == pytest.approx(back.p_value, abs=1e-9)


@given(count=st.integers(0, 100_000))
def test_resamples_stay_between_a_thousand_and_ten_thousand(count: int) -> None:
    assert 1_000 <= inference.resample_count(count) <= 10_000
