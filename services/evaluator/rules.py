"""Reads gate rules out of a request, and refuses what no decision could apply."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import gate_pb2

from kit import errors, parse
from services.evaluator.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_RULES = 32
_LARGEST = 1e12


def parse_rules(rules: Sequence[gate_pb2.GateRule]) -> list[gate_pb2.GateRule]:
    """Return the rules; the refused field names the rule by its index."""
    if not 1 <= len(rules) <= MAX_RULES:
        raise errors.invalid_argument("rules", f"must be 1 to {MAX_RULES}")
    for index, rule in enumerate(rules):
        _check_rule(rule, f"rules[{index}]")
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names):
        raise errors.invalid_argument("rules", "must have distinct names")
    return list(rules)


def _check_rule(rule: gate_pb2.GateRule, field: str) -> None:
    parse.text(rule.name, f"{field}.name", max_length=64)
    if rule.metric and rule.metric not in METRICS:
        known = ", ".join(METRICS)
        raise errors.invalid_argument(
            f"{field}.metric", f"must be one of {known}", reason="UNKNOWN_METRIC"
        )
    match rule.WhichOneof("check"):
        case "min_mean":
            _check_number(rule.min_mean.threshold, f"{field}.min_mean.threshold", -_LARGEST)
        case "better_than":
            _check_baseline(rule.better_than.baseline, f"{field}.better_than.baseline")
            _check_number(rule.better_than.margin, f"{field}.better_than.margin", 0)
        case "not_worse_than":
            _check_baseline(rule.not_worse_than.baseline, f"{field}.not_worse_than.baseline")
            _check_number(rule.not_worse_than.tolerance, f"{field}.not_worse_than.tolerance", 0)
        case "scenario_floor":
            _check_number(
                rule.scenario_floor.threshold, f"{field}.scenario_floor.threshold", -_LARGEST
            )
        case "min_episodes":
            count, name = rule.min_episodes.count, f"{field}.min_episodes.count"
            parse.integer(count, name, minimum=1, maximum=1_000_000)
        case _:
            kinds = ", ".join(
                option.name for option in rule.DESCRIPTOR.oneofs_by_name["check"].fields
            )
            raise errors.invalid_argument(field, f"must hold one of {kinds}")


def _check_number(value: float, field: str, minimum: float) -> None:
    if not math.isfinite(value) or not minimum <= value <= _LARGEST:
        raise errors.invalid_argument(field, f"must lie in {minimum:g}..{_LARGEST:g}")


def _check_baseline(value: int, field: str) -> None:
    parse.enum_value(value, field, gate_pb2.Baseline)
