from __future__ import annotations

import pytest
import torch

from trainer.networks import ActorCritic, Network, QNetwork, Seen, Shape, build
from trainer.weights import Weights

SHAPE = Shape(frames=(4, 36, 64), action_count=5, variables=2, channels=(16, 32), hidden=64)


def a_network(kind: type[Network], seed: int, *, recurrent: bool = False) -> Network:
    shape = Shape(**{**SHAPE.__dict__, "recurrent": recurrent})
    return build(lambda: kind(shape), seed=seed)


def outputs(network: Network) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 4, 36, 64), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        return list(
            network(Seen(frames, torch.ones(3, 2)), torch.zeros(3, network.torso.state_size))
        )


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("kind", [ActorCritic, QNetwork])
def test_a_network_that_was_lent_weights_plays_exactly_like_the_learner(
    kind: type[Network], recurrent: bool
) -> None:
    learner = a_network(kind, 1, recurrent=recurrent)
    weights = Weights(learner)
    player = a_network(kind, 2, recurrent=recurrent)
    weights.lend(player)
    weights.publish(learner)
    for theirs, ours in zip(outputs(player), outputs(learner), strict=True):
        assert torch.equal(theirs, ours)


def test_lent_parameters_follow_what_is_published_and_nothing_else() -> None:
    learner = a_network(ActorCritic, 1)
    weights = Weights(learner)
    first, second = a_network(ActorCritic, 2), a_network(ActorCritic, 3)
    weights.lend(first)
    weights.publish(learner)
    weights.lend(second)
    before = outputs(first)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.01)
    assert all(map(torch.equal, outputs(first), before))
    weights.publish(learner)
    for network in (first, second):
        assert all(map(torch.equal, outputs(network), outputs(learner)))
    assert not any(map(torch.equal, outputs(first)[:2], before))


def test_kernels_lie_channels_last_as_the_convolutions_like_them() -> None:
    learner = a_network(ActorCritic, 1)
    weights = Weights(learner)
    player = ActorCritic(SHAPE)
    weights.lend(player)
    weights.publish(learner)
    kernels = [one for one in player.parameters() if one.dim() == 4]
    assert len(kernels) == 2
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in kernels)
