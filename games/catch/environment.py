"""One game of Catch (after Mnih et al., 2014): pure Python, no process, no randomness but seeds."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from games.interface import ObservationSpace, Outcome

if TYPE_CHECKING:
    from games.interface import Frame

# A board of 12 x 12 cells of 3 x 3 pixels: 36 is the least that the usual networks see.
CELLS = 12
CELL_PIXELS = 3
PADDLE_CELLS = 3
MOST_HISTORY = 16


class CatchGame:
    """The ball falls one cell a decision; actions 0, 1 and 2 move the paddle left, not, right.

    An episode is CELLS - 1 decisions long. The last one brings 1 if the paddle is under the ball
    and -1 if it is not; the seed places both, never out of reach of each other.
    """

    def __init__(self, *, history: int = 1) -> None:
        """Set up the board; an observation is `history` frames of one channel, 1 to MOST_HISTORY.

        Raises ValueError for any other.
        """
        if not 1 <= history <= MOST_HISTORY:
            raise ValueError(f"history: must be from 1 to {MOST_HISTORY}, is {history}")
        side = CELLS * CELL_PIXELS
        self.observation_space = ObservationSpace(1, history, side, side)
        self.action_count = 3
        self.feature_names: tuple[str, ...] = ()
        self.features: tuple[bool, ...] = ()
        self.facts: dict[str, float] = {}
        self.total_reward = 0.0
        self._ball = self._row = self._paddle = 0

    @property
    def variables(self) -> dict[str, float]:
        """Cells of the ball and of the paddle's left end, counted from the upper left corner."""
        place = {"BALL_X": self._ball, "BALL_Y": self._row, "PADDLE_X": self._paddle}
        return {name: float(cell) for name, cell in place.items()}

    def new_episode(self, seed: int, frame: Frame) -> None:
        """Drop the ball of `seed`, in [0, 2**31), and show it."""
        draw = random.Random(seed)  # noqa: S311 - nothing secret
        self._row, self.total_reward = 0, 0.0
        self._ball = draw.randrange(CELLS)
        self._paddle = draw.randrange(CELLS - PADDLE_CELLS + 1)
        self._show(frame)

    def make_action(self, action: int, frame: Frame) -> Outcome:
        """Move the paddle and let the ball fall by a cell."""
        self._paddle = min(max(self._paddle + action - 1, 0), CELLS - PADDLE_CELLS)
        self._row += 1
        if self._row == CELLS - 1:
            is_caught = self._paddle <= self._ball < self._paddle + PADDLE_CELLS
            self.total_reward = 1.0 if is_caught else -1.0
            return Outcome(self.total_reward, ended=True, cut=False)
        self._show(frame)
        return Outcome(0.0, ended=False, cut=False)

    def close(self) -> None:
        """Nothing was started."""

    def _show(self, frame: Frame) -> None:
        board = frame[0]
        board.fill(0)
        top, left = self._row * CELL_PIXELS, self._ball * CELL_PIXELS
        board[top : top + CELL_PIXELS, left : left + CELL_PIXELS] = 255
        left = self._paddle * CELL_PIXELS
        board[-CELL_PIXELS:, left : left + PADDLE_CELLS * CELL_PIXELS] = 255
