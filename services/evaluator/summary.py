"""Turns episodes into what an evaluation and a comparison say. Pure and CPU-bound."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from elodrome.evaluator.v1 import evaluation_pb2

from services.evaluator import inference
from services.evaluator.inference import Difference, Estimate, Resampling
from services.evaluator.metrics import METRICS, Goal

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
_SEED_BITS = 31


@dataclass(frozen=True)
class Played:
    """One episode: where, with which seed, and its metrics by name."""

    scenario: str
    seed: int
    metrics: dict[str, float]


def seed_of(*parts: str) -> int:
    """Derive a resampling seed in [0, 2**31) from ids, so nobody can draw until it pleases."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return int.from_bytes(digest[:4]) >> (32 - _SEED_BITS)


def summarize(
    episodes: Sequence[Played], metrics: Sequence[str], scenarios: Sequence[str], seed: int
) -> dict[str, Any]:
    """Estimate every metric over all episodes and per scenario; the shape `Evaluation` stores."""

    def rows(label: str, part: Sequence[Played]) -> list[dict[str, Any]]:
        return [
            _estimate_row(name, [episode.metrics[name] for episode in part], seed, label)
            for name in metrics
        ]

    by_scenario = {
        name: [episode for episode in episodes if episode.scenario == name] for name in scenarios
    }
    return {
        "metrics": rows("all", episodes),
        "scenarios": [
            {
                "scenario": name,
                "metrics": rows(name, part),
                "seeds": [episode.seed for episode in part],
            }
            for name, part in by_scenario.items()
        ],
    }


def compare(
    metric: str, goal: Goal, base: Sequence[Played], candidate: Sequence[Played],
    *, seed: int, confidence: float,
) -> evaluation_pb2.MetricComparison:  # fmt: skip
    """Compare one metric, pairing episodes of the same scenario and seed where at least two do."""
    base_values, candidate_values, paired = _aligned(metric, base, candidate)
    count = inference.resample_count(max(len(base_values), len(candidate_values)))

    def resampling(label: str) -> Resampling:
        return Resampling(seed, f"{metric}/{label}", count, confidence)

    difference = inference.paired_difference if paired else inference.unpaired_difference
    change = difference(base_values, candidate_values, resampling("difference"))
    rate = METRICS[metric].rate
    base_estimate = inference.estimate(base_values, resampling("base"), rate=rate)
    candidate_estimate = inference.estimate(candidate_values, resampling("candidate"), rate=rate)
    return evaluation_pb2.MetricComparison(
        metric=metric,
        goal=f"METRIC_GOAL_{goal}",
        base=_estimate_proto(metric, base_estimate, confidence),
        candidate=_estimate_proto(metric, candidate_estimate, confidence),
        confidence=confidence,
        verdict=verdict(change, goal),
        **asdict(change),
    )


def verdict(change: Difference, goal: Goal) -> evaluation_pb2.Verdict:
    """Say what the interval of a difference means for the candidate."""
    if change.lower <= 0 <= change.upper:
        return evaluation_pb2.VERDICT_INCONCLUSIVE
    if (change.lower > 0) == (goal is Goal.MAXIMIZE):
        return evaluation_pb2.VERDICT_BETTER
    return evaluation_pb2.VERDICT_WORSE


def _aligned(
    metric: str, base: Sequence[Played], candidate: Sequence[Played]
) -> tuple[list[float], list[float], bool]:
    old = {(episode.scenario, episode.seed): episode.metrics[metric] for episode in base}
    new = {(episode.scenario, episode.seed): episode.metrics[metric] for episode in candidate}
    shared = sorted(old.keys() & new.keys())
    if len(shared) > 1:
        return [old[key] for key in shared], [new[key] for key in shared], True
    return list(old.values()), list(new.values()), False


def _estimate_row(metric: str, values: list[float], seed: int, label: str) -> dict[str, Any]:
    count = inference.resample_count(len(values))
    resampling = Resampling(seed, f"{metric}/{label}", count, CONFIDENCE)
    estimate = inference.estimate(values, resampling, rate=METRICS[metric].rate)
    return _estimate_fields(metric, estimate, CONFIDENCE)


def _estimate_fields(metric: str, estimate: Estimate, confidence: float) -> dict[str, Any]:
    fields = asdict(estimate)
    count = fields.pop("count")
    return {"metric": metric, "confidence": confidence, "episode_count": count, **fields}


def _estimate_proto(
    metric: str, estimate: Estimate, confidence: float
) -> evaluation_pb2.MetricEstimate:
    return evaluation_pb2.MetricEstimate(**_estimate_fields(metric, estimate, confidence))
