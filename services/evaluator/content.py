"""Reads what a suite version plays and measures out of a request, and refuses what cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elodrome.evaluator.v1 import suite_pb2

from games.catalogue import MAP_NAMES
from games.doom.actions import GrammarError, parse_actions
from kit import errors, parse
from services.evaluator.metrics import DEFAULT_METRICS, METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED_FLOOR = 2**30
"""Training takes its seeds below this number, so nobody is judged on what it trained on."""
SEED_LIMIT = 2**31

MAX_SCENARIOS = 64
MAX_EPISODES = 2_000
MAX_METRICS = 16
_MAX_FRAME_SKIP = 35
_FRAME_SKIP = 4


def parse_scenarios(
    scenarios: Sequence[suite_pb2.SuiteScenario], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the scenarios as they are stored; those without seeds take `seeds`."""
    if not 1 <= len(scenarios) <= MAX_SCENARIOS:
        raise errors.invalid_argument("scenarios", f"must be 1 to {MAX_SCENARIOS}")
    shared = _parse_seeds(seeds, "seeds")
    rows = [_parse_scenario(row, shared, f"scenarios[{i}]") for i, row in enumerate(scenarios)]
    _check_distinct([row["scenario"] for row in rows], "scenarios", "name a scenario twice")
    for index, row in enumerate(rows):
        if row["game"] != rows[0]["game"]:
            raise errors.invalid_argument(
                f"scenarios[{index}].game", f"must be {rows[0]['game']}, like the first one's"
            )
    count = sum(len(row["seeds"]) for row in rows)
    if count > MAX_EPISODES:
        raise errors.invalid_argument(
            "scenarios",
            f"must be at most {MAX_EPISODES} episodes, not {count}",
            reason="SUITE_TOO_LARGE",
        )
    return rows


def parse_metrics(metrics: Sequence[suite_pb2.SuiteMetric], game: str) -> list[dict[str, str]]:
    """Return the metrics as they are stored, the default ones for none; `game` has all of them."""
    if len(metrics) > MAX_METRICS:
        raise errors.invalid_argument("metrics", f"must be at most {MAX_METRICS}")
    if not metrics:
        return [{"name": name, "goal": METRICS[name].goal.value} for name in DEFAULT_METRICS]
    rows = [_parse_metric(row, game, f"metrics[{i}]") for i, row in enumerate(metrics)]
    _check_distinct([row["name"] for row in rows], "metrics", "name a metric twice")
    return rows


def _parse_scenario(row: suite_pb2.SuiteScenario, shared: list[int], field: str) -> dict[str, Any]:
    if row.game not in MAP_NAMES:
        known = ", ".join(MAP_NAMES)
        raise errors.invalid_argument(f"{field}.game", f"must be one of {known}")
    if row.scenario not in MAP_NAMES[row.game]:
        raise errors.invalid_argument(
            f"{field}.scenario",
            f"must be one of {', '.join(MAP_NAMES[row.game])}",
            reason="UNKNOWN_SCENARIO",
        )
    seeds = _parse_seeds(row.seeds, f"{field}.seeds") or shared
    if not seeds:
        raise errors.invalid_argument(f"{field}.seeds", "must not be empty")
    return {
        "game": row.game,
        "scenario": row.scenario,
        "seeds": seeds,
        **(_parse_decisions if row.game == "doom" else _parse_no_decisions)(row, field),
    }


def _parse_decisions(row: suite_pb2.SuiteScenario, field: str) -> dict[str, Any]:
    """Read how the built-in agents decide."""
    skip = parse.integer(
        row.frame_skip or _FRAME_SKIP, f"{field}.frame_skip", minimum=1, maximum=_MAX_FRAME_SKIP
    )
    grammar = _parse_grammar(row.action_combinations, field)
    return {"frame_skip": skip, "action_combinations": grammar}


def _parse_no_decisions(row: suite_pb2.SuiteScenario, field: str) -> dict[str, Any]:
    """Refuse to choose where the game leaves no choice."""
    for name, is_set in (
        ("frame_skip", row.frame_skip not in {0, 1}),
        ("action_combinations", row.action_combinations != ""),
    ):
        if is_set:
            raise errors.invalid_argument(f"{field}.{name}", f"is no setting of {row.game}")
    return {"frame_skip": 1, "action_combinations": ""}


def _parse_seeds(seeds: Sequence[int], field: str) -> list[int]:
    for index, seed in enumerate(seeds):
        # An int32 ends where the range does, so only the lower bound can be broken.
        if seed < SEED_FLOOR:
            raise errors.invalid_argument(
                f"{field}[{index}]",
                f"must lie in {SEED_FLOOR}..{SEED_LIMIT - 1}; training takes the seeds below",
                reason="SEED_OUT_OF_RANGE",
                minimum=SEED_FLOOR,
                maximum=SEED_LIMIT - 1,
            )
    _check_distinct(seeds, field, "name a seed twice")
    return list(seeds)


def _parse_grammar(grammar: str, field: str) -> str:
    if not grammar:
        return ""
    name = f"{field}.action_combinations"
    parse.text(grammar, name, max_length=200)
    try:
        parse_actions(grammar)
    except GrammarError as error:
        raise errors.invalid_argument(name, str(error)) from error
    return grammar


def _parse_metric(row: suite_pb2.SuiteMetric, game: str, field: str) -> dict[str, str]:
    metric = METRICS.get(row.name)
    if metric is None:
        raise errors.invalid_argument(
            f"{field}.name", f"must be one of {', '.join(METRICS)}", reason="UNKNOWN_METRIC"
        )
    if metric.game not in {"", game}:
        raise errors.invalid_argument(
            f"{field}.name", f"{game} has no {row.name}", reason="UNKNOWN_METRIC"
        )
    if not row.goal:
        return {"name": row.name, "goal": metric.goal.value}
    goal = parse.enum_value(row.goal, f"{field}.goal", suite_pb2.MetricGoal)
    return {"name": row.name, "goal": suite_pb2.MetricGoal.Name(goal).removeprefix("METRIC_GOAL_")}


def _check_distinct(values: Sequence[object], field: str, offence: str) -> None:
    if len(set(values)) < len(values):
        raise errors.invalid_argument(field, f"must not {offence}")
