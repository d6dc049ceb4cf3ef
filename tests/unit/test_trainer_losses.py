"""Losses against float64 numpy: their values, and their slopes by central differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from trainer import losses

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE, ACTIONS, FEATURES = (4, 3), 5, 2


def draw(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    valid = generator.random(SHAPE) < 0.7
    valid[0] = True, False, True
    return {
        "old": generator.normal(size=SHAPE),
        "advantages": generator.normal(size=SHAPE),
        "returns": generator.normal(scale=2, size=SHAPE),
        "weights": generator.uniform(0.1, 1, size=SHAPE),
        "features": generator.integers(0, 2, (*SHAPE, FEATURES)),
        "valid": valid,
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def policy(x: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    ratios, gains = np.exp(x - given["old"]), given["advantages"]
    # What the two minima come to, case by case.
    held = np.where(gains > 0, np.minimum(ratios, 1.2), np.maximum(ratios, 0.8))
    return -held * gains


def plain_value(x: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    return (x - given["returns"]) ** 2 / 2


def clipped_value(x: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    held = np.clip(x, given["old"] - 0.3, given["old"] + 0.3)
    return np.maximum(plain_value(x, given), plain_value(held, given))


def negative_entropy(x: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    return (softmax(x) * np.log(softmax(x))).sum(axis=-1)


def weighted_huber(x: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    errors = np.abs(x - given["returns"])
    return given["weights"] * np.where(errors < 0.7, errors**2 / 2, 0.7 * errors - 0.7**2 / 2)


def plain_huber(x: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    errors = np.abs(x - given["returns"])
    return np.where(errors < 1, errors**2 / 2, errors - 0.5)


def cross_entropy(x: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    likely = 1 / (1 + np.exp(-x))
    return -np.log(np.where(given["features"] == 1, likely, 1 - likely)).mean(axis=-1)


Given = dict[str, torch.Tensor]
LOSSES: dict[str, tuple[Callable, Callable, tuple[int, ...]]] = {
    "policy": (
        policy,
        lambda x, g: losses.policy_loss(x, g["old"], g["advantages"], g["valid"], clip=0.2),
        SHAPE,
    ),
    "plain value": (
        plain_value,
        lambda x, g: losses.value_loss(x, g["old"], g["returns"], g["valid"], clip=None),
        SHAPE,
    ),
    "clipped value": (
        clipped_value,
        lambda x, g: losses.value_loss(x, g["old"], g["returns"], g["valid"], clip=0.3),
        SHAPE,
    ),
    "entropy": (
        negative_entropy,
        lambda x, g: -losses.entropy(x, g["valid"]),
        (*SHAPE, ACTIONS),
    ),
    "weighted huber": (
        weighted_huber,
        lambda x, g: losses.huber_loss(
            x, g["returns"], g["valid"], weights=g["weights"], delta=0.7
        ),
        SHAPE,
    ),
    "plain huber": (
        plain_huber,
        lambda x, g: losses.huber_loss(x, g["returns"], g["valid"]),
        SHAPE,
    ),
    "features": (
        cross_entropy,
        lambda x, g: losses.feature_loss(x, g["features"], g["valid"]),
        (*SHAPE, FEATURES),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(5))
def test_loss_and_its_slope_are_those_of_the_reference(name: str, seed: int) -> None:
    reference, loss, shape = LOSSES[name]
    given, point = draw(seed), np.random.default_rng(seed + 100).normal(size=shape)

    def expected(x: np.ndarray) -> float:
        return float(reference(x, given)[given["valid"]].mean())

    x = torch.tensor(point, requires_grad=True)
    value = loss(x, {key: torch.from_numpy(array) for key, array in given.items()})
    value.backward()
    assert value.item() == pytest.approx(expected(point), rel=1e-12)
    slopes = np.zeros(shape)
    for place in np.ndindex(*shape):
        nudge = np.zeros(shape)
        nudge[place] = 1e-6
        slopes[place] = (expected(point + nudge) - expected(point - nudge)) / 2e-6
    np.testing.assert_allclose(x.grad.numpy(), slopes, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_keeps_single_precision(name: str) -> None:
    reference, loss, shape = LOSSES[name]
    given, point = draw(0), np.random.default_rng(0).normal(size=shape).astype(np.float32)
    tensors = {key: torch.from_numpy(array) for key, array in given.items()}
    tensors = {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}
    value = loss(torch.from_numpy(point), tensors)
    expected = reference(point.astype(np.float64), given)[given["valid"]].mean()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_nothing_valid_is_zero_and_moves_nothing(name: str) -> None:
    _, loss, shape = LOSSES[name]
    given = {key: torch.from_numpy(array) for key, array in draw(0).items()}
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    value = loss(x, {**given, "valid": torch.zeros(SHAPE)})
    value.backward()
    assert value.item() == 0
    assert not x.grad.any()


def test_log_probabilities_belong_to_the_actions_taken() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(*SHAPE, ACTIONS))
    actions = generator.integers(0, ACTIONS, SHAPE)
    found = losses.action_log_probs(torch.from_numpy(logits), torch.from_numpy(actions))
    for place in np.ndindex(*SHAPE):
        expected = np.log(softmax(logits[place])[actions[place]])
        assert found[place].item() == pytest.approx(expected)


def test_entropy_of_a_uniform_policy_is_the_logarithm_of_its_actions() -> None:
    found = losses.entropy(torch.full((2, 7), 3.0), torch.ones(2))
    assert found.item() == pytest.approx(np.log(7))


def test_standardized_advantages_ignore_invalid_steps() -> None:
    advantages, valid = draw(3)["advantages"], draw(3)["valid"]
    given = torch.from_numpy(np.where(valid, advantages, 1e6))
    found = losses.standardized(given, torch.from_numpy(valid)).numpy()[valid]
    expected = advantages[valid]
    np.testing.assert_allclose(found, (expected - expected.mean()) / expected.std(), rtol=1e-6)


def test_equal_advantages_standardize_to_zero() -> None:
    assert not losses.standardized(torch.full((3,), 2.0), torch.ones(3)).any()


def test_one_network_chooses_and_the_other_judges() -> None:
    choosing = torch.tensor([[1.0, 2.0], [5.0, 4.0]], requires_grad=True)
    judging = torch.tensor([[10.0, 20.0], [40.0, 30.0]], requires_grad=True)
    returns, discounts = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0])
    targets = losses.q_targets(choosing, judging, returns, discounts)
    assert targets.tolist() == [1 + 0.5 * 20, 2.0]
    assert losses.q_targets(-choosing, judging, returns, discounts)[0] == 1 + 0.5 * 10
    assert not targets.requires_grad


def test_targets_of_sequences_are_those_of_their_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    choosing, judging = torch.randn(2, *SHAPE, ACTIONS, generator=generator)
    returns, discounts = torch.randn(2, *SHAPE, generator=generator)
    found = losses.q_targets(choosing, judging, returns, discounts)
    for place in np.ndindex(*SHAPE):
        best = int(choosing[place].argmax())
        assert found[place] == returns[place] + discounts[place] * judging[place][best]
