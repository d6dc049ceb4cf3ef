"""A game is seeded episodes: observations out, action indices in, one reward a decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

# Named, not evaluated: whoever only reads names and numbers of a game needs no numpy.
Frame: TypeAlias = "NDArray[np.uint8]"


@dataclass(frozen=True)
class ObservationSpace:
    """Shape of one observation, uint8 in [0, 255], channels first; the newest frame is last."""

    frame_channels: int
    history: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(history x frame_channels, height, width)."""
        return (self.history * self.frame_channels, self.height, self.width)


@dataclass(frozen=True)
class GameEvent:
    """What happened during one decision: `kind` names a reward weight, `amount` its size."""

    kind: str
    amount: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """What one decision led to.

    `observation` is None once the episode has ended. `cut` says that it ended by the clock and not
    by anything the player did, so the last state still had a future.
    """

    observation: Frame | None
    reward: float
    ended: bool
    cut: bool
    events: tuple[GameEvent, ...] = field(default=())


class Game(Protocol):
    """One seat in one game; episodes with the same seed and actions are the same episode."""

    observation_space: ObservationSpace
    action_count: int

    def new_episode(self, seed: int) -> Frame:
        """Begin the episode of `seed`, in [0, 2**31), and answer its first observation."""
        ...

    def make_action(self, action: int) -> Outcome:
        """Play one decision, `action` in [0, action_count), for the game's frame skip."""
        ...

    @property
    def total_reward(self) -> float:
        """The game's own score of the episode so far, before any shaping."""
        ...

    @property
    def variables(self) -> Mapping[str, float]:
        """The game's named variables now."""
        ...

    def close(self) -> None:
        """End the game and everything it started; closing twice is allowed."""
        ...
