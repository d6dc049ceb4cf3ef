from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.toy import CountingGame, LampGame, a_config, parts
from trainer import losses
from trainer.networks import Seen
from trainer.ring import CUT, GOES_ON

if TYPE_CHECKING:
    from trainer.config import Config
    from trainer.ppo import PPO

NETWORKS = ("feed_forward", "lstm")


def played(config: Config, *, windows: int = 2) -> PPO:
    """A learner beside some windows of its own, of which it has learned nothing."""
    made = parts(config, CountingGame)
    players = made.alone()
    players.restart(0)
    for iteration in range(windows):
        players.start(iteration)
    return made.algorithm


def small(**settings: object) -> Config:
    return a_config(**{"history": 3, "channels": [4], "hidden": 16, **settings})


@pytest.mark.parametrize("network_type", NETWORKS)
def test_a_window_shows_the_network_what_the_player_saw(network_type: str) -> None:
    """Before anything is learned, the learner finds every action as likely as the player did."""
    algorithm = played(small(network_type=network_type))
    for iteration in range(2):
        window = algorithm._window(iteration)
        for batch in algorithm._minibatches(window, np.random.default_rng(0)):
            seen = Seen(batch.frames.permute(0, 3, 1, 2), batch.variables)
            hidden = algorithm.network.torso.unroll(seen, batch.state, batch.fresh)
            preferences = algorithm.network.preferences(hidden)
            found = losses.action_log_probs(preferences, batch.actions)
            torch.testing.assert_close(found, batch.log_probs, rtol=1e-4, atol=1e-5)
            values = algorithm.network.value(hidden).squeeze(1)
            torch.testing.assert_close(values, batch.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network_type", NETWORKS)
def test_minibatches_deal_every_step_once(network_type: str) -> None:
    algorithm = played(small(network_type=network_type))
    window = algorithm._window(1)
    numbered = replace(window, returns=torch.arange(32.0).reshape(8, 4))
    batches = list(algorithm._minibatches(numbered, np.random.default_rng(0)))
    assert [len(batch.returns) for batch in batches] == [16, 16]
    dealt = torch.cat([batch.returns for batch in batches])
    assert sorted(dealt.tolist()) == list(range(32))
    assert dealt.tolist() != list(range(32))
    again = list(algorithm._minibatches(numbered, np.random.default_rng(1)))
    assert torch.cat([batch.returns for batch in again]).tolist() != dealt.tolist()
    # What belongs together stays together.
    flat = window.map(lambda tensor: tensor.flatten(0, 1))
    for batch in batches:
        where = batch.returns.long()
        for name in ("frames", "actions", "log_probs", "values", "advantages", "valid"):
            assert torch.equal(getattr(batch, name), getattr(flat, name)[where]), name


def test_minibatches_of_a_recurrent_network_are_whole_games_from_their_states() -> None:
    algorithm = played(small(network_type="lstm"))
    window = algorithm._window(1)
    numbered = replace(window, returns=torch.arange(32.0).reshape(8, 4))
    for batch in algorithm._minibatches(numbered, np.random.default_rng(0)):
        steps = batch.returns.reshape(8, 2).long()
        games = steps[0]
        assert (steps == games + 4 * torch.arange(8)[:, None]).all()
        assert torch.equal(batch.state, window.state[games])
        assert torch.equal(batch.fresh, window.fresh[:, games])


@pytest.mark.parametrize("network_type", NETWORKS)
def test_the_state_after_a_window_is_worth_what_the_network_now_thinks(network_type: str) -> None:
    config = small(network_type=network_type, games=16)
    algorithm = played(config)
    ring, network = algorithm._ring, algorithm.network
    with torch.no_grad():
        network.value.weight.mul_(3)
        frames = ring.observations(np.full(16, 8), np.arange(16))
        seen = Seen(torch.from_numpy(frames), torch.zeros(16, 0))
        _, worth, _ = network(seen, torch.from_numpy(ring["states"][1]))
    going = ring["ends"][7] == GOES_ON
    assert going.sum() > 5
    expected = ring["rewards"][7] + config.gamma * worth.numpy()
    found = algorithm._window(0).returns[-1].numpy()
    np.testing.assert_allclose(found[going], expected[going], rtol=1e-4)


def test_rewards_are_scaled_before_they_are_learned_from() -> None:
    plain, scaled = (played(small(reward_scale=scale, gamma=0.0)) for scale in (1, 0.25))
    # Nothing of the future counts, so a step is worth its reward; a cut one, what it was held for.
    counts = plain._window(0).valid.bool()
    rewards = torch.from_numpy(plain._ring["rewards"][:8])[counts]
    for one, scale in ((plain, 1), (scaled, 4)):
        found = one._window(0).returns[counts]
        torch.testing.assert_close(found, rewards / scale, rtol=1e-4, atol=1e-4)


def test_a_cut_step_teaches_nothing() -> None:
    algorithm = played(small())
    window = algorithm._window(1)
    cut = torch.from_numpy(algorithm._ring["ends"][8:16] == CUT)
    assert torch.equal(window.valid.bool(), ~cut)
    assert cut.any()
    flat = window.map(lambda tensor: tensor.flatten(0, 1))
    odd = replace(
        flat,
        advantages=torch.where(flat.valid.bool(), flat.advantages, torch.tensor(1e3)),
        returns=torch.where(flat.valid.bool(), flat.returns, torch.tensor(-1e3)),
    )
    reports = [played(small())._update(batch) for batch in (flat, odd)]
    assert reports[0] == reports[1]


def test_features_of_the_game_are_learned_beside_the_policy() -> None:
    made = parts(a_config(games=8, learning_rate=1e-2, game_features=True), LampGame)
    players = made.alone()
    players.restart(0)
    found = []
    for iteration in range(20):
        players.start(iteration)
        report = made.algorithm.learn(iteration, np.random.default_rng(iteration))
        found.append(report["loss_features"])
    # Whether the first lamp is lit: a guess costs log 2, knowing it nothing.
    assert found[0] == pytest.approx(np.log(2), abs=0.3)
    assert found[-1] < 0.1


def test_metrics_have_the_usual_names() -> None:
    report = played(small()).learn(0, np.random.default_rng(0))
    assert set(report) == {"loss", "loss_pi", "loss_v", "entropy"}
    assert report["entropy"] == pytest.approx(np.log(4), rel=0.01)
    combined = report["loss_pi"] + 0.5 * report["loss_v"] - 0.01 * report["entropy"]
    assert report["loss"] == pytest.approx(combined, rel=1e-4)
