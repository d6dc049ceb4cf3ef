"""The ring: the latest windows of every game, written by the actors where the learner reads them.

A window is `rollout_steps` steps of every game. Slot s of L holds step s, s + L, s + 2L, … of each
game: what it showed last, what was done, and what came of it. Whoever plays step t also writes the
frame of step t + 1. A frame is stored once, so an observation of h frames costs the memory of one;
it is put together when it is read, repeating the first frame of an episode as games do.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.shared import Column, SharedArrays

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from games.interface import Frame, ObservationSpace

GOES_ON, ENDED, CUT = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class RingShape:
    """Sizes of a ring: `windows` of `rollout_steps` steps of `games` games.

    `variables` and `features` are kept per step, `state_size` numbers of recurrent state per
    window. `columns` are what an algorithm keeps per step of a game beside these.
    """

    space: ObservationSpace
    games: int
    rollout_steps: int
    windows: int
    variables: int = 0
    features: int = 0
    state_size: int = 0
    columns: Mapping[str, Column] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Slots of one game."""
        return self.windows * self.rollout_steps


class Ring:
    """Arrays whose first two axes are [L, N]: L slots of N games.

    `frames` uint8 [L, N, frame_channels, height, width]; `variables` float32 [L, N, V]; `features`
    uint8 [L, N, F]; `actions` uint16; `rewards` float32; `ends` uint8, one of GOES_ON, ENDED and
    CUT (by the clock alone); `ages` int32, steps since the episode began. `states` float32
    [windows, N, S] holds the recurrent state before the first step of each window.
    """

    def __init__(self, shape: RingShape) -> None:
        """Reserve the memory, which is all that this ring will ever take."""
        self.shape = shape
        self.space = shape.space
        self.length = shape.length
        frame = (self.space.frame_channels, self.space.height, self.space.width)
        per_step = {
            "frames": Column(frame, "uint8"),
            "variables": Column((shape.variables,), "float32"),
            "features": Column((shape.features,), "uint8"),
            "actions": Column((), "uint16"),
            "rewards": Column((), "float32"),
            "ends": Column((), "uint8"),
            "ages": Column((), "int32"),
            **shape.columns,
        }
        self._per_step = tuple(per_step)
        columns = {
            name: Column((shape.length, shape.games, *column.shape), column.dtype)
            for name, column in per_step.items()
        }
        columns["states"] = Column((shape.windows, shape.games, shape.state_size), "float32")
        self._shared = SharedArrays(columns)
        self._arrays = {name: self._shared[name] for name in columns}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def of_games(self, first: int, count: int) -> Ring:
        """Show the games `first` to `first + count` as a ring of their own, in the same memory."""
        part = copy.copy(self)
        part.shape = replace(self.shape, games=count)
        part._arrays = {  # noqa: SLF001 - its own kind
            name: array[:, first : first + count] for name, array in self._arrays.items()
        }
        return part

    @property
    def size_bytes(self) -> int:
        """Memory that the ring takes."""
        return self._shared.size_bytes

    def slots(self, step: int, count: int) -> NDArray[np.int64]:
        """List the slots of `count` steps from `step` on."""
        return np.arange(step, step + count) % self.length

    def observations(self, steps: NDArray[np.int64], games: NDArray[np.int64]) -> Frame:
        """Stack what game games[b] showed at step steps[b]; uint8 [B, history x C, H, W]."""
        frames = self._arrays["frames"]
        if self.space.history == 1:
            return frames[steps % self.length, games]
        ages = self._arrays["ages"][steps % self.length, games]
        back = np.arange(self.space.history - 1, -1, -1)
        slots = (steps[:, None] - np.minimum(back, ages[:, None])) % self.length
        return frames[slots, games[:, None]].reshape(len(steps), *self.space.shape)

    def cut(self, step: int) -> None:
        """Note that every episode was left after `step`."""
        latest = self._arrays["ends"][step % self.length]
        latest[latest == GOES_ON] = CUT

    def state(self, steps: int) -> dict[str, NDArray[Any]]:
        """Copy what the first `steps` steps left, by column; noise does not compress."""
        held = min(steps, self.length)
        return {name: self._arrays[name][:held].copy() for name in self._per_step}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` of a ring of the same shape answered."""
        for name, rows in state.items():
            self._arrays[name][: len(rows)] = rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._arrays = {name: self._shared[name] for name in self._shared.columns}
