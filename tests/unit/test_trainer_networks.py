from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from trainer.networks import (
    ActorCritic,
    Network,
    PixelConvolution,
    QNetwork,
    Seen,
    Shape,
    Torso,
    build,
    describe,
    rebuild,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = Shape(frames=(2, 20, 24), action_count=5, channels=(6,), hidden=16)
LSTM = replace(SHAPE, recurrent=True)
FULL = replace(SHAPE, variables=3, features=2, recurrent=True)


def seen(count: int, shape: Shape = SHAPE, seed: int = 0) -> Seen:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (count, *shape.frames), dtype=torch.uint8, generator=generator)
    return Seen(frames, torch.randn(count, shape.variables, generator=generator))


@pytest.mark.parametrize("shape", [SHAPE, LSTM, FULL])
def test_unrolling_a_sequence_is_playing_it_step_by_step(shape: Shape) -> None:
    steps, games = 7, 4
    torso = build(lambda: Torso(shape), seed=1)
    generator = torch.Generator().manual_seed(2)
    fresh = torch.rand(steps, games, generator=generator) < 0.3
    start = torch.randn(games, torso.state_size, generator=generator)
    sequence = seen(steps * games, shape)

    state, answers = start.clone(), []
    for step in range(steps):
        # Whoever plays zeroes the state where an episode begins.
        state[fresh[step]] = 0
        rows = slice(step * games, (step + 1) * games)
        hidden, state = torso(Seen(sequence.frames[rows], sequence.variables[rows]), state)
        answers.append(hidden)
    unrolled = torso.unroll(sequence, start, fresh)
    torch.testing.assert_close(unrolled, torch.cat(answers), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [SHAPE, LSTM, FULL])
def test_sequences_of_one_episode_each_are_unrolled_at_once(shape: Shape) -> None:
    steps, games = 7, 4
    torso = build(lambda: Torso(shape), seed=1)
    start = torch.randn(games, torso.state_size, generator=torch.Generator().manual_seed(2))
    sequence, fresh = seen(steps * games, shape), torch.zeros(steps, games, dtype=torch.bool)
    at_once, slowly = (torso.unroll(sequence, start, begins) for begins in (None, fresh))
    torch.testing.assert_close(at_once, slowly, rtol=1e-5, atol=1e-6)
    for parameter in torso.parameters():
        (expected,) = torch.autograd.grad(slowly.square().sum(), parameter, retain_graph=True)
        (found,) = torch.autograd.grad(at_once.square().sum(), parameter, retain_graph=True)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_recurrent_network_remembers_until_an_episode_begins() -> None:
    torso = build(lambda: Torso(LSTM), seed=1)
    two = seen(2, LSTM)
    start = torch.zeros(1, torso.state_size)
    kept = torso.unroll(two, start, torch.tensor([[True], [False]]))
    reset = torso.unroll(two, start, torch.tensor([[True], [True]]))
    assert torch.equal(kept[0], reset[0])
    assert not torch.allclose(kept[1], reset[1])
    alone, _ = torso(Seen(two.frames[1:], two.variables[1:]), start)
    torch.testing.assert_close(reset[1:], alone)


@pytest.mark.parametrize(
    "network",
    [
        lambda: QNetwork(SHAPE),
        lambda: QNetwork(SHAPE, dueling=False),
        lambda: QNetwork(FULL),
        lambda: ActorCritic(SHAPE),
        lambda: ActorCritic(FULL),
    ],
)
def test_a_network_rebuilt_from_its_description_plays_equally(
    network: Callable[[], Network],
) -> None:
    built = build(network, seed=3)
    shape = FULL if built.features is not None else SHAPE
    options = {} if getattr(built, "value", None) is not None else {"dueling": False}
    description = json.loads(json.dumps(describe(built, shape, **options)))

    again = rebuild(description)
    again.load_state_dict({name: one.contiguous() for name, one in built.state_dict().items()})
    state = torch.randn(6, built.torso.state_size)
    with torch.no_grad():
        answers = [one(seen(6, shape), state) for one in (built, again)]
    for first, second in zip(*answers, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "Mystery"}, KeyError),
        ({"arguments": {}}, KeyError),
        ({"arguments": {**asdict(SHAPE), "layers": 3}}, TypeError),
        ({"arguments": {**asdict(SHAPE), "frames": [4, 6, 6]}}, ValueError),
    ],
)
def test_an_odd_description_is_an_error(change: dict, error: type[Exception]) -> None:
    description = describe(ActorCritic(SHAPE), SHAPE)
    with pytest.raises(error):
        rebuild({**description, **change})


def test_a_network_starts_from_its_seed_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (build(lambda: QNetwork(SHAPE), seed=seed) for seed in (1, 1, 2))
    for name, parameter in first.state_dict().items():
        assert torch.equal(parameter, second.state_dict()[name])
    assert not torch.equal(first.torso.hidden.weight, other.torso.hidden.weight)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("frames", "channels"),
    [((1, 36, 36), (16, 32)), ((4, 36, 64), (16, 32, 32)), ((24, 60, 108), (32,))],
)
def test_every_observation_is_worth_something_for_every_action(
    frames: tuple[int, int, int], channels: tuple[int, ...]
) -> None:
    shape = Shape(frames=frames, action_count=7, channels=channels, hidden=8)
    nothing = torch.zeros(3, 0)
    values, state = QNetwork(shape)(
        Seen(torch.zeros(3, *frames, dtype=torch.uint8), nothing), nothing
    )
    assert values.shape == (3, 7)
    assert state.shape == (3, 0)


def test_pixels_count_from_zero_to_one() -> None:
    scaled, plain = PixelConvolution(2, 6, 8, 4), nn.Conv2d(2, 6, 8, 4)
    plain.load_state_dict(scaled.state_dict())
    pixels = seen(3).frames.float()
    torch.testing.assert_close(scaled(pixels), plain(pixels / 255), rtol=1e-4, atol=1e-5)


def test_a_value_that_every_action_shares_belongs_to_the_state() -> None:
    network = build(lambda: QNetwork(SHAPE), seed=0)
    before, _ = network(seen(4), torch.zeros(4, 0))
    with torch.no_grad():
        network.advantage.bias += 3
    after, _ = network(seen(4), torch.zeros(4, 0))
    torch.testing.assert_close(before, after)
    with torch.no_grad():
        network.value.bias += 3
    raised, _ = network(seen(4), torch.zeros(4, 0))
    torch.testing.assert_close(raised, before + 3)


def test_the_first_policy_is_nearly_uniform() -> None:
    preferences, _, _ = build(lambda: ActorCritic(SHAPE), seed=0)(seen(50), torch.zeros(50, 0))
    probabilities = preferences.softmax(dim=1)
    assert (probabilities - 1 / 5).abs().max() < 0.02


def test_variables_of_the_game_are_seen() -> None:
    shape = replace(SHAPE, variables=2)
    network = build(lambda: QNetwork(shape), seed=0)
    frames = seen(1, shape).frames
    values = [
        network(Seen(frames, torch.full((1, 2), one)), torch.zeros(1, 0))[0] for one in (0.0, 1.0)
    ]
    assert not torch.allclose(*values)
