"""Gates through gRPC: what passes, what is refused, and decisions that recompute."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.evaluator.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    events_pb2,
    gate_pb2,
    suite_service_pb2,
)
from elodrome.evaluator.v1 import gate_service_pb2 as gates
from sqlalchemy import select, update

from kit.outbox import OutboxEvent
from services.evaluator.models.gate import GateDecision
from tests.service.evaluator_bench import Bench, refusal, running_bench, scenario, seeds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from elodrome.registry.v1 import model_pb2

    from tests.tokens import Tokens

RANDOM, STABLE = gate_pb2.BASELINE_RANDOM, gate_pb2.BASELINE_STABLE
PASSED, FAILED = gate_pb2.CHECK_STATE_PASSED, gate_pb2.CHECK_STATE_FAILED
NOT_APPLICABLE = gate_pb2.CHECK_STATE_NOT_APPLICABLE

THREE_CHECKS = [
    {"name": "good enough", "min_mean": {"threshold": 60}},
    {"name": "beats chance", "better_than": {"baseline": RANDOM, "margin": 5}},
    {"name": "enough played", "min_episodes": {"count": 10}},
]


@pytest.fixture
async def bench(
    service_environment: Callable[[str], dict[str, Any]], keys_dir: Path, tokens: Tokens
) -> AsyncIterator[Bench]:
    async with running_bench(service_environment, keys_dir, tokens) as running:
        yield running


async def a_policy(bench: Bench, rules: list[dict[str, Any]]) -> gate_pb2.GatePolicy:
    request = gates.CreateGatePolicyRequest(name=f"gate-{uuid.uuid4().hex[:8]}", rules=rules)
    return await bench.gates.CreateGatePolicy(request, metadata=bench.user)


async def a_candidate(
    bench: Bench, suite: Any, mean: float, model_id: str = "", *, stable: bool = False
) -> model_pb2.Version:
    checkpoint = bench.peers.registry.add_checkpoint(bench.user_id)
    await bench.evaluated(suite, mean, checkpoint_id=checkpoint.id)
    return bench.peers.registry.add_version(checkpoint, model_id, stable=stable)


async def decide(
    bench: Bench, policy: gate_pb2.GatePolicy, version: model_pb2.Version, **fields: Any
) -> gate_pb2.GateDecision:
    request = gates.DecideGateRequest(policy_id=policy.id, version_id=version.id, **fields)
    return await bench.gates.DecideGate(request, metadata=bench.user)


async def recompute(bench: Bench, decision_id: str) -> gates.RecomputeDecisionResponse:
    request = gates.RecomputeDecisionRequest(id=decision_id)
    return await bench.gates.RecomputeDecision(request, metadata=bench.user)


async def test_a_gate_reports_value_threshold_and_outcome_of_each_check(bench: Bench) -> None:
    suite = await bench.suite(12)
    await bench.evaluated(suite, 10)
    version = await a_candidate(bench, suite, 75)
    decision = await decide(bench, await a_policy(bench, THREE_CHECKS), version)
    assert decision.passed
    assert [check.rule for check in decision.checks] == [rule["name"] for rule in THREE_CHECKS]
    assert {check.state for check in decision.checks} == {PASSED}
    mean, better, played = decision.checks
    assert (mean.threshold, better.threshold, played.threshold) == (60, 5, 10)
    assert mean.value == pytest.approx(75, abs=8)
    assert better.lower <= better.value <= better.upper
    assert better.lower > 5
    assert better.p_value < 0.01
    assert "sign_flip" in better.method
    assert played.value == 12
    assert (decision.checkpoint_sha256, decision.model_id) == (
        version.artifact.sha256,
        version.model_id,
    )
    read = gates.GetDecisionRequest(id=decision.id)
    assert await bench.gates.GetDecision(read, metadata=bench.user) == decision


async def test_a_failing_candidate_is_told_which_rules_and_others_are_told(bench: Bench) -> None:
    suite = await bench.suite(12)
    await bench.evaluated(suite, 50)
    optional = {"name": "nice", "optional": True, "min_mean": {"threshold": 1000}}
    policy = await a_policy(bench, [*THREE_CHECKS, optional])
    decision = await decide(bench, policy, await a_candidate(bench, suite, 50))
    assert not decision.passed
    states = {check.rule: check.state for check in decision.checks}
    assert states == {
        "good enough": FAILED,
        "beats chance": FAILED,
        "enough played": PASSED,
        "nice": FAILED,
    }
    assert "at least 60 is needed" in decision.checks[0].message
    async with bench.running.context.sessions() as session:
        rows = await session.scalars(
            select(OutboxEvent).where(OutboxEvent.subject.contains("GateDecided"))
        )
        (event,) = [events_pb2.GateDecided.FromString(row.payload) for row in rows]
    assert (event.decision_id, event.passed) == (decision.id, False)
    assert list(event.failed_rules) == ["good enough", "beats chance"]
    assert event.version_id == decision.version_id


async def test_a_worse_candidate_fails_not_worse_than_stable(bench: Bench) -> None:
    suite = await bench.suite(12)
    rule = {"name": "no regress", "not_worse_than": {"baseline": STABLE, "tolerance": 2}}
    policy = await a_policy(bench, [rule])
    stable = await a_candidate(bench, suite, 70, stable=True)
    first = await decide(bench, policy, bench.peers.registry.versions[stable.id])
    assert first.checks[0].value == 0
    worse = await a_candidate(bench, suite, 60, stable.model_id)
    same = await a_candidate(bench, suite, 71, stable.model_id)
    assert not (await decide(bench, policy, worse)).passed
    assert (await decide(bench, policy, same)).passed
    alone = await decide(bench, policy, await a_candidate(bench, suite, 10))
    assert alone.passed
    assert alone.checks[0].state == NOT_APPLICABLE


async def test_goals_turn_the_checks_round(bench: Bench) -> None:
    suite = await bench.suite(12)
    await bench.evaluated(suite, 100)
    rules = [
        {"name": "quick", "metric": "decisions", "min_mean": {"threshold": 60}},
        {"name": "quicker", "metric": "decisions", "better_than": {"baseline": RANDOM}},
    ]
    policy = await a_policy(bench, rules)
    quick = await decide(bench, policy, await a_candidate(bench, suite, 40))
    slow = await decide(bench, policy, await a_candidate(bench, suite, 130))
    assert [check.state for check in quick.checks] == [PASSED, PASSED]
    assert [check.state for check in slow.checks] == [FAILED, FAILED]


async def test_one_bad_scenario_fails_the_floor(bench: Bench) -> None:
    suite = await bench.suite(4, scenarios=[scenario(), scenario("take_cover")])
    checkpoint = bench.peers.registry.add_checkpoint(bench.user_id)
    started = await bench.start(suite, checkpoint_id=checkpoint.id)
    worker = await bench.worker(started.id)
    await bench.claim(started.id, worker)
    episodes = [
        evaluation_pb2.Episode(
            scenario=name, seed=seed, metrics={"return": value, "decisions": 1.0}
        )
        for name, value in (("basic", 90.0), ("take_cover", 20.0))
        for seed in seeds(4)
    ]
    await bench.record(started.id, worker, episodes)
    await bench.finish(started.id, worker)
    version = bench.peers.registry.add_version(checkpoint)
    rules = [
        {"name": "mean", "min_mean": {"threshold": 50}},
        {"name": "floor", "scenario_floor": {"threshold": 50}},
    ]
    decision = await decide(bench, await a_policy(bench, rules), version)
    assert [check.state for check in decision.checks] == [PASSED, FAILED]
    assert "take_cover" in decision.checks[1].message


async def test_the_record_alone_recomputes_the_decision(bench: Bench) -> None:
    suite = await bench.suite(30)
    await bench.evaluated(suite, 55)
    version = await a_candidate(bench, suite, 62)
    policy = await a_policy(bench, THREE_CHECKS)
    decision = await decide(bench, policy, version)
    change = gates.CreateGatePolicyVersionRequest(
        id=policy.id, rules=[{"name": "other", "min_mean": {"threshold": 1e6}}]
    )
    assert (await bench.gates.CreateGatePolicyVersion(change, metadata=bench.user)).version == 2
    again = await recompute(bench, decision.id)
    assert again.equal
    assert list(again.checks) == list(decision.checks)
    record = decision.record
    assert (record.policy_version, len(record.candidate.episodes)) == (1, 30)
    assert [rule.name for rule in record.rules] == [rule["name"] for rule in THREE_CHECKS]
    assert record.candidate.checkpoint_sha256 == version.artifact.sha256
    assert record.random.agent == "random"


async def test_a_difference_of_nothing_recomputes_too(bench: Bench) -> None:
    """Zero has a sign in memory and none in the database."""
    suite = await bench.suite(6)
    stable = await a_candidate(bench, suite, 70, stable=True)
    rules = [
        {"name": metric, "metric": metric, "not_worse_than": {"baseline": STABLE}}
        for metric in ("return", "decisions")
    ]
    decision = await decide(bench, await a_policy(bench, rules), stable)
    assert [check.value for check in decision.checks] == [0, 0]
    assert (await recompute(bench, decision.id)).equal


async def test_a_record_that_was_tampered_with_is_found_out(bench: Bench) -> None:
    suite = await bench.suite(12)
    await bench.evaluated(suite, 10)
    policy = await a_policy(bench, THREE_CHECKS)
    decision = await decide(bench, policy, await a_candidate(bench, suite, 75))
    async with bench.running.context.sessions.begin() as session:
        record = dict((await session.get_one(GateDecision, decision.id)).record)
        for episode in record["candidate"]["episodes"]:
            episode["values"][0] = 1.0
        await session.execute(
            update(GateDecision).where(GateDecision.id == decision.id).values(record=record)
        )
    again = await recompute(bench, decision.id)
    assert not again.equal
    assert not again.passed
    assert "the record does not have its recorded digest" in again.differences
    assert any(difference.startswith("rule good enough") for difference in again.differences)


async def test_repeats_of_a_request_decide_once(bench: Bench) -> None:
    suite = await bench.suite(4)
    version = await a_candidate(bench, suite, 75)
    policy = await a_policy(bench, [THREE_CHECKS[0]])
    request_id = str(uuid.uuid4())
    answers = await asyncio.gather(
        *(decide(bench, policy, version, request_id=request_id) for _ in range(8))
    )
    assert len({answer.id for answer in answers}) == 1
    listed = await bench.gates.ListDecisions(
        gates.ListDecisionsRequest(version_id=version.id), metadata=bench.user
    )
    assert (listed.total, listed.items[0].HasField("record")) == (1, False)
    other = await a_candidate(bench, suite, 60)
    problem = await refusal(decide(bench, policy, other, request_id=request_id))
    assert problem.reason == "REQUEST_ID_REUSED"
    fresh = await decide(bench, policy, version)
    assert fresh.id != answers[0].id
    assert fresh.record == answers[0].record


async def test_what_is_missing_or_does_not_fit_is_named(bench: Bench, tokens: Tokens) -> None:
    suite, elsewhere = await bench.suite(4), await bench.suite(4)
    policy = await a_policy(bench, THREE_CHECKS)
    registry = bench.peers.registry
    unevaluated = registry.add_version(registry.add_checkpoint(bench.user_id))
    assert (await refusal(decide(bench, policy, unevaluated))).reason == "EVALUATION_MISSING"
    version = await a_candidate(bench, suite, 75)
    problem = await refusal(decide(bench, policy, version))
    assert (problem.code, problem.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "EVALUATION_MISSING",
    )
    assert "random" in problem.metadata["subject"]
    other = await bench.evaluated(elsewhere, 10)
    problem = await refusal(decide(bench, policy, version, random_evaluation_id=other.id))
    assert problem.reason == "EVALUATION_MISMATCH"
    unfinished = await bench.start(suite)
    problem = await refusal(decide(bench, policy, version, random_evaluation_id=unfinished.id))
    assert problem.reason == "EVALUATION_NOT_COMPLETED"
    kills = await a_policy(bench, [{"name": "k", "metric": "kills", "min_mean": {}}])
    assert (await refusal(decide(bench, kills, version))).reason == "METRIC_NOT_MEASURED"
    request = gates.DecideGateRequest(policy_id=policy.id, version_id=version.id)
    problem = await refusal(
        bench.gates.DecideGate(request, metadata=tokens.user(roles=("VIEWER",)))
    )
    assert problem.code is grpc.StatusCode.PERMISSION_DENIED
    assert (await bench.gates.ListDecisions(
        gates.ListDecisionsRequest(), metadata=bench.user
    )).total == 0  # fmt: skip


async def test_somebody_elses_decision_does_not_exist(bench: Bench, tokens: Tokens) -> None:
    suite = await bench.suite(4)
    policy = await a_policy(bench, [THREE_CHECKS[0]])
    decision = await decide(bench, policy, await a_candidate(bench, suite, 75))
    read = gates.GetDecisionRequest(id=decision.id)
    problem = await refusal(bench.gates.GetDecision(read, metadata=tokens.user()))
    assert problem.reason == "DECISION_NOT_FOUND"
    as_registry = await bench.gates.GetDecision(read, metadata=tokens.service("registry"))
    assert as_registry.passed == decision.passed


async def test_a_policy_that_cannot_be_applied_is_refused(bench: Bench) -> None:
    floor = {"scenario_floor": {"threshold": 1}}
    for rules, field in (
        ([], "rules"),
        ([{"name": "x"}], "rules[0]"),
        ([{"name": "", **floor}], "rules[0].name"),
        ([{"name": "x", **floor}, {"name": "x", **floor}], "rules"),
        ([{"name": "x", "metric": "joy", **floor}], "rules[0].metric"),
        ([{"name": "x", "better_than": {"margin": 1}}], "rules[0].better_than.baseline"),
        (
            [{"name": "x", "better_than": {"baseline": RANDOM, "margin": -1}}],
            "rules[0].better_than.margin",
        ),
        ([{"name": "x", "min_mean": {"threshold": float("nan")}}], "rules[0].min_mean.threshold"),
        ([{"name": "x", "min_episodes": {"count": 0}}], "rules[0].min_episodes.count"),
    ):
        problem = await refusal(a_policy(bench, rules))
        assert (problem.code, problem.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    request = gates.CreateGatePolicyRequest(name="x", rules=[THREE_CHECKS[0]], confidence=1.5)
    problem = await refusal(bench.gates.CreateGatePolicy(request, metadata=bench.user))
    assert problem.field == "confidence"
    listed = await bench.gates.ListGatePolicies(
        gates.ListGatePoliciesRequest(), metadata=bench.user
    )
    assert listed.total == 0


async def compare(bench: Bench, **fields: str) -> evaluation_service_pb2.CompareEvaluationsResponse:
    request = evaluation_service_pb2.CompareEvaluationsRequest(**fields)
    return await bench.evaluations.CompareEvaluations(request, metadata=bench.user)


async def test_two_checkpoints_are_compared_metric_by_metric(bench: Bench) -> None:
    suite = await bench.suite(12)
    old = await a_candidate(bench, suite, 50)
    new = await a_candidate(bench, suite, 58)
    answer = await compare(
        bench,
        suite_id=suite.id,
        base_checkpoint_id=old.checkpoint_id,
        candidate_checkpoint_id=new.checkpoint_id,
    )
    returns, decisions = answer.metrics
    assert (returns.metric, returns.paired, returns.sample_count) == ("return", True, 12)
    assert returns.delta == pytest.approx(8)
    assert returns.verdict == evaluation_pb2.VERDICT_BETTER
    assert decisions.verdict == evaluation_pb2.VERDICT_WORSE
    assert returns.test == "sign_flip_exact"
    assert returns.p_value == pytest.approx(2 / 2**12)
    assert list(answer.warnings) == []
    by_id = await compare(
        bench,
        base_evaluation_id=answer.base.id,
        candidate_evaluation_id=answer.candidate.id,
    )
    assert by_id.metrics == answer.metrics


async def test_comparing_across_suite_versions_warns(bench: Bench) -> None:
    suite = await bench.suite(6)
    first = await bench.evaluated(suite, 50)
    change = suite_service_pb2.CreateSuiteVersionRequest(
        suite_id=suite.id,
        scenarios=[scenario()],
        seeds=seeds(9)[3:],
        metrics=[{"name": "return"}],
    )
    await bench.suites.CreateSuiteVersion(change, metadata=bench.user)
    second = await bench.evaluated(suite, 50)
    answer = await compare(bench, base_evaluation_id=first.id, candidate_evaluation_id=second.id)
    assert answer.warnings[0] == f"different suite versions: {suite.name} v1 and {suite.name} v2"
    (metric,) = answer.metrics
    assert (metric.metric, metric.sample_count) == ("return", 3)
    assert metric.verdict == evaluation_pb2.VERDICT_INCONCLUSIVE


async def test_what_cannot_be_compared_is_refused(bench: Bench, tokens: Tokens) -> None:
    first = await bench.evaluated(await bench.suite(3), 50)
    other = await bench.evaluated(await bench.suite(3, scenarios=[scenario("take_cover")]), 50)
    running = await bench.start(await bench.suite(3))
    for candidate, reason in (
        (other.id, "NOTHING_TO_COMPARE"),
        (running.id, "EVALUATION_NOT_COMPLETED"),
        (str(uuid.uuid4()), "EVALUATION_NOT_FOUND"),
    ):
        fields = {"base_evaluation_id": first.id, "candidate_evaluation_id": candidate}
        assert (await refusal(compare(bench, **fields))).reason == reason
    assert (await refusal(compare(bench))).field == "suite_id"
