from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from tests.toy import a_config
from tests.unit.test_trainer_checkpoint import MANIFEST
from trainer import checkpoint
from trainer.learning import Learner, arrays, means
from trainer.networks import ActorCritic, Seen, Shape

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.config import Config

SHAPE = Shape(frames=(4, 24, 28), action_count=3, channels=(8, 16), hidden=16, recurrent=True)


def a_learner(config: Config | None = None) -> Learner[ActorCritic]:
    return Learner(config or a_config(), lambda: ActorCritic(SHAPE), SHAPE)


def loss(learner: Learner[ActorCritic], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (6, 4, 24, 28), dtype=torch.uint8, generator=generator)
    state = torch.randn(6, learner.network.torso.state_size, generator=generator)
    with learner.precision():
        preferences, values, _ = learner.network(Seen(frames, torch.zeros(6, 0)), state)
    return (preferences.float().square().sum(dim=1) + (values.float() - 1).square()).mean()


def update(learner: Learner[ActorCritic], seed: int) -> float:
    return learner.update(lambda _: {"loss": loss(learner, seed)}, {})["loss"].item()


def saved(learner: Learner[ActorCritic], path: Path) -> Path:
    checkpoint.write(path, MANIFEST, checkpoint.grouped(**learner.state()))
    return path


def test_a_loaded_learner_goes_on_exactly_with_its_moments(tmp_path: Path) -> None:
    learner = a_learner()
    for seed in range(5):
        update(learner, seed)
    loaded = a_learner(a_config(seed=9))
    loaded.load(saved(learner, tmp_path / "a"))
    expected = [update(learner, seed) for seed in range(5, 15)]
    assert [update(loaded, seed) for seed in range(5, 15)] == expected
    for group, tensors in learner.state().items():
        assert tensors.keys() == loaded.state()[group].keys()
        for name, tensor in tensors.items():
            assert (tensor == loaded.state()[group][name]).all(), name


def test_weights_without_their_moments_go_on_otherwise() -> None:
    """So the test above sees moments that are lost."""
    learner, fresh = a_learner(), a_learner()
    for seed in range(5):
        update(learner, seed)
    fresh.network.load_state_dict(learner.network.state_dict())
    assert [update(fresh, 1), update(fresh, 2)] != [update(learner, 1), update(learner, 2)]


def test_state_is_a_copy() -> None:
    learner = a_learner()
    update(learner, 0)
    before = learner.state()
    kept = {name: tensor.copy() for name, tensor in before["network"].items()}
    update(learner, 1)
    assert all((kept[name] == tensor).all() for name, tensor in before["network"].items())


def test_the_player_is_a_running_average_of_the_weights_that_forgets_how_they_began() -> None:
    learner = a_learner(a_config(averaging=0.8))
    expected = {name: one.clone() for name, one in learner.player.state_dict().items()}
    for count in range(1, 61):
        update(learner, count)
        share = min(0.8, count / (count + 9))
        expected = {
            name: share * expected[name] + (1 - share) * latest
            for name, latest in learner.network.state_dict().items()
        }
    groups = learner.state()
    for name, kept in groups["network"].items():
        torch.testing.assert_close(torch.from_numpy(kept), expected[name], atol=1e-5, rtol=0)
        assert (kept != groups["latest"][name]).any(), name


def test_a_checkpoint_of_a_player_alone_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    path = saved(a_learner(a_config(averaging=0)), tmp_path / "a")
    with pytest.raises(checkpoint.CheckpointError, match="lacks the weights"):
        a_learner().load(path)


def test_without_averaging_the_latest_weights_play() -> None:
    learner = a_learner(a_config(averaging=0))
    update(learner, 0)
    assert learner.player is learner.network
    assert learner.state().keys() == {"network", "optimizer"}


def test_the_learning_rate_falls_in_a_straight_line() -> None:
    config = a_config(learning_rate=0.1, final_learning_rate=0.2, max_iterations=10)
    learner = a_learner(config)
    rates = []
    for iteration in (0, 5, 10):
        with learner.iteration(iteration):
            rates.append(learner._optimizer.rate)
    assert rates == pytest.approx([0.1, 0.06, 0.02])


def test_the_learner_takes_turns_on_all_cores_that_have_an_actor_and_stays_on_none() -> None:
    cores = os.sched_getaffinity(0)
    learner = a_learner(a_config(actors=len(cores), games=2 * len(cores)))
    used = set()
    with learner.iteration(0):
        for step in range(len(cores)):
            update(learner, step)
            used |= os.sched_getaffinity(0)
            assert len(os.sched_getaffinity(0)) == 1
    assert used == cores == os.sched_getaffinity(0)
    update(learner, 0)
    assert os.sched_getaffinity(0) == cores


def test_one_of_several_learners_is_left_to_the_scheduler() -> None:
    cores = os.sched_getaffinity(0)
    learner = a_learner(a_config(actors=2, learners=2, games=2))
    with learner.iteration(0):
        update(learner, 0)
        assert os.sched_getaffinity(0) == cores


def test_gradients_are_clipped_to_the_longest_allowed() -> None:
    learner = a_learner(a_config(max_gradient_norm=0.25))
    learner.update(lambda _: {"loss": 1e4 * loss(learner, 0)}, {})
    gradients = [one.grad for one in learner.network.parameters() if one.grad is not None]
    norm = torch.stack([one.norm() for one in gradients]).norm()
    assert norm.item() == pytest.approx(0.25, rel=1e-3)


def test_low_precision_computes_and_keeps_full_weights() -> None:
    exact, rough = a_learner(), a_learner(a_config(precision="bfloat16"))
    first, second = loss(exact, 0).item(), loss(rough, 0).item()
    assert first != second
    assert second == pytest.approx(first, rel=0.05)
    update(rough, 0)
    assert {one.dtype for one in rough.network.parameters()} == {torch.float32}


def test_a_gpu_that_is_missing_is_the_cpu() -> None:
    config = replace(a_config(), gpu_id=63)
    assert a_learner(config).device == torch.device("cpu")


def test_means_average_by_name_and_say_nothing_of_nothing() -> None:
    reports = [{"loss": torch.tensor(1.0)}, {"loss": torch.tensor(4.0)}]
    assert means(reports) == {"loss": 2.5}
    assert means([]) == {}


def test_arrays_are_contiguous_whatever_the_memory_format() -> None:
    kernels = torch.arange(48.0).reshape(2, 3, 2, 4).to(memory_format=torch.channels_last)
    found = arrays({"kernels": kernels})["kernels"]
    assert found.flags.c_contiguous
    assert found.ravel().tolist() == list(range(48))
