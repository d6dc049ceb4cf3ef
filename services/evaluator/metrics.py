"""The numbers an episode yields: name, which way is good, whether it is a rate of 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Goal(StrEnum):
    """Which way a metric is good."""

    MAXIMIZE = "MAXIMIZE"
    MINIMIZE = "MINIMIZE"

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self is Goal.MAXIMIZE else -1


@dataclass(frozen=True)
class Metric:
    """One number of an episode, as the referee reports it; some are of one game only."""

    name: str
    goal: Goal
    rate: bool = False
    game: str = ""


_ROWS = (
    Metric("return", Goal.MAXIMIZE),
    Metric("decisions", Goal.MINIMIZE),
    Metric("kills", Goal.MAXIMIZE, game="doom"),
    Metric("hits", Goal.MAXIMIZE, game="doom"),
    Metric("health", Goal.MAXIMIZE, game="doom"),
    Metric("timed_out", Goal.MINIMIZE, rate=True),
)
METRICS: MappingProxyType[str, Metric] = MappingProxyType({row.name: row for row in _ROWS})
DEFAULT_METRICS = ("return", "decisions")
