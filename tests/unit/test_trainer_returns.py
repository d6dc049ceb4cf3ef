"""Returns against their definitions, summed step by step in float64, and cases done by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.returns import CUT, ENDED, GOES_ON, generalized_advantages, n_step_returns, vtrace

GAMMA, LAM = 0.9, 0.8


@dataclass
class Window:
    rewards: np.ndarray
    values: np.ndarray
    bootstrap: np.ndarray
    ends: np.ndarray
    behaviour: np.ndarray
    target: np.ndarray

    def going_on_from(self, step: int, game: int) -> list[int]:
        """The steps that count from `step` on: to the episode's end, before a cut one, or all."""
        steps = []
        for at in range(step, len(self.ends)):
            if self.ends[at, game] == CUT:
                break
            steps.append(at)
            if self.ends[at, game] == ENDED:
                break
        return steps

    def next_value(self, step: int, game: int) -> float:
        if self.ends[step, game] == ENDED:
            return 0.0
        last = step + 1 == len(self.ends)
        return float(self.bootstrap[game] if last else self.values[step + 1, game])

    def error(self, step: int, game: int) -> float:
        gain = float(self.rewards[step, game]) + GAMMA * self.next_value(step, game)
        return gain - float(self.values[step, game])

    def ratio(self, step: int, game: int) -> float:
        return math.exp(float(self.target[step, game]) - float(self.behaviour[step, game]))

    @property
    def places(self) -> list[tuple[int, int]]:
        return list(np.ndindex(*self.ends.shape))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    going = draw(st.sampled_from([0.0, 0.5, 0.8, 1.0]))
    chances = [going, (1 - going) / 2, (1 - going) / 2]

    def normal(*size: int) -> np.ndarray:
        return generator.normal(size=size).astype(np.float32)

    return Window(
        rewards=normal(*shape),
        values=normal(*shape),
        bootstrap=normal(shape[1]),
        ends=generator.choice([GOES_ON, ENDED, CUT], shape, p=chances).astype(np.uint8),
        behaviour=normal(*shape) - 2,
        target=normal(*shape) - 2,
    )


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@given(windows())
@settings(deadline=None)
def test_advantages_are_the_discounted_errors_to_come(window: Window) -> None:
    expected = np.zeros(window.ends.shape)
    for step, game in window.places:
        for at in window.going_on_from(step, game):
            expected[step, game] += (GAMMA * LAM) ** (at - step) * window.error(at, game)

    advantages, returns, valid = generalized_advantages(
        window.rewards, window.values, window.bootstrap, window.ends, gamma=GAMMA, lam=LAM
    )
    assert_close(advantages, expected)
    assert_close(returns, expected + window.values)
    assert (valid == (window.ends != CUT)).all()


@given(windows(), st.sampled_from([(1.0, 1.0), (0.7, 1.5), (2.0, 0.4)]))
@settings(deadline=None)
def test_vtrace_follows_its_definition(window: Window, clips: tuple[float, float]) -> None:
    rho_clip, c_clip = clips
    expected = window.values.astype(np.float64)
    for step, game in window.places:
        carried = 1.0
        for at in window.going_on_from(step, game):
            ratio = window.ratio(at, game)
            discount = GAMMA ** (at - step) * carried
            expected[step, game] += discount * min(rho_clip, ratio) * window.error(at, game)
            carried *= LAM * min(c_clip, ratio)
    following = Window(**{**vars(window), "values": expected})
    gains = np.zeros(window.ends.shape)
    for step, game in window.places:
        if window.ends[step, game] != CUT:
            gain = float(window.rewards[step, game]) + GAMMA * following.next_value(step, game)
            gain -= float(window.values[step, game])
            gains[step, game] = min(rho_clip, window.ratio(step, game)) * gain

    advantages, targets, valid = vtrace(
        window.rewards,
        window.values,
        window.bootstrap,
        window.ends,
        behaviour_log_probs=window.behaviour,
        target_log_probs=window.target,
        gamma=GAMMA,
        lam=LAM,
        rho_clip=rho_clip,
        c_clip=c_clip,
    )
    assert_close(targets, expected)
    assert_close(advantages, gains)
    assert (valid == (window.ends != CUT)).all()


@given(windows())
@settings(deadline=None)
def test_vtrace_without_a_difference_of_policies_is_gae(window: Window) -> None:
    rewards, values, ends = window.rewards, window.values, window.ends
    _, targets, _ = vtrace(
        rewards,
        values,
        window.bootstrap,
        ends,
        behaviour_log_probs=window.target,
        target_log_probs=window.target,
        gamma=GAMMA,
        lam=LAM,
    )
    _, returns, _ = generalized_advantages(
        rewards, values, window.bootstrap, ends, gamma=GAMMA, lam=LAM
    )
    assert_close(targets, returns)


