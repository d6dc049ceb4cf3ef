"""An observation is the newest frames of an episode; before there are enough, the first repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from games.interface import Frame, ObservationSpace


class Stack:
    """The newest `history` frames of one game.

    Hand `newest`, uint8 [frame_channels, height, width], to the game; call `begin` when it has
    begun an episode and `push` when it has shown the frame after a decision.
    """

    def __init__(self, space: ObservationSpace) -> None:
        """Reserve the memory; every frame is black."""
        frame = (space.frame_channels, space.height, space.width)
        self._frames = np.zeros((space.history, *frame), dtype=np.uint8)
        self.newest: Frame = np.zeros(frame, dtype=np.uint8)
        self.observation: Frame = self._frames.reshape(space.shape)
        """uint8 [history x frame_channels, height, width]: one array, which every frame changes."""

    def begin(self) -> None:
        """Take the newest frame for the first of an episode."""
        self._frames[:] = self.newest

    def push(self) -> None:
        """Let the newest frame follow, and the oldest one go."""
        self._frames[:-1] = self._frames[1:]
        self._frames[-1] = self.newest
