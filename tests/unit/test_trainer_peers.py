"""What several learners add up to: the learner that has all of their games."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from games.interface import ObservationSpace
from tests.learners import BUILDING, together, train_together
from tests.toy import LampGame, a_config, train_alone
from tests.unit.test_trainer_checkpoint import MANIFEST
from trainer import checkpoint, losses, shares
from trainer.config import ConfigError, parse
from trainer.learning import Learner
from trainer.networks import ActorCritic, Shape
from trainer.offline import OfflineReporter
from trainer.peers import ALONE, LostPeerError, Peers
from trainer.ppo import COLUMNS, PPO
from trainer.ring import CUT, ENDED, Ring, RingShape
from trainer.seeds import learning_generator

if TYPE_CHECKING:
    from pathlib import Path

    from games.interface import Frame, Outcome


def test_a_lone_learner_waits_for_nobody() -> None:
    assert ALONE.share("all") == "all"
    assert ALONE.gathered(3) == [3]
    assert ALONE.collect(3) == [3]
    assert ALONE.sum(torch.tensor([2.0])).tolist() == [2.0]


def test_learners_tell_each_other_what_they_have() -> None:
    def talk(peers: Peers) -> tuple[Any, ...]:
        own = {"rank": peers.rank, "frames": np.full(peers.rank, 7, dtype=np.uint16)}
        shared = peers.share({"until": 5} if peers.rank == 0 else None)
        ranks = [one["rank"] for one in peers.gathered(own)]
        sizes = [len(one["frames"]) for one in peers.collect(own)]
        return shared, ranks, sizes, peers.sum(torch.tensor([peers.rank, 1])).tolist()

    first, *others = together(3, talk)
    assert first == ({"until": 5}, [0, 1, 2], [0, 1, 2], [3, 3])
    assert others == [({"until": 5}, [0, 1, 2], [], [3, 3])] * 2


def test_a_learner_that_is_gone_is_noticed_by_the_others_at_once() -> None:
    gone = threading.Event()

    def meet(peers: Peers) -> str:
        peers.sum(torch.ones(1))
        if peers.rank == 1:
            peers._group.abort()
            gone.set()
            return "gone"
        assert gone.wait(20)
        with pytest.raises(LostPeerError):
            peers.sum(torch.ones(1))
        return "noticed"

    assert together(2, meet) == ["noticed", "gone"]


def test_an_averaged_gradient_is_that_of_all_samples_together() -> None:
    inputs = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    parts = [inputs[:7], inputs[7:7], inputs[7:]]

    def gradients(samples: torch.Tensor, peers: Peers = ALONE) -> list[torch.Tensor]:
        network = torch.nn.Linear(5, 2)
        torch.nn.init.constant_(network.weight, 0.3)
        torch.nn.init.constant_(network.bias, 0.1)
        errors = network(samples).square().sum(dim=1)
        losses.masked_mean(errors, torch.ones(len(samples))).backward()
        found = [one.grad for one in network.parameters()]
        peers.average(found, len(samples))
        return found

    expected = gradients(inputs)
    answers = together(3, lambda peers: gradients(parts[peers.rank], peers))
    for found in answers:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert all(torch.equal(*pair) for pair in zip(found, answers[0], strict=True))


def test_nobody_having_a_sample_leaves_gradients_of_nothing() -> None:
    def average(peers: Peers) -> list[float]:
        gradient = torch.zeros(2)
        peers.average([gradient], torch.tensor(0))
        return gradient.tolist()

    assert together(2, average) == [[0.0, 0.0]] * 2


# -- PPO ---------------------------------------------------------------------------------------

SPACE = ObservationSpace(frame_channels=1, history=2, height=20, width=20)
SHAPE = Shape(frames=SPACE.shape, action_count=3, channels=(4,), hidden=16)
STEPS, GAMES = 8, 4


def a_played_ring() -> Ring:
    """Two windows and a frame of four games; the games of the first learner are often cut."""
    ring = Ring(
        RingShape(space=SPACE, games=GAMES, rollout_steps=STEPS, windows=3, columns=COLUMNS)
    )
    draw = np.random.default_rng(1)
    ring["frames"][:] = draw.integers(0, 256, ring["frames"].shape)
    ring["actions"][:] = draw.integers(0, 3, ring["actions"].shape)
    for name in ("rewards", "values"):
        ring[name][:] = draw.normal(size=ring[name].shape)
    ring["log_probs"][:] = -1.1 + 0.3 * draw.normal(size=ring["log_probs"].shape)
    ring["ends"][5] = ENDED
    ring["ends"][2:4, 0] = CUT
    ring["ends"][6, 1] = CUT
    return ring


def learned(ring: Ring, peers: Peers = ALONE, **settings: Any) -> PPO:
    """One window is learned from in one update, or as the settings say."""
    sizes = {"games": GAMES, "rollout_steps": STEPS, "batch_size": STEPS * GAMES, "epochs": 1}
    config = parse({"actors": 2, "history": 2, "max_gradient_norm": 1e6, **sizes, **settings})
    with BUILDING:
        algorithm = PPO(config, SHAPE, ring, peers)
    algorithm.learn(0, learning_generator(config.seed, peers.rank))
    return algorithm


def gradients(algorithm: PPO) -> dict[str, torch.Tensor]:
    return {name: one.grad for name, one in algorithm.network.named_parameters()}


def test_learners_with_parts_of_a_window_move_like_one_with_all_of_it() -> None:
    ring = a_played_ring()
    half = GAMES // 2
    alone = learned(ring)
    both = together(
        2, lambda peers: learned(ring.of_games(peers.rank * half, half), peers, learners=2)
    )
    for one in both:
        torch.testing.assert_close(gradients(one), gradients(alone), rtol=1e-5, atol=1e-6)
    # Left to itself, a learner would go elsewhere.
    apart = learned(ring.of_games(0, half), games=half, batch_size=STEPS * half)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(gradients(apart), gradients(alone), rtol=1e-2, atol=1e-3)


def test_learners_hold_the_same_weights_after_updates_from_their_own_minibatches() -> None:
    ring = a_played_ring()
    half = GAMES // 2
    settings = {"learners": 2, "batch_size": 8, "epochs": 3}
    first, second = together(
        2, lambda peers: learned(ring.of_games(peers.rank * half, half), peers, **settings)
    )
    for name, weights in first.network.state_dict().items():
        assert torch.equal(weights, second.network.state_dict()[name]), name


# -- checkpoints -------------------------------------------------------------------------------


def groups_of(rank: int, *, weight: float = 1.0) -> dict[str, checkpoint.Tensors]:
    return {
        "network": {"weight": np.array([weight], dtype=np.float32)},
        "rng": {"generator": np.array([rank], dtype=np.uint8)},
        "replay": {"rewards": np.full(3, rank, dtype=np.float32)},
    }


def test_a_checkpoint_of_several_learners_deals_out_what_it_was_made_of(tmp_path: Path) -> None:
    saved = together(3, lambda peers: shares.joined(groups_of(peers.rank), peers))[0]
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.write(path, MANIFEST, saved)
    # The first learner, and whoever plays, reads its groups where a lone learner's would be.
    for name, tensors in groups_of(0).items():
        found = checkpoint.read_group(path, name)
        assert {key: one.tolist() for key, one in found.items()} == {
            key: one.tolist() for key, one in tensors.items()
        }
    for rank in (1, 2):
        expected = checkpoint.grouped(**groups_of(rank))
        found = shares.share(path, rank)
        assert found.keys() == expected.keys()
        assert all((found[name] == expected[name]).all() for name in expected)
    assert sum(name.endswith("network.weight") for name in saved) == 1


def test_learners_that_have_drifted_apart_save_nothing() -> None:
    def save(peers: Peers) -> str:
        groups = groups_of(peers.rank, weight=1.0 + 1e-7 * peers.rank)
        if peers.rank:
            return str(len(shares.joined(groups, peers)))
        with pytest.raises(shares.DriftError):
            shares.joined(groups, peers)
        return "refused"

    assert together(2, save)[0] == "refused"


# -- whole trainings ---------------------------------------------------------------------------

TWO = {"learners": 2, "actors": 2}
# Rounds of play and updates as a lone learner has them, in two halves.
SIZES = {
    "PPO": {"games": 8, "rollout_steps": 12, "batch_size": 32, "max_iterations": 30},
    "DQN": {"games": 4, "batch_size": 32, "max_iterations": 40},
}


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_two_learners_learn_together_what_brings_a_reward(algorithm: str, tmp_path: Path) -> None:
    reporter = OfflineReporter(tmp_path)
    judging = {"eval_episodes": 21, "checkpoint_interval": 1000}
    train_together(a_config(algorithm, **TWO, **SIZES[algorithm], **judging), reporter)
    (score,) = reporter.points["eval_return"].values()
    assert score > 0.95 * LampGame.DECISIONS


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("PPO", {}),
        ("DQN", {}),
        ("DQN", {"prioritised": True}),
        ("DRQN", {"burn_in": 2, "recurrent_updates": 3}),
    ],
)
def test_a_resumed_training_of_two_learners_ends_like_an_undisturbed_one(
    algorithm: str, options: dict[str, Any], tmp_path: Path
) -> None:
    config = a_config(algorithm, **TWO, **options)
    whole = OfflineReporter(tmp_path)
    train_together(config, whole)
    resumed = OfflineReporter(tmp_path)
    train_together(config, resumed, load=whole.path_of(4))
    assert list(whole.digests) == [4, 8, 12]
    assert resumed.digests == {8: whole.digests[8], 12: whole.digests[12]}


class MapGame(LampGame):
    """Brings more on the one map than on the other."""

    def __init__(self, scenario: str) -> None:
        super().__init__()
        self._worth = 3.0 if scenario == "simpler_basic" else 1.0

    def make_action(self, action: int, frame: Frame) -> Outcome:
        outcome = super().make_action(action, frame)
        self.total_reward += (self._worth - 1) * outcome.reward
        return outcome


def test_two_learners_do_what_one_does_with_the_actors_of_both(tmp_path: Path) -> None:
    """Where an update takes all of a window, so that nobody draws what goes into it."""
    maps = ["basic", "simpler_basic"]
    settings = {"actors": 2, "epochs": 1, "batch_size": 32, "max_iterations": 3, "maps": maps}
    reporters = [OfflineReporter(tmp_path / name) for name in ("alone", "both")]
    for reporter in reporters:
        reporter.path_of(3).parent.mkdir()
    alone, both = reporters
    train_alone(a_config(**settings), alone, MapGame)
    train_together(a_config(**settings, learners=2), both, MapGame)

    judged = ("eval_return", *(f"eval_return/{name}" for name in maps))
    for name in ("avg_reward", "episode_length", "episodes", "loss_v", *judged):
        expected = pytest.approx(list(alone.points[name].values()), rel=1e-4)
        assert list(both.points[name].values()) == expected, name
    weights = [checkpoint.read_group(one.path_of(3), "network") for one in reporters]
    for name, expected in weights[0].items():
        np.testing.assert_allclose(weights[1][name], expected, rtol=1e-4, atol=1e-5)


# -- configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"learners": 3, "games": 16, "actors": 3, "batch_size": 33}, "games"),
        ({"learners": 4, "games": 16, "actors": 2}, "actors"),
        ({"learners": 2, "batch_size": 33}, "batch_size"),
        ({"learners": 65}, "learners"),
        (
            {"learners": 2, "games": 2, "actors": 2, "maps": ["basic", "simpler_basic"]},
            "maps",
        ),
    ],
)
def test_what_cannot_be_shared_out_evenly_is_refused(settings: dict[str, int], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(settings)
    assert refusal.value.field == field


def test_a_batch_is_that_of_all_learners_together() -> None:
    config = parse({"learners": 2, "batch_size": 128})

    def size(peers: Peers) -> int:
        with BUILDING:
            return Learner(config, lambda: ActorCritic(SHAPE), SHAPE, peers).batch_size

    assert together(2, size) == [64, 64]
