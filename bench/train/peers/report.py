"""What a contestant prints: one JSON object a line, timed by a clock that evaluations stop."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW_S = 5.0
BEGAN = "ELODROME_BENCH_BEGAN"
"""Environment variable: `time.monotonic()` of the moment before the contestant was started."""


class Report:
    """A contestant's clock and the lines that it prints.

    The clock runs from the moment before the process was started, so imports and the start of the
    games count; evaluations do not, if they are wrapped in `evaluation`.
    """

    def __init__(self, *, cap_s: float, evaluate_every_s: float) -> None:
        """Run for `cap_s` on the clock, with an evaluation every `evaluate_every_s`."""
        self._began = float(os.environ.get(BEGAN, time.monotonic()))
        self._cap_s = cap_s
        self._every_s = evaluate_every_s
        self._paused_s = 0.0
        self._evaluate_at = evaluate_every_s
        self._before: tuple[float, int] | None = None
        self._window_s = 0.0
        self._window_steps = 0

    @property
    def seconds(self) -> float:
        """Seconds on the clock now."""
        return time.monotonic() - self._began - self._paused_s

    @property
    def is_over(self) -> bool:
        """Whether the cap is reached."""
        return self.seconds >= self._cap_s

    @property
    def is_evaluation_due(self) -> bool:
        """Whether it is time to evaluate; the cap is a time to evaluate, too."""
        return self.seconds >= min(self._evaluate_at, self._cap_s)

    def facts(self, **facts: str | float) -> None:
        """Say what does not change in a run, such as the number of parameters."""
        _print({"facts": facts})

    def progress(self, steps: int, *, is_learning: bool = True) -> None:
        """Say how fast the last WINDOW_S were; cheap enough for every step.

        What follows a call that is not about learning counts in no window, up to the next call.
        """
        now = self.seconds
        if self._before is not None:
            then, steps_then = self._before
            self._window_s += now - then
            self._window_steps += steps - steps_then
        self._before = (now, steps) if is_learning else None
        if self._window_s >= WINDOW_S:
            speed = self._window_steps / self._window_s
            _print({"t": round(now, 3), "steps": steps, "steps_per_s": round(speed, 1)})
            self._window_s, self._window_steps = 0.0, 0

    def score(self, steps: int, score: float, *, t: float | None = None) -> None:
        """Say the mean of the greedy episodes, by default of now."""
        moment = self.seconds if t is None else t
        _print({"t": round(moment, 3), "steps": steps, "score": round(score, 3)})

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Stop the clock for an evaluation."""
        begin = time.monotonic()
        yield
        self._paused_s += time.monotonic() - begin
        self._evaluate_at = self.seconds + self._every_s


def _print(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)
