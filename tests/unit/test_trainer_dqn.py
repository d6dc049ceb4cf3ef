from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.unit.test_trainer_checkpoint import MANIFEST
from trainer import checkpoint
from trainer.config import parse
from trainer.dqn import Learner, double_q_targets, epsilon_at
from trainer.network import new_network
from trainer.policy import load
from trainer.replay import Batch

if TYPE_CHECKING:
    from pathlib import Path

SHAPE, ACTIONS = (4, 36, 64), 5


def a_batch(seed: int, size: int = 8) -> Batch:
    generator = np.random.default_rng(seed)
    return Batch(
        observations=generator.integers(0, 256, (size, *SHAPE), dtype=np.uint8),
        actions=generator.integers(0, ACTIONS, size),
        returns=generator.normal(size=size).astype(np.float32),
        discounts=np.full(size, 0.9, dtype=np.float32),
        next_observations=generator.integers(0, 256, (size, *SHAPE), dtype=np.uint8),
    )


@pytest.mark.parametrize(
    ("step", "epsilon"), [(0, 1.0), (100, 1.0), (200, 0.775), (300, 0.55), (500, 0.1), (9999, 0.1)]
)
def test_epsilon_follows_its_closed_form(step: int, epsilon: float) -> None:
    config = parse({"start_decay": 100, "stop_decay": 500, "final_decay": 0.1})
    assert epsilon_at(step, config) == pytest.approx(epsilon)


def test_one_network_chooses_and_the_other_judges() -> None:
    targets = double_q_targets(
        next_values=torch.tensor([[1.0, 2.0], [5.0, 4.0]]),
        target_values=torch.tensor([[10.0, 20.0], [30.0, 40.0]]),
        returns=torch.tensor([1.0, 2.0]),
        discounts=torch.tensor([0.5, 0.0]),
    )
    assert targets.tolist() == [1 + 0.5 * 20, 2.0]


def test_network_starts_from_its_seed_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (new_network(SHAPE, ACTIONS, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.value.weight, second.value.weight)
    assert not torch.equal(first.value.weight, other.value.weight)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(1, 36, 36), (4, 36, 64), (24, 60, 108)])
def test_network_values_every_action_of_every_observation(shape: tuple[int, int, int]) -> None:
    values = new_network(shape, 7, seed=0)(torch.zeros(3, *shape, dtype=torch.uint8))
    assert values.shape == (3, 7)


def test_updates_lower_the_loss_on_what_was_seen() -> None:
    learner = Learner(parse({"reward_scale": 1, "learning_rate": 1e-3}), SHAPE, ACTIONS)
    batch = a_batch(0)
    losses = [learner.update(batch)[0] for _ in range(30)]
    assert losses[-1] < losses[0] / 3


def test_target_keeps_still_until_it_is_updated() -> None:
    learner = Learner(parse({}), SHAPE, ACTIONS)
    start = learner.target.value.weight.clone()
    learner.update(a_batch(0))
    assert torch.equal(learner.target.value.weight, start)
    learner.update_target()
    assert torch.equal(learner.target.value.weight, learner.network.value.weight)
    assert not torch.equal(learner.target.value.weight, start)


def test_loaded_learner_has_the_same_next_ten_losses(tmp_path: Path) -> None:
    config = parse({})
    learner = Learner(config, SHAPE, ACTIONS)
    for seed in range(5):
        learner.update(a_batch(seed))
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.write(path, MANIFEST, checkpoint.grouped(**learner.state()))

    loaded = Learner(replace(config, seed=9), SHAPE, ACTIONS)
    loaded.load(path)
    expected = [learner.update(a_batch(seed)) for seed in range(5, 15)]
    assert [loaded.update(a_batch(seed)) for seed in range(5, 15)] == expected


def test_policy_acts_like_the_network_it_was_saved_from(tmp_path: Path) -> None:
    learner = Learner(parse({"seed": 4}), SHAPE, ACTIONS)
    path = tmp_path / "checkpoint.safetensors"
    network_alone = {"network": learner.state()["network"]}
    checkpoint.write(path, MANIFEST, checkpoint.grouped(**network_alone))

    policy = load(path)
    observations = a_batch(1, size=50).observations
    chosen = learner.act(observations)
    assert [policy.act(observation) for observation in observations] == chosen.tolist()
    assert len(set(chosen.tolist())) > 1
    assert {policy.act(observations[0]) for _ in range(100)} == {chosen[0]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"network": {"name": "Mystery", "arguments": {}}}, "'Mystery' is unknown"),
        ({"action_count": 6}, "do not fit"),
    ],
)
def test_policy_of_another_network_is_refused(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    learner = Learner(parse({}), SHAPE, ACTIONS)
    path = tmp_path / "checkpoint.safetensors"
    manifest = replace(MANIFEST, **change)
    checkpoint.write(path, manifest, checkpoint.grouped(**learner.state()))
    with pytest.raises(checkpoint.CheckpointError, match=reason):
        load(path)
