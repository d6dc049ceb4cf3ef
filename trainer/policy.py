"""A trained player: loads from a checkpoint file and always does what it thinks best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from games.doom.observation import ObservationOptions
from trainer import checkpoint
from trainer.actor import network_variables
from trainer.networks import Seen, rebuild

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from games.interface import Frame
    from trainer.checkpoint import Manifest
    from trainer.networks import Network


class Policy:
    """One network that plays and explores nothing; `begin` tells it of a new episode."""

    def __init__(self, manifest: Manifest, network: Network) -> None:
        """Play with the weights that `network` has."""
        self.manifest = manifest
        self.network = network.eval()
        self._variables = tuple(manifest.config.get("game_variables", ()))
        self.begin()

    @property
    def observation_options(self) -> ObservationOptions:
        """What the player has to be shown."""
        return ObservationOptions(**self.manifest.observation)

    def begin(self) -> None:
        """Forget the episode before."""
        self._state = torch.zeros(1, self.network.torso.state_size)

    def act(self, observation: Frame, variables: Mapping[str, float]) -> int:
        """Choose an action in [0, action_count) for uint8 [channels, height, width].

        `variables` are the game's own, of which the network sees some.
        """
        with torch.no_grad():
            seen = Seen(
                torch.from_numpy(observation)[None],
                torch.tensor([network_variables(self._variables, variables)]),
            )
            worth, *_, self._state = self.network(seen, self._state)
        return int(worth.argmax())


def load(path: Path) -> Policy:
    """Load the player of a checkpoint file; only its network is read.

    Raises CheckpointError where the file is not a checkpoint, or not one of a known network.
    """
    manifest = checkpoint.read_manifest(path)
    try:
        network = rebuild(manifest.network)
    except (KeyError, TypeError, ValueError) as error:
        name = manifest.network.get("name")
        raise checkpoint.CheckpointError(f"network {name!r} is unknown: {error}") from error
    tensors = checkpoint.read_group(path, "network")
    try:
        network.load_state_dict({name: torch.from_numpy(tensors[name]) for name in tensors})
    except RuntimeError as error:
        raise checkpoint.CheckpointError(f"the weights do not fit the network: {error}") from error
    return Policy(manifest, network)
