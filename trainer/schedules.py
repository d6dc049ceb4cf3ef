"""Numbers that change while a training goes on."""

from __future__ import annotations


def linear(step: float, *, start: float, stop: float, first: float, last: float) -> float:
    """Stay `first` up to `start`, then move in a straight line to `last` at `stop` and stay there.

    Epsilon, learning rates and entropy weights move like this; `start` must be below `stop`.
    """
    done = (step - start) / (stop - start)
    return first + (last - first) * min(1.0, max(0.0, done))
