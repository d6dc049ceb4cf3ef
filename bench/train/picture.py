"""The learning curves of all contestants as one SVG."""

from __future__ import annotations

import math
import statistics
from html import escape
from typing import TYPE_CHECKING

from bench.train.contestants import CONTESTANTS, SCENARIOS, Contestant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.train.contestants import Scenario
    from bench.train.curves import Point, Run

WIDTH, PANEL, GAP = 860, 300, 62
LEFT, RIGHT, TOP = 58, 250, 34
MOST_TICKS = 8
FONT = "font-family='system-ui, sans-serif' font-size='12'"


def draw(runs: Iterable[Run]) -> str:
    """Draw a panel for each scenario: score over seconds, thin for each seed, thick for the median.

    Answers the text of an SVG file.
    """
    curves = [run for run in runs if len(run.points) > 1 and run.contestant in CONTESTANTS]
    names = [name for name in SCENARIOS if any(run.scenario == name for run in curves)]
    height = TOP + len(names) * (PANEL + GAP)
    panels = [
        _panel(
            SCENARIOS[name],
            [run for run in curves if run.scenario == name],
            TOP + index * (PANEL + GAP),
        )
        for index, name in enumerate(names)
    ]
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' "
        f"width='{WIDTH}' height='{height}' {FONT} fill='#222'>"
    )
    background = f"<rect width='{WIDTH}' height='{height}' fill='#fff'/>"
    return "\n".join([head, background, *panels, "</svg>"]) + "\n"


class _Axes:
    """From seconds and scores to places on the picture."""

    def __init__(self, runs: Sequence[Run], bar: float, top: float) -> None:
        """Hold every point of `runs`, zero and the bar, in a panel whose upper edge is `top`."""
        scores = [point.score for run in runs for point in run.points]
        self.end = max(point.t for run in runs for point in run.points)
        self.low, self.high = min(0.0, *scores), max(bar, *scores) * 1.05
        self.top = top

    def x(self, t: float) -> float:
        """Answer how far from the left `t` seconds are."""
        return round(LEFT + (WIDTH - LEFT - RIGHT) * max(t, 0.0) / self.end, 1)

    def y(self, score: float) -> float:
        """Answer how far from the top a score is."""
        return round(self.top + PANEL * (self.high - score) / (self.high - self.low), 1)


def median_curve(curves: Sequence[Sequence[Point]]) -> list[tuple[float, float]]:
    """Take the median of several curves at each of their times, as (seconds, score).

    A curve keeps the score of its last evaluation. The median begins and ends where all have one.
    """
    begin = max(curve[0].t for curve in curves)
    end = min(curve[-1].t for curve in curves)
    times = sorted({point.t for curve in curves for point in curve if begin <= point.t <= end})
    return [(t, statistics.median(_at(curve, t) for curve in curves)) for t in times]


def _at(curve: Sequence[Point], t: float) -> float:
    return next(point.score for point in reversed(curve) if point.t <= t)


def _panel(scenario: Scenario, runs: list[Run], top: float) -> str:
    axes = _Axes(runs, scenario.bar, top)
    title = f"{scenario.name}: {scenario.unit} of 20 greedy episodes"
    bar = axes.y(scenario.bar)
    parts = [
        f"<text x='{LEFT}' y='{top - 12}' font-weight='600'>{escape(title)}</text>",
        *_grid(axes),
        f"<path d='M{LEFT} {bar}H{WIDTH - RIGHT}' stroke='#222' stroke-dasharray='5 4'/>",
    ]
    # Who is there for the speed alone has no color, and no curve.
    measured = {run.contestant for run in runs}
    present = [row for row in CONTESTANTS.values() if row.color and row.name in measured]
    for place, contestant in enumerate(present):
        own = [run for run in runs if run.contestant == contestant.name]
        parts += _curves(axes, contestant, own)
        y = top + 12 + 20 * place
        parts.append(
            f"<line x1='{WIDTH - RIGHT + 16}' x2='{WIDTH - RIGHT + 36}' y1='{y - 4}' y2='{y - 4}' "
            f"stroke='{contestant.color}' stroke-width='3'/>"
            f"<text x='{WIDTH - RIGHT + 42}' y='{y}'>{escape(contestant.label)}</text>"
        )
    return "\n".join(parts)


def _grid(axes: _Axes) -> list[str]:
    across = [
        f"<path d='M{LEFT} {axes.y(score)}H{WIDTH - RIGHT}' stroke='#e5e5e5'/>"
        f"<text x='{LEFT - 6}' y='{axes.y(score) + 4}' text-anchor='end' fill='#666'>"
        f"{score:g}</text>"
        for score in ticks(axes.low, axes.high)
    ]
    below = [
        f"<text x='{axes.x(t)}' y='{axes.top + PANEL + 18}' text-anchor='middle' fill='#666'>"
        f"{t:g} s</text>"
        for t in ticks(0.0, axes.end)
    ]
    return across + below


def ticks(low: float, high: float) -> list[float]:
    """List the multiples of 1, 2 or 5 times a power of ten from `low` to `high`, four to eight."""
    power = 10.0 ** math.floor(math.log10(high - low))
    step = next(
        step
        for step in (power / 5, power / 2, power, power * 2)
        if (high - low) / step <= MOST_TICKS
    )
    return [step * place for place in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _curves(axes: _Axes, contestant: Contestant, runs: list[Run]) -> list[str]:
    lines = [[(point.t, point.score) for point in run.points] for run in runs]
    thin = [_line(axes, line, contestant.color, 1, 0.35) for line in lines]
    median = median_curve([run.points for run in runs])
    return [*thin, _line(axes, median, contestant.color, 2.5, 1)]


def _line(
    axes: _Axes, line: Sequence[tuple[float, float]], color: str, width: float, opacity: float
) -> str:
    points = " ".join(f"{axes.x(t)},{axes.y(score)}" for t, score in line)
    return (
        f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='{width}' "
        f"stroke-opacity='{opacity}' stroke-linejoin='round'/>"
    )
