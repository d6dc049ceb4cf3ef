"""How evaluations begin: on request, from the cache, or by a suite's own rule."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.evaluator.v1 import evaluation_pb2
from elodrome.evaluator.v1 import evaluation_service_pb2 as evaluations
from elodrome.registry.v1 import events_pb2 as registry_events
from sqlalchemy import select

from kit import errors
from kit.outbox import OutboxEvent
from services.evaluator.consumers import checkpoint_saved, version_created
from tests.service.evaluator_bench import (
    Bench,
    refusal,
    running_bench,
    scenario,
)
from tests.service.evaluator_peers import saved
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tokens import Tokens

PENDING = evaluation_pb2.EVALUATION_STATE_PENDING
COMPLETED = evaluation_pb2.EVALUATION_STATE_COMPLETED
FAILED = evaluation_pb2.EVALUATION_STATE_FAILED


@pytest.fixture
async def bench(
    service_environment: Callable[[str], dict[str, Any]], keys_dir: Path, tokens: Tokens
) -> AsyncIterator[Bench]:
    async with running_bench(service_environment, keys_dir, tokens) as running:
        yield running


async def test_an_identical_evaluation_is_answered_from_the_cache(
    bench: Bench, tokens: Tokens
) -> None:
    checkpoint = bench.peers.registry.add_checkpoint(bench.user_id)
    twin = bench.peers.registry.add_checkpoint(bench.user_id, sha256=checkpoint.artifact.sha256)
    suite = await bench.suite(4)
    first = await bench.evaluated(suite, checkpoint_id=checkpoint.id)
    second = await bench.start(suite, checkpoint_id=twin.id)
    assert (second.state, second.cached, second.percent) == (COMPLETED, True, 100)
    assert second.source_evaluation_id == first.id
    assert second.metrics == first.metrics
    third = await bench.start(suite, checkpoint_id=checkpoint.id)
    assert third.source_evaluation_id == first.id
    listed = await bench.evaluations.ListEpisodes(
        evaluations.ListEpisodesRequest(evaluation_id=third.id), metadata=bench.user
    )
    assert {episode.evaluation_id for episode in listed.items} == {first.id}
    assert (await bench.start(suite, checkpoint_id=checkpoint.id, fresh=True)).state == PENDING
    assert len(bench.peers.executor.runs) <= 2
    other = bench.peers.registry.add_checkpoint(bench.user_id)
    assert not (await bench.start(suite, checkpoint_id=other.id)).cached


async def test_another_engine_empties_the_cache(bench: Bench) -> None:
    suite, other = await bench.suite(2), await bench.suite(2)
    await bench.play(await bench.start(suite), engine="vizdoom 1")
    await bench.play(await bench.start(other), engine="vizdoom 2")
    assert (await bench.start(suite)).state == PENDING
    assert (await bench.start(other)).cached


async def test_repeats_with_one_request_id_start_one_evaluation(bench: Bench) -> None:
    suite = await bench.suite(2)
    request_id = str(uuid.uuid4())
    answers = await asyncio.gather(*(bench.start(suite, request_id=request_id) for _ in range(10)))
    assert len({answer.id for answer in answers}) == 1
    problem = await refusal(bench.start(suite, request_id=request_id, agent="fixed"))
    assert (problem.code, problem.reason) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )


async def test_a_request_that_cannot_be_evaluated_is_refused(bench: Bench, tokens: Tokens) -> None:
    suite = await bench.suite(2)
    registry = bench.peers.registry
    foreign = registry.add_checkpoint(str(uuid.uuid4()))
    pending = registry.add_checkpoint(bench.user_id, committed=False)
    for fields, reason in (
        ({"checkpoint_id": foreign.id}, "CHECKPOINT_NOT_FOUND"),
        ({"checkpoint_id": pending.id}, "CHECKPOINT_NOT_COMMITTED"),
        ({"checkpoint_id": "../x"}, "INVALID_FIELD"),
        ({"agent": "clever"}, "UNKNOWN_AGENT"),
        ({"agent": "random", "suite_version": 7}, "SUITE_VERSION_NOT_FOUND"),
        ({"agent": "random", "time_limit_s": 9}, "INVALID_FIELD"),
    ):
        assert (await refusal(bench.start(suite, **fields))).reason == reason
    nobody = evaluations.CreateEvaluationRequest(suite_id=suite.id)
    problem = await refusal(bench.evaluations.CreateEvaluation(nobody, metadata=bench.user))
    assert problem.field == "checkpoint_id"
    listed = await bench.evaluations.ListEvaluations(
        evaluations.ListEvaluationsRequest(), metadata=bench.user
    )
    assert listed.total == 0
    # An administrator may evaluate anybody's; the run then belongs to whom the checkpoint does.
    request = evaluations.CreateEvaluationRequest(suite_id=suite.id, checkpoint_id=foreign.id)
    started = await bench.evaluations.CreateEvaluation(request, metadata=tokens.admin())
    run = await eventually(
        lambda: [run for run in bench.peers.executor.runs.values() if run.request_id == started.id]
    )
    assert run[0].owner_id == foreign.owner_id


async def test_a_lost_answer_or_a_busy_executor_delays_and_does_not_double(bench: Bench) -> None:
    bench.peers.executor.lose_answers = 3
    started = await bench.start(await bench.suite(2))
    worker = await bench.worker(started.id)
    assert len(bench.peers.executor.runs) == 1
    assert (await bench.claim(started.id, worker)).agent == "random"


async def test_a_refused_run_fails_the_evaluation(bench: Bench) -> None:
    bench.peers.executor.refusal = errors.resource_exhausted(
        "too many runs", reason="QUOTA", retry_after_s=1
    )
    started = await bench.start(await bench.suite(2))
    bench.peers.executor.refusal = errors.permission_denied("no runs for you", reason="NO")
    failed = await bench.in_state(started.id, FAILED)
    assert failed.error == "the executor refused its run: no runs for you"


async def test_saved_checkpoints_are_evaluated_where_a_suite_asks(bench: Bench) -> None:
    every = await bench.suite(2, auto_evaluate={"every": 2})
    best = await bench.suite(2, auto_evaluate={"best": True})
    published = await bench.suite(2, auto_evaluate={"published": True})
    elsewhere = await bench.suite(2, scenarios=[scenario("take_cover")], auto_evaluate={"every": 1})
    registry, sessions = bench.peers.registry, bench.running.context.sessions
    run_id = str(uuid.uuid4())
    checkpoints = [registry.add_checkpoint(bench.user_id) for _ in range(4)]
    for number, checkpoint in enumerate(checkpoints):
        checkpoint.run_id = run_id
        async with sessions.begin() as session:
            await checkpoint_saved(session, saved(checkpoint, is_best=number == 2))
    event = registry_events.VersionCreated(checkpoint_id=checkpoints[0].id)
    async with sessions.begin() as session:
        await version_created(session, event)

    async def evaluated(suite_id: str) -> list[str]:
        request = evaluations.ListEvaluationsRequest(suite_id=suite_id)
        answer = await bench.evaluations.ListEvaluations(request, metadata=bench.user)
        assert all(
            item.trigger == evaluation_pb2.EVALUATION_TRIGGER_CHECKPOINT for item in answer.items
        )
        return [item.checkpoint_id for item in answer.items]

    assert await evaluated(every.id) == [checkpoints[3].id, checkpoints[1].id]
    assert await evaluated(best.id) == [checkpoints[2].id]
    assert await evaluated(published.id) == [checkpoints[0].id]
    assert await evaluated(elsewhere.id) == []


async def test_strangers_checkpoints_are_left_alone(bench: Bench) -> None:
    await bench.suite(2, auto_evaluate={"every": 1})
    stranger = bench.peers.registry.add_checkpoint(str(uuid.uuid4()))
    async with bench.running.context.sessions.begin() as session:
        await checkpoint_saved(session, saved(stranger))
    listed = await bench.evaluations.ListEvaluations(
        evaluations.ListEvaluationsRequest(), metadata=bench.tokens.admin()
    )
    assert listed.total == 0


async def test_what_becomes_of_an_evaluation_is_of_the_trace_that_asked_for_it(
    bench: Bench,
) -> None:
    came = f"00-{'ab' * 16}-{'cd' * 8}-01"
    suite = await bench.suite(2)
    bench.peers.executor.refusal = errors.failed_precondition("not today", reason="NOT_TODAY")
    bench.user = [*bench.user, ("traceparent", came)]
    evaluation = await bench.start(suite)
    bench.user = bench.user[:-1]
    await bench.in_state(evaluation.id, FAILED)
    assert bench.peers.executor.traces == [came]
    async with bench.running.context.sessions() as session:
        assert list(await session.scalars(select(OutboxEvent.traceparent))) == [came]
