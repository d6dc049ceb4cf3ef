"""One board game: seats move in turn, the rules are those of PettingZoo's classic environments."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENVIRONMENTS = {"connect_four": "connect_four_v3", "tic_tac_toe": "tictactoe_v3"}
NAMES = tuple(_ENVIRONMENTS)
SEAT_COUNT = 2


@dataclass(frozen=True)
class Observation:
    """What one seat sees: `values`, row by row, of an array of `shape`.

    The shape is (rows, columns, 2): the first plane has a 1 where a piece of the seat itself
    stands, the second where one of the other seat does.
    """

    shape: tuple[int, ...]
    values: tuple[int, ...]


class BoardGame:
    """A game of one of NAMES; the same seed and actions are the same game.

    An action is the number of a column of `connect_four`, from the left, and of a cell of
    `tic_tac_toe`, row by row.
    """

    def __init__(self, name: str) -> None:
        """Load the rules; raises ValueError where no game has this name."""
        if name not in _ENVIRONMENTS:
            raise ValueError(f"game: {name!r} is none of {', '.join(NAMES)}")
        self.name = name
        environment = _ENVIRONMENTS[name]
        self.environment_version = f"pettingzoo {metadata.version('pettingzoo')} {environment}"
        # The environments could draw themselves, and load what they would draw with.
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        # Late, so that whoever only names a game needs none of it.
        import pettingzoo  # noqa: PLC0415

        self._env: Any = pettingzoo.make("aec", f"classic/{environment}")

    def reset(self, seed: int) -> None:
        """Begin the game of `seed`, in [0, 2**31)."""
        self._env.reset(seed=seed)

    @property
    def seat(self) -> int | None:
        """The seat to move; None when the game is over."""
        if all(self._env.terminations.values()):
            return None
        return self._env.possible_agents.index(self._env.agent_selection)

    def legal_actions(self) -> list[int]:
        """Return what the seat to move may play, in ascending order; nothing after the end."""
        if self.seat is None:
            return []
        mask = self._env.observe(self._env.agent_selection)["action_mask"]
        return [action for action, is_legal in enumerate(mask.tolist()) if is_legal]

    def observation(self, seat: int) -> Observation:
        """Return what the seat sees now."""
        array = self._env.observe(self._env.possible_agents[seat])["observation"]
        return Observation(array.shape, tuple(int(value) for value in array.ravel()))

    def act(self, action: int) -> None:
        """Play one of `legal_actions` for the seat to move; raises ValueError for any other."""
        if action not in self.legal_actions():
            raise ValueError(f"action: {action} is none of {self.legal_actions()}")
        self._env.step(action)

    def scores(self) -> tuple[float, ...]:
        """Return 1 for the seat that won, 0 for one that lost, 0.5 for a draw, after the end."""
        rewards = [self._env.rewards[agent] for agent in self._env.possible_agents]
        return tuple((reward + 1) / 2 for reward in rewards)

    def state(self) -> dict[str, Any]:
        """Return all that is to be known of the position, for JSON: rows of 0, or seat + 1."""
        seen = self.observation(0)
        own, other = seen.values[0::2], seen.values[1::2]
        pieces = [mine + 2 * theirs for mine, theirs in zip(own, other, strict=True)]
        return {"board": nest(seen.shape[:2], pieces)}


def nest(shape: Sequence[int], values: Sequence[int]) -> Any:  # noqa: ANN401 - as deep as `shape` is long
    """Make lists of lists of the values of an array, given row by row."""
    if len(shape) < 2:  # noqa: PLR2004 - one dimension left
        return list(values)
    size = len(values) // shape[0]
    return [nest(shape[1:], values[at : at + size]) for at in range(0, len(values), size)]
