"""What is kept of a run, and what is read from its learning curve."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Key = tuple[str, str, int]

# A single good evaluation is not staying there.
LEAST_EVALUATIONS = 3


@dataclass(frozen=True)
class Point:
    """Mean score of the greedy evaluation episodes after `t` seconds and `steps` decisions."""

    t: float
    steps: int
    score: float


@dataclass(frozen=True)
class Run:
    """One contestant on one scenario with one seed.

    `speeds` are steps per second in windows of a few seconds while it learns. `ended` is how the
    process ended: "done", "limit" when it had to be stopped, or an exit code. `orphans` counts the
    processes that it left behind.
    """

    contestant: str
    scenario: str
    seed: int
    cap_s: float
    core_speed: float = 0.0
    points: tuple[Point, ...] = ()
    speeds: tuple[float, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    ended: str = "done"
    orphans: int = 0

    @property
    def key(self) -> Key:
        """What a repetition of the run replaces."""
        return (self.contestant, self.scenario, self.seed)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Run:
        """Read what `to_json` wrote."""
        points = tuple(Point(**point) for point in record["points"])
        return cls(**record | {"points": points, "speeds": tuple(record["speeds"])})

    def to_json(self) -> dict[str, Any]:
        """Every field by name."""
        return asdict(self)


def read_lines(lines: Iterable[str]) -> dict[str, Any]:
    """Sort the JSON lines of a contestant into points, speeds and facts; skip everything else.

    A line is {"facts": {...}}, or {"t", "steps"} with "score" or "steps_per_s".
    """
    points, speeds, facts = [], [], {}
    for line in lines:
        if not line.startswith("{"):
            continue
        record = json.loads(line)
        facts |= record.get("facts", {})
        if "score" in record:
            points.append(Point(record["t"], record["steps"], record["score"]))
        if "steps_per_s" in record:
            speeds.append(record["steps_per_s"])
    return {"points": tuple(points), "speeds": tuple(speeds), "facts": facts}


def merge(old: Iterable[Run], new: Iterable[Run]) -> list[Run]:
    """Replace runs that were repeated, keep the others; in the order of their keys."""
    runs = {run.key: run for run in old} | {run.key: run for run in new}
    return [runs[key] for key in sorted(runs)]


def reached_at(points: Sequence[Point], bar: float) -> float | None:
    """Tell when an evaluation first reached `bar`, in seconds; None if none did."""
    return next((point.t for point in points if point.score >= bar), None)


def stays_from(points: Sequence[Point], bar: float) -> float | None:
    """Tell from when on every evaluation reached `bar`, in seconds.

    None if the last one did not, or if fewer than LEAST_EVALUATIONS did in a row.
    """
    lasting: list[Point] = []
    for point in reversed(points):
        if point.score < bar:
            break
        lasting.append(point)
    return lasting[-1].t if len(lasting) >= LEAST_EVALUATIONS else None


def median_or_never(times: Sequence[float | None]) -> float | None:
    """Take the median where None is later than any number; None if that is the median."""
    late = [float("inf") if time is None else time for time in times]
    middle = statistics.median_high(late)
    return None if middle == float("inf") else middle
