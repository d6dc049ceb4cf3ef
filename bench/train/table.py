"""From runs to rows: what every contestant reached, and what Elodrome must reach."""

from __future__ import annotations

import math
import statistics
from functools import partial
from typing import TYPE_CHECKING

from bench.report import Row, number
from bench.train.contestants import BASIC, CENTER, CONTESTANTS, DEATHMATCH, HEALTH, SCENARIOS
from bench.train.curves import median_or_never, reached_at, stays_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.train.contestants import Contestant
    from bench.train.curves import Point, Run

FACTORY = ("sample_factory", "sample_factory_1024")
PPO_PEERS = ("sample_factory", "sb3_ppo")
DQN_PEERS = ("sb3_dqn", "double_dqn")
MANY_KILLS = 20.0


class Runs:
    """Questions to the runs of a benchmark; None answers for what was not measured."""

    def __init__(self, runs: Iterable[Run]) -> None:
        """Ask these runs."""
        self._runs = list(runs)

    def of(self, contestant: str, scenario: str) -> list[Run]:
        """Pick the runs of all seeds."""
        wanted = (contestant, scenario)
        return [run for run in self._runs if (run.contestant, run.scenario) == wanted]

    def speed(self, contestant: str, scenario: str = BASIC) -> float | None:
        """Take the median of all windows, in steps per second."""
        speeds = [speed for run in self.of(contestant, scenario) for speed in run.speeds]
        return statistics.median(speeds) if speeds else None

    def soonest(self, contestants: Iterable[str], scenario: str) -> float | None:
        """Tell when the median seed of the first contestant was at its bar, in seconds.

        One that never was counts with its cap, which is less than it would have needed.
        """
        times = []
        for name in contestants:
            if runs := self.of(name, scenario):
                bar = CONTESTANTS[name].bar(scenario)
                median = median_or_never([reached_at(run.points, bar) for run in runs])
                times.append(min(run.cap_s for run in runs) if median is None else median)
        return min(times, default=None)

    def latest(
        self, contestant: str, scenario: str, when: Callable[[Sequence[Point]], float | None]
    ) -> float | None:
        """Tell `when` the last seed was there, in seconds; inf if one never was."""
        times = [when(run.points) for run in self.of(contestant, scenario)]
        return max((math.inf if t is None else t for t in times), default=None)

    def worst_last(self, contestant: str, scenario: str) -> float | None:
        """Take the lowest of the last scores of all seeds."""
        lasts = [run.points[-1].score for run in self.of(contestant, scenario) if run.points]
        return min(lasts, default=None)


def figures(runs: Runs) -> list[Row]:
    """Compose the rows of every contestant: speed, last score, time to its bar."""
    rows = []
    for contestant in CONTESTANTS.values():
        for scenario in contestant.caps:
            own = runs.of(contestant.name, scenario)
            what = f"{contestant.label}, {scenario}"
            speeds = [speed for run in own for speed in run.speeds]
            if speeds:
                rows.append(_median_row(what, speeds, "steps/s"))
            judged = [run for run in own if run.points]
            if judged:
                rows += _scores(what, contestant, judged)
    return rows


def _scores(what: str, contestant: Contestant, runs: list[Run]) -> list[Row]:
    scenario = runs[0].scenario
    lasts = [run.points[-1].score for run in runs]
    last = _median_row(f"{what}, last score", lasts, SCENARIOS[scenario].unit)
    if not contestant.algorithm:
        return [last]
    last.detail["best"] = max(point.score for run in runs for point in run.points)
    bar = contestant.bar(scenario)
    times = [reached_at(run.points, bar) for run in runs]
    median = median_or_never(times)
    said = ", ".join("never" if t is None else number(t) for t in times)
    time = math.inf if median is None else median
    return [last, Row(f"{what}, to {bar:g}", time, "s", detail={"seeds": said})]


def _median_row(what: str, values: Sequence[float], unit: str) -> Row:
    spread: dict[str, float | int | str] = {"min": min(values), "max": max(values)}
    return Row(what, statistics.median(values), unit, detail=spread)


def targets(runs: Runs) -> list[Row]:
    """Compose the rows that have a target, as far as both sides were measured."""
    return [*_speeds(runs), *_learning(runs)]


def _speeds(runs: Runs) -> list[Row]:
    alone = runs.speed("raw_2")
    factory = max((speed for name in FACTORY if (speed := runs.speed(name))), default=None)
    return [
        *_times("random play over ViZDoom alone", runs.speed("elodrome_sampler"), alone, 0.9),
        *_times("PPO with defaults over ViZDoom alone", runs.speed("elodrome_ppo"), alone, 0.5),
        *_times(
            "PPO over Sample Factory, as many parameters",
            runs.speed("elodrome_ppo_large"),
            factory,
            2.5,
        ),
    ]


def _learning(runs: Runs) -> list[Row]:
    """Compose the rows about learning; each is about the worst of Elodrome's seeds."""
    oracle = runs.worst_last("oracle", BASIC)
    ceiling = None if oracle is None else oracle - 1
    final = runs.worst_last("elodrome_ppo", BASIC)
    many = runs.latest("elodrome_ppo", CENTER, partial(stays_from, bar=MANY_KILLS))
    enough = runs.latest("elodrome_ppo", HEALTH, partial(reached_at, bar=SCENARIOS[HEALTH].bar))
    ratio = runs.worst_last("elodrome_ppo", DEATHMATCH)
    return [
        *_sooner(runs, "elodrome_ppo", BASIC, PPO_PEERS, 1 / 3),
        *_row("PPO, basic, last score", final, ceiling, "mean return", more_is_better=True),
        *_sooner(runs, "elodrome_dqn", BASIC, DQN_PEERS, 1 / 3),
        *_sooner(runs, "elodrome_ppo", CENTER, ("sample_factory",), 1 / 2),
        *_row(f"PPO, {CENTER}, at {MANY_KILLS:g} and staying there", many, 600.0, "s"),
        *_row(f"PPO, {HEALTH}, to {SCENARIOS[HEALTH].bar:g}", enough, 900.0, "s"),
        *_row(f"PPO, {DEATHMATCH}, last score", ratio, 1.0, "kills per death", more_is_better=True),
    ]


def _sooner(runs: Runs, name: str, scenario: str, peers: Sequence[str], share: float) -> list[Row]:
    """Compare when a contestant's last seed is at its bar with a share of the peers' time."""
    bar = CONTESTANTS[name].bar(scenario)
    own = runs.latest(name, scenario, partial(reached_at, bar=bar))
    theirs = runs.soonest(peers, scenario)
    target = None if theirs is None else theirs * share
    return _row(f"{CONTESTANTS[name].label}, {scenario}, to {bar:g}, last seed", own, target, "s")


def _times(what: str, speed: float | None, other: float | None, target: float) -> list[Row]:
    if speed is None or other is None:
        return []
    detail: dict[str, float | int | str] = {"steps/s": speed, "of": other}
    return [Row(what, speed / other, "times", target, more_is_better=True, detail=detail)]


def _row(
    what: str,
    measured: float | None,
    target: float | None,
    unit: str,
    *,
    more_is_better: bool = False,
) -> list[Row]:
    if measured is None or target is None:
        return []
    return [Row(what, measured, unit, target, more_is_better=more_is_better)]
