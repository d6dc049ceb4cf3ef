from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.toy import LampGame, a_config, parts
from tests.unit.test_trainer_checkpoint import MANIFEST
from trainer import checkpoint
from trainer.config import parse
from trainer.networks import Seen
from trainer.q_learning import windows

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.config import Config
    from trainer.dqn import DQN

CONFIG = a_config("DQN", target_interval=6, steps_per_update=8)
UPDATES = CONFIG.steps_per_iteration // 8


def a_dqn(config: Config = CONFIG, *, seed: int = 1) -> DQN:
    """A learner beside a ring full of noise, of which nothing is known yet."""
    made = parts(config, LampGame)
    ring = made.ring
    draw = np.random.default_rng(seed)
    ring["frames"][:] = draw.integers(0, 256, ring["frames"].shape)
    ring["actions"][:] = draw.integers(0, 3, ring["actions"].shape)
    ring["rewards"][:] = draw.normal(size=ring["rewards"].shape)
    ring["ages"][:] = 100
    return made.algorithm


def learned(dqn: DQN, iterations: range) -> list[dict[str, float]]:
    return [dict(dqn.learn(at, np.random.default_rng(at))) for at in iterations]


def shown(dqn: DQN, steps: np.ndarray, games: np.ndarray) -> Seen:
    frames = torch.from_numpy(dqn._ring.observations(steps, games))
    return Seen(frames, torch.zeros(len(steps), 0))


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return [one.clone() for one in network.state_dict().values()]


def are_equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, first, second))


@pytest.mark.parametrize(
    ("step", "epsilon"), [(0, 1.0), (100, 1.0), (200, 0.775), (300, 0.55), (500, 0.1), (9999, 0.1)]
)
def test_epsilon_follows_its_closed_form(step: int, epsilon: float) -> None:
    dqn = a_dqn(a_config("DQN", start_decay=100, stop_decay=500, final_decay=0.1))
    assert dqn.exploration(step) == pytest.approx(epsilon)


def test_a_ring_holds_whole_windows_of_the_replay() -> None:
    config = parse({"algorithm": "DQN", "replay_capacity": 1000, "learning_starts": 500})
    assert windows(config) == 1000 // 64


def test_nothing_is_learned_before_there_is_enough_to_learn_from() -> None:
    dqn = a_dqn(replace(CONFIG, learning_starts=3 * 32))
    start = weights(dqn.network)
    for at, report in enumerate(learned(dqn, range(2))):
        assert set(report) == {"epsilon", "replay_size"}
        assert report["replay_size"] == 32 * (at + 1)
    assert are_equal(weights(dqn.network), start)
    (report,) = learned(dqn, range(2, 3))
    assert {"loss", "dqn_loss", "q_mean"} < set(report)
    assert not are_equal(weights(dqn.network), start)


def test_a_window_is_worth_as_many_updates_as_the_config_says() -> None:
    dqn = a_dqn()
    learned(dqn, range(5))
    # Learning starts with the second window.
    assert dqn._learner.updates == 4 * UPDATES


def test_the_target_keeps_still_between_its_copies() -> None:
    dqn = a_dqn()
    start = weights(dqn.target)
    learned(dqn, range(2))
    assert dqn._learner.updates == 4
    assert are_equal(weights(dqn.target), start)
    assert not are_equal(weights(dqn.network), start)
    learned(dqn, range(2, 3))
    assert dqn._learner.updates == 8
    copied = weights(dqn.target)
    assert not are_equal(copied, start)
    assert not are_equal(copied, weights(dqn.network))


def test_one_network_chooses_what_the_other_judges() -> None:
    dqn = a_dqn(replace(CONFIG, reward_scale=0.5, steps_per_update=32))
    with torch.no_grad():
        for parameter in dqn.target.parameters():
            parameter.mul_(1.5)
    dqn.replay.grow(16)
    batch = dqn.replay.transitions(
        *dqn.replay.draw(16, n_step=2, generator=np.random.default_rng(1)), n_step=2, gamma=0.99
    )
    with torch.no_grad():
        after = shown(dqn, batch.next_steps, batch.games)
        stateless = torch.zeros(16, 0)
        best = dqn.network(after, stateless)[0].argmax(dim=1).tolist()
        judged = dqn.target(after, stateless)[0].numpy()[np.arange(16), best]
        now = dqn.network(shown(dqn, batch.steps, batch.games), stateless)[0].numpy()
    errors = 0.5 * batch.returns + batch.discounts * judged - now[np.arange(16), batch.actions]
    huber = np.where(abs(errors) < 1, errors**2 / 2, abs(errors) - 0.5)

    report = dqn.learn(1, np.random.default_rng(1))
    assert report["loss"] == pytest.approx(huber.mean(), rel=1e-4)


def test_updates_lower_the_loss_on_what_the_replay_holds() -> None:
    dqn = a_dqn(replace(CONFIG, gamma=0.0, learning_rate=1e-2))
    dqn._ring["rewards"][:] = dqn._ring["actions"]
    first, *_, last = [report["loss"] for report in learned(dqn, range(1, 40))]
    assert last < first / 3


def test_a_loaded_learner_has_the_same_next_losses(tmp_path: Path) -> None:
    dqn = a_dqn()
    learned(dqn, range(6))
    path = tmp_path / "checkpoint"
    checkpoint.write(path, MANIFEST, checkpoint.grouped(**dqn.state()))
    loaded = a_dqn(replace(CONFIG, seed=99), seed=5)
    loaded.load(path)
    # What is played next is the same for both.
    loaded._ring.load({name: dqn._ring[name] for name in dqn._ring.state(1)})
    assert learned(loaded, range(6, 12)) == learned(dqn, range(6, 12))
    assert are_equal(weights(loaded.target), weights(dqn.target))


def test_a_checkpoint_without_a_replay_leaves_one_to_fill(tmp_path: Path) -> None:
    dqn = a_dqn(replace(CONFIG, persist_replay=False))
    learned(dqn, range(6))
    path = tmp_path / "checkpoint"
    checkpoint.write(path, MANIFEST, checkpoint.grouped(**dqn.state()))
    assert checkpoint.read_group(path, "replay") == {}
    loaded = a_dqn(replace(CONFIG, persist_replay=False))
    loaded.load(path)
    assert len(loaded.replay) == 0
    reports = learned(loaded, range(6, 9))
    assert [report["replay_size"] for report in reports] == [32, 64, 96]
    assert ["loss" in report for report in reports] == [False, True, True]
