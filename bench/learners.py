"""Steps a second of two learners with an actor each, beside one learner with one actor.

Games take most of the time here, so a second actor is worth its core; both trainings are open at
once and learn in turn. One learner with two actors would do as well: the figure says what averaging
gradients leaves of the second core.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.report import Row
from trainer.algorithms import opened
from trainer.config import parse
from trainer.reporter import Silent

if TYPE_CHECKING:
    from trainer.training import Training

ROUNDS = 5
WINDOW_ITERATIONS = 40
LEARNER: dict[str, Any] = {
    "scenario": "deathmatch",
    "games": 4,
    "actors": 1,
    "rollout_steps": 64,
    "batch_size": 256,
    "epochs": 1,
    "hidden": 64,
    "checkpoint_interval": 10**6,
    "max_iterations": 10**6,
}
SHARED = ("games", "actors", "batch_size")


class Watch(Silent):
    """Notes when each iteration was done."""

    def __init__(self) -> None:
        self.done: dict[int, float] = {}

    def progress(self, *, iteration: int, step: int, phase: str) -> None:  # noqa: ARG002
        """Note the first time that an iteration is heard of."""
        self.done.setdefault(iteration, time.perf_counter())


def measure() -> list[Row]:
    both = {**LEARNER, **{name: 2 * LEARNER[name] for name in SHARED}, "learners": 2}
    watches = Watch(), Watch()
    with (
        opened(parse(LEARNER), watches[0]) as alone,
        opened(parse(both), watches[1]) as together,
    ):
        trainings = list(zip((alone, together), watches, strict=True))
        speeds = [
            [_steps_per_s(training, watch) for training, watch in trainings]
            for _ in range(1 + ROUNDS)
        ]
    # The first round waits for whatever is done once, such as the start of the other learner.
    one, two = (median(found) for found in zip(*speeds[1:], strict=True))
    return [
        Row("one learner, one actor, deathmatch", one, "steps/s"),
        Row("two learners, one actor each, deathmatch", two, "steps/s"),
        Row(
            "two learners over one, medians of alternating windows",
            two / one,
            "times",
            1.4,
            more_is_better=True,
            detail={"rounds": ROUNDS},
        ),
    ]


def _steps_per_s(training: Training, watch: Watch) -> float:
    """Train for a window; answers its speed from its first iteration on."""
    first, last = training.iteration + 1, training.iteration + WINDOW_ITERATIONS
    before = training.steps
    training.run(until=last)
    steps = (training.steps - before) * (WINDOW_ITERATIONS - 1) / WINDOW_ITERATIONS
    return steps / (watch.done[last] - watch.done[first])