@given(windows(), st.integers(1, 10))
@settings(deadline=None)
def test_n_step_returns_sum_what_is_seen_before_the_value_takes_over(
    window: Window, n: int
) -> None:
    returns, discounts, ahead = n_step_returns(window.rewards, window.ends, gamma=GAMMA, n=n)
    sums, weights = np.zeros(window.ends.shape), np.ones(window.ends.shape)
    for step, game in window.places:
        counted = window.going_on_from(step, game)[:n]
        sums[step, game] = sum(
            GAMMA ** (at - step) * float(window.rewards[at, game]) for at in counted
        )
        if counted and window.ends[counted[-1], game] == ENDED:
            weights[step, game] = 0
            assert window.ends[step + ahead[step, game], game] == ENDED
        else:
            weights[step, game] = GAMMA ** len(counted)
            assert ahead[step, game] == len(counted)
    assert_close(returns, sums)
    assert_close(discounts, weights)


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)[:, None]


def ends_of(*ends: int) -> np.ndarray:
    return np.array(ends, dtype=np.uint8)[:, None]


@pytest.mark.parametrize(
    ("ends", "advantages"),
    [
        # Errors: 1 + .5 * 20 - 10 = 1, then 2 + .5 * 30 - 20 = -3, then 4 + .5 * 8 - 30 = -22.
        ((GOES_ON, GOES_ON, GOES_ON), (1 + 0.25 * (-3 + 0.25 * -22), -3 + 0.25 * -22, -22)),
        # The second step has no future: 2 - 20 = -18.
        ((GOES_ON, ENDED, GOES_ON), (1 + 0.25 * -18, -18, -22)),
        # The second step was cut: it only lends its value to the first.
        ((GOES_ON, CUT, GOES_ON), (1, 0, -22)),
        # The third has no future of its own, and none that the window bootstraps.
        ((GOES_ON, GOES_ON, ENDED), (1 + 0.25 * (-3 + 0.25 * -26), -3 + 0.25 * -26, -26)),
        ((GOES_ON, GOES_ON, CUT), (1 + 0.25 * -3, -3, 0)),
    ],
)
def test_advantages_of_three_steps_by_hand(
    ends: tuple[int, ...], advantages: tuple[float, ...]
) -> None:
    found, returns, _ = generalized_advantages(
        column(1, 2, 4), column(10, 20, 30), np.float32([8]), ends_of(*ends), gamma=0.5, lam=0.5
    )
    assert found[:, 0].tolist() == list(advantages)
    assert (returns - found)[:, 0].tolist() == [10, 20, 30]


def test_lambda_one_sums_all_rewards_and_zero_looks_one_step_ahead() -> None:
    rewards, values, ends = column(1, 2, 4), column(10, 20, 30), ends_of(GOES_ON, GOES_ON, ENDED)
    for lam, first in [(1, 1 + 0.5 * 2 + 0.25 * 4), (0, 1 + 0.5 * 20)]:
        _, returns, _ = generalized_advantages(
            rewards, values, np.float32([8]), ends, gamma=0.5, lam=lam
        )
        assert returns[0, 0] == first


def test_vtrace_by_hand() -> None:
    # The ratios are 4, clipped to 2 and 1.5, and 0.5.
    advantages, targets, _ = vtrace(
        column(1, 2),
        column(10, 20),
        np.float32([8]),
        ends_of(GOES_ON, GOES_ON),
        behaviour_log_probs=np.log(column(0.25, 0.5)),
        target_log_probs=np.log(column(1.0, 0.25)),
        gamma=0.5,
        rho_clip=2,
        c_clip=1.5,
    )
    last = 20 + 0.5 * (2 + 0.5 * 8 - 20)
    first = 10 + 2 * (1 + 0.5 * 20 - 10) + 0.5 * 1.5 * (last - 20)
    np.testing.assert_allclose(targets[:, 0], [first, last], rtol=1e-6)
    expected = [2 * (1 + 0.5 * last - 10), 0.5 * (2 + 0.5 * 8 - 20)]
    np.testing.assert_allclose(advantages[:, 0], expected, rtol=1e-6)


def test_vtrace_survives_an_action_that_its_player_would_never_take() -> None:
    one, two = column(1, 1), ends_of(GOES_ON, GOES_ON)
    _, targets, _ = vtrace(
        one,
        one,
        np.float32([1]),
        two,
        behaviour_log_probs=-1e30 * one,
        target_log_probs=0 * one,
        gamma=0.5,
    )
    np.testing.assert_allclose(targets[:, 0], [1 + 0.5 + 0.25, 1 + 0.5])


def test_n_step_returns_by_hand() -> None:
    ends = ends_of(GOES_ON, GOES_ON, ENDED, GOES_ON, GOES_ON, CUT, GOES_ON)
    returns, discounts, ahead = n_step_returns(column(1, 2, 4, 8, 16, 32, 64), ends, gamma=0.5, n=2)
    assert returns[:, 0].tolist() == [2, 4, 4, 16, 16, 0, 64]
    assert discounts[:, 0].tolist() == [0.25, 0, 0, 0.25, 0.5, 1, 0.5]
    assert ahead[[0, 3, 4, 5, 6], 0].tolist() == [2, 2, 1, 0, 1]
