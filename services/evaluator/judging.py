"""A decision is a function of its record: no clock, no database, no other input."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass

from elodrome.evaluator.v1 import gate_pb2, suite_pb2

from services.evaluator import inference
from services.evaluator.inference import Difference, Estimate, Resampling
from services.evaluator.metrics import METRICS

DEFAULT_METRIC = "return"

_PASSED, _FAILED = gate_pb2.CHECK_STATE_PASSED, gate_pb2.CHECK_STATE_FAILED
_BASELINES: dict[int, str] = {
    gate_pb2.BASELINE_RANDOM: "random",
    gate_pb2.BASELINE_STABLE: "stable",
}

Column = dict[tuple[str, int], float]


@dataclass(frozen=True)
class Judgement:
    """What a record amounts to."""

    passed: bool
    checks: list[gate_pb2.Check]


def judge(record: gate_pb2.DecisionRecord) -> Judgement:
    """Apply every rule of the record to its episodes. CPU-bound: call it in a thread."""
    checks = [_check(rule, record) for rule in record.rules]
    passed = all(check.optional or check.state != _FAILED for check in checks)
    return Judgement(passed, checks)


def record_sha256(record: gate_pb2.DecisionRecord) -> str:
    """Digest a record; it holds no map, so its serialization has one form."""
    return hashlib.sha256(record.SerializeToString(deterministic=True)).hexdigest()


def baselines_of(rules: list[gate_pb2.GateRule]) -> set[str]:
    """Return which baselines the rules compare with: `random`, `stable`."""
    kinds = [getattr(rule, rule.WhichOneof("check")) for rule in rules]
    return {
        _BASELINES[kind.baseline]
        for kind in kinds
        if isinstance(kind, gate_pb2.BetterThan | gate_pb2.NotWorseThan)
    }


def _check(rule: gate_pb2.GateRule, record: gate_pb2.DecisionRecord) -> gate_pb2.Check:
    match rule.WhichOneof("check"):
        case "min_mean":
            check = _min_mean(rule, record)
        case "better_than":
            check = _against(rule, record, rule.better_than.baseline, rule.better_than.margin)
        case "not_worse_than":
            bound = -rule.not_worse_than.tolerance
            check = _against(rule, record, rule.not_worse_than.baseline, bound)
        case "scenario_floor":
            check = _scenario_floor(rule, record)
        case "min_episodes":
            check = _min_episodes(rule, record)
        case other:
            raise ValueError(f"no rule of kind {other}")
    check.rule, check.kind, check.optional = rule.name, rule.WhichOneof("check"), rule.optional
    for name in ("value", "threshold", "lower", "upper"):
        # JSON in Postgres keeps no -0.0, and a check must equal itself after it was stored.
        setattr(check, name, getattr(check, name) + 0.0)
    return check


def _min_mean(rule: gate_pb2.GateRule, record: gate_pb2.DecisionRecord) -> gate_pb2.Check:
    metric, sign = _metric(rule), _sign(record, _metric(rule))
    column = _column(record, record.candidate, metric)
    estimate = _estimate(record, metric, column)
    threshold = rule.min_mean.threshold
    bad_end = estimate.lower if sign > 0 else estimate.upper
    held = bad_end if rule.min_mean.with_confidence else estimate.mean
    passed = sign * (held - threshold) >= 0
    sure = f"with {record.confidence:.0%} confidence " if rule.min_mean.with_confidence else ""
    return gate_pb2.Check(
        state=_PASSED if passed else _FAILED,
        value=held,
        threshold=threshold,
        lower=estimate.lower,
        upper=estimate.upper,
        method=estimate.method,
        message=f"the mean {metric} is {sure}{held:.4g}; {_at_least(sign, threshold)}",
    )


def _against(
    rule: gate_pb2.GateRule, record: gate_pb2.DecisionRecord, baseline: int, bound: float
) -> gate_pb2.Check:
    """Hold the interval of candidate less baseline against a bound on the good side."""
    name, metric = _BASELINES[baseline], _metric(rule)
    if not record.HasField(name):
        return gate_pb2.Check(
            state=gate_pb2.CHECK_STATE_NOT_APPLICABLE,
            message=f"there is no {name} version to compare with",
        )
    sign = _sign(record, metric)
    base = _column(record, getattr(record, name), metric)
    candidate = _column(record, record.candidate, metric)
    change = _difference(record, f"{metric}/{name}", base, candidate)
    bad_end = change.lower if sign > 0 else change.upper
    passed = sign * bad_end > bound
    return gate_pb2.Check(
        state=_PASSED if passed else _FAILED,
        value=change.delta,
        threshold=sign * bound,
        lower=change.lower,
        upper=change.upper,
        p_value=change.p_value,
        method=f"{change.method}, {change.test}",
        message=(
            f"{metric} differs from {name} by {change.delta:.4g}, with {record.confidence:.0%} "
            f"confidence by {change.lower:.4g} to {change.upper:.4g}; "
            f"{'more' if sign > 0 else 'less'} than {sign * bound:.4g} is needed"
        ),
    )


def _scenario_floor(rule: gate_pb2.GateRule, record: gate_pb2.DecisionRecord) -> gate_pb2.Check:
    metric, sign = _metric(rule), _sign(record, _metric(rule))
    by_scenario: dict[str, list[float]] = defaultdict(list)
    for (scenario, _), value in _column(record, record.candidate, metric).items():
        by_scenario[scenario].append(value)
    means = {scenario: inference.mean(values) for scenario, values in by_scenario.items()}
    worst = min(means, key=lambda scenario: sign * means[scenario])
    threshold = rule.scenario_floor.threshold
    passed = sign * (means[worst] - threshold) >= 0
    return gate_pb2.Check(
        state=_PASSED if passed else _FAILED,
        value=means[worst],
        threshold=threshold,
        lower=means[worst],
        upper=means[worst],
        message=(
            f"the worst scenario, {worst}, has a mean {metric} of {means[worst]:.4g}; "
            f"{_at_least(sign, threshold)}"
        ),
    )


def _min_episodes(rule: gate_pb2.GateRule, record: gate_pb2.DecisionRecord) -> gate_pb2.Check:
    count, wanted = len(record.candidate.episodes), rule.min_episodes.count
    passed = count >= wanted
    return gate_pb2.Check(
        state=_PASSED if passed else _FAILED,
        value=count,
        threshold=wanted,
        lower=count,
        upper=count,
        message=f"{count} episodes were played; {_at_least(1, wanted)}",
    )


def _metric(rule: gate_pb2.GateRule) -> str:
    return rule.metric or DEFAULT_METRIC


def _at_least(sign: int, threshold: float) -> str:
    return f"at {'least' if sign > 0 else 'most'} {threshold:.4g} is needed"


def _sign(record: gate_pb2.DecisionRecord, metric: str) -> int:
    goal = record.metrics[_place(record, metric)].goal
    return -1 if goal == suite_pb2.METRIC_GOAL_MINIMIZE else 1


def _place(record: gate_pb2.DecisionRecord, metric: str) -> int:
    return [row.name for row in record.metrics].index(metric)


def _column(
    record: gate_pb2.DecisionRecord, subject: gate_pb2.DecisionInput, metric: str
) -> Column:
    place = _place(record, metric)
    return {(episode.scenario, episode.seed): episode.values[place] for episode in subject.episodes}


def _estimate(record: gate_pb2.DecisionRecord, metric: str, column: Column) -> Estimate:
    resampling = _resampling(record, metric)
    return inference.estimate(list(column.values()), resampling, rate=METRICS[metric].rate)


def _difference(
    record: gate_pb2.DecisionRecord, label: str, base: Column, candidate: Column
) -> Difference:
    """Every input of a record was played on one suite version, so every episode has its pair."""
    pairs = sorted(candidate)
    return inference.paired_difference(
        [base[pair] for pair in pairs],
        [candidate[pair] for pair in pairs],
        _resampling(record, label),
    )


def _resampling(record: gate_pb2.DecisionRecord, label: str) -> Resampling:
    return Resampling(record.bootstrap_seed, label, record.resample_count, record.confidence)
