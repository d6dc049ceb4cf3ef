"""A trained player: loads from a checkpoint file and always does what it thinks best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from games.catch import CatchGame
from games.doom.actions import parse_actions
from games.doom.observation import ObservationOptions
from trainer import architectures, checkpoint
from trainer.checkpoint import CheckpointError
from trainer.signature import check_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from games.interface import Frame, ObservationSpace
    from trainer.architectures import Architecture
    from trainer.checkpoint import Manifest


class Policy:
    """One network that plays. It explores nothing; what it remembers ends with the episode."""

    def __init__(self, manifest: Manifest, architecture: Architecture) -> None:
        """Stand at the start of an episode; the architecture has its weights."""
        self.manifest = manifest
        self._architecture = architecture
        self.begin()

    def begin(self) -> None:
        """Forget the episode before."""
        self._state = self._architecture.initial_state

    def act(self, observation: Frame, variables: Mapping[str, float]) -> int:
        """Choose an action in [0, action_count) for uint8 [channels, height, width].

        `variables` are the game's own, of which the network sees some.
        """
        with torch.inference_mode():
            worth, self._state = self._architecture.forward(
                torch.from_numpy(observation)[None], variables, self._state
            )
            return int(worth.argmax())


def load(path: Path) -> Policy:
    """Load the player of a checkpoint file; only its network is read.

    Raises CheckpointError where the file is not a checkpoint, is not one of a known network, or
    holds other weights, observations or actions than it declares.
    """
    manifest = checkpoint.read_manifest(path)
    try:
        _check_declaration(manifest)
        architecture = architectures.build(manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be played: {error}") from error
    arrays = checkpoint.read_group(path, "network")
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    check_shapes(
        {name: tensor.shape for name, tensor in weights.items()},
        {name: tensor.shape for name, tensor in architecture.module.state_dict().items()},
        network=manifest.network["name"],
    )
    architecture.module.load_state_dict(weights, strict=False)
    architecture.module.eval()
    return Policy(manifest, architecture)


def _check_declaration(manifest: Manifest) -> None:
    """Refuse a manifest whose options do not lead to the shapes it names.

    Raises KeyError, TypeError or ValueError.
    """
    space, count = _DECLARED[manifest.game](manifest)
    if space.shape != manifest.observation_shape:
        raise ValueError(
            f"its options show {space.shape}, but observation_shape is {manifest.observation_shape}"
        )
    if count != manifest.action_count:
        raise ValueError(
            f"{manifest.action_combinations!r} has {count} actions, "
            f"but action_count is {manifest.action_count}"
        )


def _doom(manifest: Manifest) -> tuple[ObservationSpace, int]:
    options = ObservationOptions(**manifest.observation)
    return options.space, len(parse_actions(manifest.action_combinations))


def _catch(manifest: Manifest) -> tuple[ObservationSpace, int]:
    game = CatchGame(**manifest.observation)
    return game.observation_space, game.action_count


_DECLARED: dict[str, Callable[[Manifest], tuple[ObservationSpace, int]]] = {
    "doom": _doom,
    "catch": _catch,
}
"""What the players of a game are shown, and how many actions they have."""
