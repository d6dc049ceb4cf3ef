"""Weights that one process learns and others play with, in memory that all of them see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer.shared import Column, SharedArrays

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from trainer.networks import Network


class Weights:
    """A copy of a network's parameters; its owner writes while nobody plays."""

    def __init__(self, network: Network) -> None:
        """Reserve room for the parameters of `network`."""
        sizes = {name: tensor.numel() for name, tensor in network.named_parameters()}
        self._arrays = SharedArrays(
            {name: Column((size,), "float32") for name, size in sizes.items()}
        )

    def publish(self, network: Network) -> None:
        """Copy the parameters of `network`, wherever they are."""
        for name, parameter in network.named_parameters():
            self._view(name, parameter).copy_(parameter.detach())

    def lend(self, network: Network) -> None:
        """Let `network` play with the shared parameters instead of its own."""
        for name, parameter in network.named_parameters():
            parameter.data = self._view(name, parameter)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Copy the parameters by name, each flat and as it lies in memory."""
        return {name: self._arrays[name].copy() for name in self._arrays.columns}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` answered for a network of the same shape."""
        for name, array in state.items():
            self._arrays[name][:] = array

    def _view(self, name: str, like: Tensor) -> Tensor:
        flat = torch.from_numpy(self._arrays[name])
        if like.dim() != 4:  # noqa: PLR2004 - everything but the kernels of a convolution
            return flat.view(like.shape)
        # Kernels lie channels last in memory, as the frames do that they are applied to.
        count, channels, height, width = like.shape
        return flat.view(count, height, width, channels).permute(0, 3, 1, 2)
