"""Every network that can play, by the name under which a checkpoint's manifest declares it.

A network learns in whatever shape its algorithm likes; here each is wrapped so that a player can
call all of them alike. A new one is a builder and a line in BUILDERS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from trainer import arnold, arnold_parameters
from trainer.actor import network_variables
from trainer.networks import NETWORKS, Seen, rebuild
from trainer.signature import check_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainer.checkpoint import Manifest

State: TypeAlias = Any
"""What a network remembers; only itself knows its shape."""


@dataclass(frozen=True)
class Architecture:
    """A network as a player calls it, one observation at a time.

    `module` has the weights under the names of the checkpoint's group `network`. `forward` takes
    an observation, uint8 [1, C, H, W], the game's variables now by name, and what is remembered; it
    answers how much each action is worth, float [1, A], and what is to be remembered.
    `initial_state` is remembered at the start of an episode.
    """

    module: nn.Module
    forward: Callable[[Tensor, Mapping[str, float], State], tuple[Tensor, State]]
    initial_state: State


def build(manifest: Manifest) -> Architecture:
    """Lay out the declared network, its weights still to be loaded.

    Raises KeyError, TypeError or ValueError where the name is unknown or the declaration
    contradicts itself.
    """
    builder = BUILDERS.get(str(manifest.network.get("name")))
    if builder is None:
        raise ValueError(f"network {manifest.network.get('name')!r} is unknown")
    return builder(manifest)


def _own(manifest: Manifest) -> Architecture:
    """Lay out a network that was trained here."""
    frames = tuple(manifest.network["arguments"]["frames"])
    if frames != manifest.observation_shape:
        raise ValueError(
            f"its network sees {frames}, but observation_shape is {manifest.observation_shape}"
        )
    network = rebuild(manifest.network)
    names = tuple(manifest.config.get("game_variables", ()))

    def forward(
        frames: Tensor, variables: Mapping[str, float], state: Tensor
    ) -> tuple[Tensor, Tensor]:
        told = torch.tensor([network_variables(names, variables)])
        worth, *_, state = network(Seen(frames, told), state)
        return worth, state

    return Architecture(network, forward, torch.zeros(1, network.torso.state_size))


def _arnold(manifest: Manifest) -> Architecture:
    parameters = arnold_parameters.parse(manifest.network["arguments"])
    check_signature(manifest, arnold.manifest_of(parameters))
    network = arnold.ArnoldNetwork(parameters)
    names = [row.variable for row in parameters.embeddings]

    def forward(
        frames: Tensor, variables: Mapping[str, float], state: arnold.State
    ) -> tuple[Tensor, arnold.State]:
        told = torch.tensor([[int(variables[name]) for name in names]], dtype=torch.int64)
        return network(frames, told, state)

    return Architecture(network, forward, network.initial_state())


BUILDERS: dict[str, Callable[[Manifest], Architecture]] = {
    **dict.fromkeys(NETWORKS, _own),
    "dqn_ff": _arnold,
    "dqn_rnn": _arnold,
}
