"""Every network that can play, by the name under which a checkpoint's manifest declares it.

A network learns in whatever shape its algorithm likes; here each is wrapped so that a player can
call all of them alike. A new one is a builder and a line in BUILDERS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor, nn

from trainer import arnold, arnold_parameters
from trainer.network import QNetwork
from trainer.signature import check_signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.checkpoint import Manifest

State: TypeAlias = tuple[Tensor, ...]


@dataclass(frozen=True)
class Architecture:
    """A network as a player calls it.

    `module` has the weights under the names of the checkpoint's group `network`. `forward` takes
    observations uint8 [B, C, H, W], game variables int64 [B, V] and what is remembered; it answers
    one value an action, float [B, A], and what is to be remembered. `initial_state` is remembered
    at the start of an episode; a network without memory remembers nothing, (). `variables` are the
    engine's names of the V numbers.
    """

    module: nn.Module
    forward: Callable[[Tensor, Tensor, State], tuple[Tensor, State]]
    initial_state: State = ()
    variables: tuple[str, ...] = ()


def build(manifest: Manifest) -> Architecture:
    """Lay out the declared network, its weights still to be loaded.

    Raises ValueError where the name is unknown or the declaration contradicts itself.
    """
    builder = BUILDERS.get(str(manifest.network.get("name")))
    if builder is None:
        raise ValueError(f"network {manifest.network.get('name')!r} is unknown")
    return builder(manifest)


def _q_network(manifest: Manifest) -> Architecture:
    network = QNetwork(manifest.observation_shape, manifest.action_count)
    return Architecture(network, lambda observations, _, state: (network(observations), state))


def _arnold(manifest: Manifest) -> Architecture:
    parameters = arnold_parameters.parse(manifest.network["arguments"])
    check_signature(manifest, arnold.manifest_of(parameters))
    network = arnold.ArnoldNetwork(parameters)
    names = tuple(row.variable for row in parameters.embeddings)
    return Architecture(network, network, network.initial_state(), names)


BUILDERS: dict[str, Callable[[Manifest], Architecture]] = {
    QNetwork.__name__: _q_network,
    "dqn_ff": _arnold,
    "dqn_rnn": _arnold,
}
