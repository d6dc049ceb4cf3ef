"""A game is seeded episodes: frames out, action indices in, one reward a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from games.events import EVENT_TYPES, EventType

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


@dataclass(frozen=True, slots=True)
class GameEvent:
    """What happened during one decision: `kind` names a reward weight, `amount` what it weighs."""

    kind: str
    amount: float = 1.0

    @property
    def type(self) -> EventType:
        """The type that logs know the event by."""
        return EVENT_TYPES[self.kind]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one decision led to: a reward, shaping included, and whether the episode is over.

    `cut` says that it ended by the clock and not by anything the player did, so the last state
    still had a future.
    """

    reward: float
    ended: bool
    cut: bool
    events: tuple[GameEvent, ...] = ()


class GameDiedError(RuntimeError):
    """The game's own program ended in the middle; the game cannot be played on."""


class Game(Protocol):
    """One seat in one game; episodes with the same seed and actions are the same episode.

    A frame is shown by writing it into the caller's array: uint8 [frame_channels, height, width],
    of which each channel is contiguous. `games.stack.Stack` makes observations of frames.
    """

    observation_space: ObservationSpace
    action_count: int
    feature_names: tuple[str, ...]

    def new_episode(self, seed: int, frame: Frame) -> None:
        """Begin the episode of `seed`, in [0, 2**31), and show its first frame."""
        ...

    def make_action(self, action: int, frame: Frame) -> Outcome:
        """Play one decision, `action` in [0, action_count), for the game's frame skip.

        Shows the frame that it led to; leaves `frame` as it was where the episode ended.
        """
        ...

    @property
    def total_reward(self) -> float:
        """The game's own score of the episode so far, before any shaping."""
        ...

    @property
    def variables(self) -> Mapping[str, float]:
        """The game's named variables now."""
        ...

    @property
    def features(self) -> tuple[bool, ...]:
        """What is true of the frame shown last, in the order of `feature_names`.

        There are names, and so features, only where the game was asked for them.
        """
        ...

    @property
    def facts(self) -> Mapping[str, float]:
        """What else is to be told of the episode, by name; whoever plays many logs the means."""
        ...

    def close(self) -> None:
        """End the game and everything it started; closing twice is allowed."""
        ...
