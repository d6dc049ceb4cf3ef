"""What happened between two points of a run's metrics, as means."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from trainer.peers import ALONE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer.actor import Episode
    from trainer.peers import Peers


# A mean of ratios would make much of short episodes, so these are ratios of totals.
_RATIOS = {"kill_death": ("kills", "deaths")}


def means(told: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Average by name, and answer the ratios of what there is; a divisor is at least 1."""
    answer = {name: float(np.mean(values)) for name, values in told.items()}
    for name, (above, below) in _RATIOS.items():
        if above in told and below in told:
            answer[name] = float(np.sum(told[above]) / max(1.0, np.sum(told[below])))
    return answer


def mean_facts(episodes: Sequence[Episode]) -> dict[str, float]:
    """Average by name what games told of episodes, with ratios as `means` has them."""
    told: dict[str, list[float]] = defaultdict(list)
    for episode in episodes:
        for name, value in episode.get("facts", {}).items():
            told[name].append(value)
    return means(told)


class Meter:
    """Means of what happened since metrics were logged last."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.clear()

    def add_window(self, steps: int, episodes: Sequence[Episode]) -> None:
        """Count a window of `steps` and the episodes that ended in it."""
        self._steps += steps
        self._episodes += len(episodes)
        for episode in episodes:
            self._numbers["avg_reward"].append(episode["score"])
            self._numbers["episode_length"].append(episode["length"])
            for name, value in episode.get("facts", {}).items():
                self._numbers[name].append(value)

    def add(self, values: Mapping[str, float]) -> None:
        """Count what was learned from one window."""
        for name, value in values.items():
            self._numbers[name].append(value)

    def take(self, peers: Peers = ALONE) -> dict[str, float]:
        """Answer the means over all learners by name, without what did not happen; begin anew."""
        everyone = peers.gathered((self._episodes, dict(self._numbers)))
        joined: dict[str, list[float]] = defaultdict(list)
        for _, numbers in everyone:
            for name, values in numbers.items():
                joined[name] += values
        answer = means(joined)
        answer["episodes"] = float(sum(episodes for episodes, _ in everyone))
        answer["steps_per_s"] = self._steps / max(time.monotonic() - self._since, 1e-9)
        self.clear()
        return answer

    def clear(self) -> None:
        """Forget everything."""
        self._since = time.monotonic()
        self._steps = 0
        self._episodes = 0
        self._numbers: dict[str, list[float]] = defaultdict(list)
