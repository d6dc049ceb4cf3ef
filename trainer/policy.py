"""A trained player: loads from a checkpoint file and always does what it thinks best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from games.doom.observation import ObservationOptions
from trainer import checkpoint
from trainer.network import QNetwork

if TYPE_CHECKING:
    from pathlib import Path

    from games.interface import Frame
    from trainer.checkpoint import Manifest


@dataclass(frozen=True)
class Policy:
    """One network that plays. It holds no state between decisions and explores nothing."""

    manifest: Manifest
    network: QNetwork

    @property
    def observation_options(self) -> ObservationOptions:
        """What the player has to be shown."""
        return ObservationOptions(**self.manifest.observation)

    def act(self, observation: Frame) -> int:
        """Choose an action in [0, action_count) for uint8 [channels, height, width]."""
        with torch.inference_mode():
            return int(self.network(torch.from_numpy(observation)[None]).argmax())


def load(path: Path) -> Policy:
    """Load the player of a checkpoint file; only its network is read.

    Raises CheckpointError where the file is not a checkpoint, or not one of a known network.
    """
    manifest = checkpoint.read_manifest(path)
    if manifest.network.get("name") != QNetwork.__name__:
        raise checkpoint.CheckpointError(f"network {manifest.network.get('name')!r} is unknown")
    network = QNetwork(manifest.observation_shape, manifest.action_count)
    tensors = checkpoint.read_group(path, "network")
    try:
        network.load_state_dict({name: torch.from_numpy(tensors[name]) for name in tensors})
    except RuntimeError as error:
        raise checkpoint.CheckpointError(f"the weights do not fit the network: {error}") from error
    return Policy(manifest, network.eval())
