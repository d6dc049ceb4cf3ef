"""Which remembered steps to learn from next: proportional prioritisation (Schaul et al. 2016).

A sum tree: each leaf holds one step's priority, each inner node the sum of its two children, and
drawing walks from the root to the leaf that a number in [0, total) falls on. Inner nodes are always
recomputed from their children, never adjusted, so the tree is a function of its leaves alone and a
restored one draws the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Keeps steps without an error in the game; the paper's epsilon.
SMALLEST_ERROR = 1e-6


class Priorities:
    """A priority for each of `capacity` places, 0 at first; a place with 0 is never drawn."""

    def __init__(self, capacity: int, *, alpha: float) -> None:
        """Reserve the memory; `alpha` in [0, 1] is how much an error matters, 0 is uniform."""
        self._alpha = alpha
        self._capacity = capacity
        self._depth = max(capacity - 1, 1).bit_length()
        # Node 1 is the root, nodes 2i and 2i + 1 are the children of i, leaves begin at _leaves.
        self._leaves = 1 << self._depth
        self._sums = np.zeros(2 * self._leaves, dtype=np.float64)
        self._largest = 1.0

    @property
    def total(self) -> float:
        """The sum of all priorities."""
        return float(self._sums[1])

    def add(self, places: NDArray[np.integer]) -> None:
        """Make steps known: the largest priority ever given has them drawn soon."""
        self._set(places, np.full(len(places), self._largest))

    def remove(self, places: NDArray[np.integer]) -> None:
        """Make sure that these are not drawn."""
        self._set(places, np.zeros(len(places)))

    def update(self, places: NDArray[np.integer], errors: NDArray[np.floating]) -> None:
        """Set priorities (|error| + epsilon)^alpha; the last of equal places counts."""
        priorities = (np.abs(errors, dtype=np.float64) + SMALLEST_ERROR) ** self._alpha
        self._largest = max(self._largest, float(priorities.max()))
        self._set(places, priorities)

    def sample(
        self, count: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw places, one from each of `count` equal parts of the total.

        Answers the places and the probability of each under a single draw. Raises ValueError where
        no place has a priority.
        """
        if not self.total:
            raise ValueError("no place has a priority")
        points = (np.arange(count) + generator.random(count)) * (self.total / count)
        nodes = np.ones(count, dtype=np.int64)
        for _ in range(self._depth):
            nodes *= 2
            left = self._sums[nodes]
            # Rounding may leave a point beyond the last priority; what has none is not entered.
            is_right = (points >= left) & (self._sums[nodes + 1] > 0)
            points -= np.where(is_right, left, 0)
            nodes += is_right
        return nodes - self._leaves, self._sums[nodes] / self.total

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Copy everything into named arrays."""
        return {
            "priorities": self._sums[self._leaves : self._leaves + self._capacity].copy(),
            "largest": np.array([self._largest]),
        }

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `state` of the same capacity answered."""
        self._set(np.arange(self._capacity), state["priorities"])
        self._largest = float(state["largest"][0])

    def _set(self, places: NDArray[np.integer], priorities: NDArray[np.generic]) -> None:
        nodes = places.astype(np.int64) + self._leaves
        self._sums[nodes] = priorities
        for _ in range(self._depth):
            nodes //= 2
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]


def importance_weights(probabilities: NDArray[np.float64], beta: float) -> NDArray[np.float32]:
    """Undo the bias of drawing unevenly: w = (1 / (N P))^beta, over the largest of the batch.

    N cancels. `beta` in [0, 1] is how much is undone (Schaul et al. 2016, section 3.4); answers
    weights in (0, 1].
    """
    return ((probabilities.min() / probabilities) ** beta).astype(np.float32)
