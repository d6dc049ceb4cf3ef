"""What DQN and DRQN make of a batch, against the same in float64, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from games.interface import ObservationSpace
from tests.rings import play, ring_for
from trainer.algorithms import RECIPES
from trainer.config import ConfigError, parse
from trainer.networks import Seen, Shape, rebuild
from trainer.ring import CUT, ENDED

if TYPE_CHECKING:
    from trainer.networks import QNetwork
    from trainer.q_learning import QLearning

SPACE = ObservationSpace(frame_channels=1, history=2, height=12, width=12)
GAMES, STEPS, ACTIONS, FEATURES = 4, 8, 3, 2
SETTINGS = {
    "history": 2,
    "channels": [4],
    "hidden": 8,
    "games": GAMES,
    "rollout_steps": STEPS,
    "batch_size": 24,
    "recurrent_updates": 3,
    "burn_in": 2,
    "n_step": 3,
    "gamma": 0.9,
    "reward_scale": 2,
    "replay_capacity": 256,
    "learning_starts": 64,
    "game_features": True,
    "feature_weight": 0.5,
}
DRQN_ALONE = {"recurrent_updates", "burn_in"}


def a_learner(algorithm: str, *, windows: int = 5, **changes: object) -> QLearning[Any]:
    """Stand before the first update, after `windows` of random play, with another target."""
    settings = {**SETTINGS, "algorithm": algorithm, **changes}
    if algorithm == "DQN":
        settings = {name: settings[name] for name in settings if name not in DRQN_ALONE}
    config = parse(settings)
    shape = Shape(
        frames=SPACE.shape,
        action_count=ACTIONS,
        features=FEATURES,
        channels=config.channels,
        hidden=config.hidden,
        recurrent=config.network_type == "lstm",
    )
    ring = ring_for(config, SPACE, features=FEATURES)
    play(ring, windows * STEPS, actions=ACTIONS)
    learner: Any = RECIPES[algorithm].learner(config, shape, ring)
    learner.replay.grow(windows * STEPS)
    with torch.no_grad():
        for parameter in learner.target.parameters():
            parameter.mul_(1.3).add_(0.01)
    return learner


def told(learner: QLearning[Any], batch: object) -> dict[str, torch.Tensor]:
    """What there is to report of a batch."""
    return learner._losses(learner._learner.upload(learner._arrays(batch)))


def see(network: QNetwork, frames: np.ndarray) -> torch.Tensor:
    """Compute the hidden layer before the memory, float64 [B, hidden], from pixels."""
    weights = {name: value.double() for name, value in network.state_dict().items()}
    pixels = torch.from_numpy(frames).double() / 255
    first = functional.conv2d(
        pixels,
        weights["torso.convolutions.0.weight"],
        weights["torso.convolutions.0.bias"],
        stride=4,
    ).relu()
    return functional.linear(
        first.flatten(1), weights["torso.hidden.weight"], weights["torso.hidden.bias"]
    ).relu()


def remember(network: QNetwork, seen: torch.Tensor) -> torch.Tensor:
    """Take [S, hidden] through the memory of one sequence, which begins empty."""
    weights = {name: value.double() for name, value in network.torso.core.state_dict().items()}
    state = cell = torch.zeros(seen.shape[1], dtype=torch.float64)
    answers = []
    for one in seen:
        gates = weights["weight_ih"] @ one + weights["bias_ih"]
        gates = gates + weights["weight_hh"] @ state + weights["bias_hh"]
        enter, keep, new, show = gates.chunk(4)
        cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
        state = show.sigmoid() * cell.tanh()
        answers.append(state)
    return torch.stack(answers)


def value(network: QNetwork, hidden: torch.Tensor) -> np.ndarray:
    weights = {name: value.double() for name, value in network.state_dict().items()}
    advantage = functional.linear(hidden, weights["advantage.weight"], weights["advantage.bias"])
    if network.value is not None:
        level = functional.linear(hidden, weights["value.weight"], weights["value.bias"])
        advantage = advantage - advantage.mean(dim=1, keepdim=True) + level
    return advantage.numpy()


def goal(
    learner: QLearning[Any],
    steps: np.ndarray,
    game: int,
    choosing: np.ndarray,
    judging: np.ndarray,
) -> float:
    """Sum up rewards from the first of `steps` on; the last of them is only looked at."""
    ring, gamma, total, discount = learner._ring, 0.9, 0.0, 1.0
    for row, step in enumerate(steps[:-1]):
        end = ring["ends"][step % ring.length, game]
        if end == CUT:
            return total + discount * judging[row][choosing[row].argmax()]
        total += discount * 2 * ring["rewards"][step % ring.length, game]
        discount *= gamma
        if end == ENDED:
            return total
    return total + discount * judging[len(steps) - 1][choosing[len(steps) - 1].argmax()]


def huber(error: float) -> float:
    return 0.5 * error**2 if abs(error) < 1 else abs(error) - 0.5


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("prioritised", [True, False])
def test_loss_of_dqn(*, double: bool, dueling: bool, prioritised: bool) -> None:
    learner = a_learner("DQN", double=double, dueling=dueling, prioritised=prioritised)
    ring, network, target = learner._ring, learner.network, learner.target
    batches = learner._batches(2, 5, np.random.default_rng(3))
    learner._update(next(batches))
    batch = next(batches)
    drawn = batch.transitions
    expected = []
    for step, game in zip(drawn.steps, drawn.games, strict=True):
        steps = np.arange(step, step + 4)
        frames = ring.observations(steps, np.full(4, game))
        values, judging = (value(one, see(one, frames)) for one in (network, target))
        found = goal(learner, steps, game, values if double else judging, judging)
        expected.append(huber(values[0][ring["actions"][step, game]] - found))
    weights = np.ones(24) if batch.weights is None else batch.weights
    assert (weights.min() < 1) == prioritised
    assert told(learner, batch)["dqn_loss"].item() == pytest.approx(
        np.mean(expected * weights), rel=1e-4
    )


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("windows", [5, 30])
def test_loss_of_drqn(*, double: bool, windows: int) -> None:
    learner = a_learner("DRQN", double=double, windows=windows)
    ring, network, target = learner._ring, learner.network, learner.target
    batch = next(learner._batches(1, 5, np.random.default_rng(3)))
    expected, carried = [], 0
    for slots, game, mask in zip(batch.slots, batch.games, batch.mask, strict=True):
        frames = ring.observations(slots, np.full(len(slots), game))
        values, judging = (value(one, remember(one, see(one, frames))) for one in (network, target))
        choosing = values if double else judging
        for row in np.flatnonzero(mask):
            ahead = slice(row, row + 4)
            found = goal(learner, slots[ahead], game, choosing[ahead], judging[ahead])
            expected.append(huber(values[row][ring["actions"][slots[row], game]] - found))
        carried += mask.all()
    # Some sequences begin with their episode, so all of their steps carry loss; others do not.
    assert len(batch.games) == 8
    assert 0 < carried < 8
    assert told(learner, batch)["dqn_loss"].item() == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("algorithm", ["DQN", "DRQN"])
def test_game_features_add_their_loss(algorithm: str) -> None:
    learner = a_learner(algorithm)
    report = told(learner, next(learner._batches(1, 0, np.random.default_rng(0))))
    assert report["loss_features"].item() > 0
    total = report["dqn_loss"] + 0.5 * report["loss_features"]
    assert report["loss"].item() == pytest.approx(total.item())


@pytest.mark.parametrize("algorithm", ["DQN", "DRQN"])
def test_updates_lower_both_losses_on_what_was_seen(algorithm: str) -> None:
    learner = a_learner(algorithm, learning_rate=0.01, batch_size=64)
    batch = next(learner._batches(1, 0, np.random.default_rng(0)))
    first, *_, last = (learner._update(batch) for _ in range(60))
    assert last["dqn_loss"] < first["dqn_loss"] / 2
    assert last["loss_features"] < first["loss_features"]


@pytest.mark.parametrize("algorithm", ["DQN", "DRQN"])
def test_updates_come_with_the_steps_and_the_target_follows_them(algorithm: str) -> None:
    learner = a_learner(
        algorithm, windows=0, steps_per_update=48, target_interval=3, learning_starts=64
    )
    play(learner._ring, 9 * STEPS)
    generator = np.random.default_rng(0)
    counts, followed = [], []
    for iteration in range(8):
        learner.learn(iteration, generator)
        counts.append(learner._learner.updates)
        weights = learner.network.advantage.weight, learner.target.advantage.weight
        followed.append(torch.equal(*weights))
    # 32 steps an iteration; 64 have been played after the second, and 48, 96, … are due.
    assert counts == [0, 1, 2, 2, 3, 4, 4, 5]
    assert followed == [False, False, False, False, True, False, False, False]


@pytest.mark.parametrize("algorithm", ["DQN", "DRQN"])
@pytest.mark.parametrize("dueling", [True, False])
def test_described_network_is_laid_out_again(algorithm: str, *, dueling: bool) -> None:
    learner = a_learner(algorithm, dueling=dueling)
    copy = rebuild(learner.description())
    copy.load_state_dict(learner.network.state_dict())
    frames = torch.randint(0, 256, (5, *SPACE.shape), dtype=torch.uint8)
    seen, state = Seen(frames, torch.zeros(5, 0)), torch.zeros(5, copy.torso.state_size)
    values, _ = learner.network(seen, state)
    assert torch.equal(copy(seen, state)[0], values)
    assert ("value.weight" in copy.state_dict()) == dueling


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"algorithm": "PPO", "double": True}, "double"),
        ({"algorithm": "PPO", "dueling": False}, "dueling"),
        ({"algorithm": "PPO", "prioritised": True}, "prioritised"),
        ({"algorithm": "DRQN", "prioritised": True}, "prioritised"),
        ({"algorithm": "DRQN", "priority_beta": 0.5}, "priority_beta"),
        ({"algorithm": "DQN", "burn_in": 0}, "burn_in"),
        ({"algorithm": "DQN", "recurrent_updates": 4}, "recurrent_updates"),
        ({"algorithm": "DQN", "network_type": "lstm"}, "network_type"),
        ({"algorithm": "DRQN", "network_type": "feed_forward"}, "network_type"),
        ({"algorithm": "DQN", "priority_alpha": 1.1}, "priority_alpha"),
        ({"algorithm": "DRQN", "recurrent_updates": 200}, "learning_starts"),
    ],
)
def test_option_of_another_algorithm_is_refused(settings: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(settings)
    assert refusal.value.field == field
