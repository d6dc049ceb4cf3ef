"""Evaluations through gRPC: one run each, every episode once, an end in every case."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.evaluator.v1 import evaluation_pb2, events_pb2
from elodrome.evaluator.v1 import evaluation_service_pb2 as evaluations
from elodrome.executor.v1 import events_pb2 as executor_events
from elodrome.executor.v1 import run_pb2
from sqlalchemy import select

from kit.outbox import OutboxEvent
from services.evaluator.bell import Bell
from services.evaluator.consumers import RunEvents
from tests.service.evaluator_bench import (
    Bench,
    episodes_of,
    refusal,
    running_bench,
    scenario,
    seeds,
)
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tokens import Tokens

PENDING = evaluation_pb2.EVALUATION_STATE_PENDING
RUNNING = evaluation_pb2.EVALUATION_STATE_RUNNING
COMPLETED = evaluation_pb2.EVALUATION_STATE_COMPLETED
FAILED = evaluation_pb2.EVALUATION_STATE_FAILED
CANCELLED = evaluation_pb2.EVALUATION_STATE_CANCELLED


@pytest.fixture
async def bench(
    service_environment: Callable[[str], dict[str, Any]], keys_dir: Path, tokens: Tokens
) -> AsyncIterator[Bench]:
    async with running_bench(service_environment, keys_dir, tokens) as running:
        yield running


def outcome_of(evaluation: evaluation_pb2.Evaluation) -> evaluation_pb2.Evaluation:
    """Leave out when the reconciler last noted something, which may be at any moment."""
    kept = evaluation_pb2.Evaluation()
    kept.CopyFrom(evaluation)
    kept.ClearField("update_time")
    return kept


async def finished_events(bench: Bench) -> list[events_pb2.EvaluationFinished]:
    async with bench.running.context.sessions() as session:
        rows = await session.scalars(select(OutboxEvent).order_by(OutboxEvent.sequence))
        return [
            events_pb2.EvaluationFinished.FromString(row.payload)
            for row in rows
            if "EvaluationFinished" in row.subject
        ]


async def run_moved(bench: Bench, run: run_pb2.Run, state: int, error: str = "") -> None:
    """Hear of a run's new state, as the consumer of the executor's events does."""
    event = executor_events.RunStateChanged(
        run_id=run.id,
        type=run_pb2.RUN_TYPE_EVALUATION,
        state=state,
        last_error=error,
        owner_id=run.owner_id,
        request_id=run.request_id,
    )
    async with bench.running.context.sessions.begin() as session:
        await RunEvents(Bell()).state_changed(session, event)


async def test_an_evaluation_runs_as_a_job_and_ends_with_results(bench: Bench) -> None:
    checkpoint = bench.peers.registry.add_checkpoint(bench.user_id)
    suite = await bench.suite(8, scenarios=[scenario(), scenario("take_cover", seeds=seeds(4))])
    started = await bench.start(suite, checkpoint_id=checkpoint.id)
    assert (started.state, started.percent, started.episodes_total) == (PENDING, 0, 12)
    worker = await bench.worker(started.id)
    run = bench.peers.executor.run_of(started.id)
    assert run.type == run_pb2.RUN_TYPE_EVALUATION
    assert run.config["evaluation_id"] == started.id
    assert run.owner_id == bench.user_id
    task = await bench.claim(started.id, worker)
    assert (task.checkpoint_id, task.checkpoint_sha256) == (
        checkpoint.id,
        checkpoint.artifact.sha256,
    )
    episodes = episodes_of(task, mean=70)
    await bench.record(started.id, worker, episodes[:6])
    halfway = await bench.get(started.id)
    assert (halfway.state, halfway.percent, halfway.run_id) == (RUNNING, 50, run.id)
    assert halfway.HasField("estimated_remaining_s")
    await bench.record(started.id, worker, episodes[6:])
    ended = await bench.finish(started.id, worker)
    assert (ended.state, ended.percent) == (COMPLETED, 100)
    assert [result.scenario for result in ended.scenarios] == ["basic", "take_cover"]
    assert list(ended.scenarios[1].seeds) == seeds(4)
    overall = ended.metrics[0]
    values = [episode.metrics["return"] for episode in episodes]
    assert overall.metric == "return"
    assert overall.mean == pytest.approx(sum(values) / 12)
    assert min(values) <= overall.lower < overall.mean < overall.upper <= max(values)
    assert (overall.method, overall.confidence, overall.episode_count) == ("bca", 0.95, 12)
    assert outcome_of(await bench.get(started.id)) == outcome_of(ended)


async def test_the_end_of_an_evaluation_is_told(bench: Bench) -> None:
    ended = await bench.evaluated(await bench.suite(3))
    (event,) = await finished_events(bench)
    assert (event.evaluation_id, event.state) == (ended.id, COMPLETED)
    assert event.means["return"] == ended.metrics[0].mean
    assert event.agent == "random"


async def test_an_episode_counts_once_however_often_it_is_sent(bench: Bench) -> None:
    started = await bench.start(await bench.suite(4))
    worker = await bench.worker(started.id)
    episodes = episodes_of(await bench.claim(started.id, worker))
    answers = await asyncio.gather(*(bench.record(started.id, worker, episodes) for _ in range(8)))
    assert sum(answer.stored_count for answer in answers) == 4
    assert sum(answer.duplicate_count for answer in answers) == 28
    changed = evaluation_pb2.Episode()
    changed.CopyFrom(episodes[0])
    changed.metrics["return"] = 1e9
    await bench.record(started.id, worker, [changed])
    ended = await bench.finish(started.id, worker)
    assert ended.metrics[0].maximum < 1e9
    assert outcome_of(await bench.finish(started.id, worker)) == outcome_of(ended)
    listed = await bench.evaluations.ListEpisodes(
        evaluations.ListEpisodesRequest(evaluation_id=started.id), metadata=bench.user
    )
    assert {episode.seed for episode in listed.items} == set(seeds(4))


async def test_a_second_attempt_plays_what_the_first_left(bench: Bench) -> None:
    started = await bench.start(await bench.suite(4))
    first = await bench.worker(started.id, epoch=1)
    episodes = episodes_of(await bench.claim(started.id, first))
    await bench.record(started.id, first, episodes[:3])
    second = await bench.worker(started.id, epoch=2)
    problem = await refusal(bench.claim(started.id, second, "vizdoom 2"))
    assert problem.reason == "ENGINE_CHANGED"
    task = await bench.claim(started.id, second)
    assert {(key.scenario, key.seed) for key in task.recorded} == {
        (episode.scenario, episode.seed) for episode in episodes[:3]
    }
    for late in (
        bench.claim(started.id, first),
        bench.record(started.id, first, episodes[3:]),
        bench.finish(started.id, first),
    ):
        problem = await refusal(late)
        assert (problem.code, problem.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "STALE_EPOCH",
        )
    await bench.record(started.id, second, episodes[3:])
    assert (await bench.finish(started.id, second)).state == COMPLETED


async def test_a_worker_may_touch_its_own_evaluation_only(bench: Bench, tokens: Tokens) -> None:
    started = await bench.start(await bench.suite(2))
    worker = await bench.worker(started.id)
    other = tokens.worker(run_id=str(uuid.uuid4()), job_id=str(uuid.uuid4()), epoch=9)
    problem = await refusal(bench.claim(started.id, other))
    assert (problem.code, problem.reason) == (grpc.StatusCode.PERMISSION_DENIED, "WRONG_RUN")
    problem = await refusal(bench.claim(started.id, bench.user))
    assert problem.code is grpc.StatusCode.PERMISSION_DENIED
    problem = await refusal(bench.claim(started.id, []))
    assert problem.code is grpc.StatusCode.UNAUTHENTICATED
    unknown = await refusal(bench.claim(str(uuid.uuid4()), worker))
    assert unknown.reason == "EVALUATION_NOT_FOUND"


async def test_episodes_that_do_not_belong_are_refused_with_their_batch(bench: Bench) -> None:
    started = await bench.start(await bench.suite(3))
    worker = await bench.worker(started.id)
    good = episodes_of(await bench.claim(started.id, worker))
    for change in (
        {"seed": 2**30 + 99},
        {"scenario": "take_cover"},
        {"metrics": {"return": 1.0}},
        {"metrics": {"return": float("nan"), "decisions": 1.0}},
        {"metrics": {"return": 1e300, "decisions": 1.0}},
        {"duration_s": -1},
    ):
        fields = {"scenario": "basic", "seed": good[2].seed, "metrics": dict(good[2].metrics)}
        bad = evaluation_pb2.Episode(**{**fields, **change})
        problem = await refusal(bench.record(started.id, worker, [*good[:2], bad]))
        assert problem.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await bench.get(started.id)).episodes_done == 0
    problem = await refusal(bench.finish(started.id, worker))
    assert problem.reason == "EPISODES_MISSING"


async def test_a_list_is_filtered_and_refuses_what_is_no_filter(bench: Bench) -> None:
    suite = await bench.suite(2)
    random, fixed = await bench.start(suite), await bench.start(suite, agent="fixed")

    async def listed(**fields: Any) -> list[str]:
        request = evaluations.ListEvaluationsRequest(**fields)
        answer = await bench.evaluations.ListEvaluations(request, metadata=bench.user)
        return [item.id for item in answer.items]

    assert await listed(suite_id=suite.id) == [fixed.id, random.id]
    assert await listed(agent="random") == [random.id]
    assert await listed(state=COMPLETED) == []
    for fields, field in (
        ({"agent": "\x00"}, "agent"),
        ({"suite_id": "x"}, "suite_id"),
        ({"state": 99}, "state"),
        ({"page_size": 10**9}, "page_size"),
        ({"page_token": "x"}, "page_token"),
    ):
        problem = await refusal(listed(**fields))
        assert (problem.code, problem.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_somebody_elses_evaluation_does_not_exist(bench: Bench, tokens: Tokens) -> None:
    evaluation = await bench.start(await bench.suite(2))
    other = tokens.user()
    for call in (
        bench.evaluations.GetEvaluation(
            evaluations.GetEvaluationRequest(id=evaluation.id), metadata=other
        ),
        bench.evaluations.CancelEvaluation(
            evaluations.CancelEvaluationRequest(id=evaluation.id), metadata=other
        ),
        bench.evaluations.ListEpisodes(
            evaluations.ListEpisodesRequest(evaluation_id=evaluation.id), metadata=other
        ),
    ):
        assert (await refusal(call)).reason == "EVALUATION_NOT_FOUND"
    request = evaluations.ListEvaluationsRequest()
    theirs = await bench.evaluations.ListEvaluations(request, metadata=other)
    operators = await bench.evaluations.ListEvaluations(
        request, metadata=tokens.user(roles=("OPERATOR",))
    )
    assert (theirs.total, operators.total) == (0, 1)


async def test_cancel_ends_at_once_stops_the_run_and_rerun_keeps_the_record(bench: Bench) -> None:
    started = await bench.start(await bench.suite(4))
    worker = await bench.worker(started.id)
    episodes = episodes_of(await bench.claim(started.id, worker))
    await bench.record(started.id, worker, episodes[:1])
    problem = await refusal(
        bench.evaluations.RerunEvaluation(
            evaluations.RerunEvaluationRequest(id=started.id), metadata=bench.user
        )
    )
    assert problem.reason == "EVALUATION_NOT_ENDED"
    cancel = evaluations.CancelEvaluationRequest(id=started.id, reason="wrong suite")
    cancelled = await bench.evaluations.CancelEvaluation(cancel, metadata=bench.user)
    assert (cancelled.state, cancelled.error) == (CANCELLED, "wrong suite")
    again = await bench.evaluations.CancelEvaluation(cancel, metadata=bench.user)
    assert outcome_of(again) == outcome_of(cancelled)
    run = bench.peers.executor.runs[cancelled.run_id]
    await eventually(lambda: run.state == run_pb2.RUN_STATE_CANCELLED, within_s=20)
    problem = await refusal(bench.record(started.id, worker, episodes[1:]))
    assert problem.reason == "EVALUATION_ENDED"
    again = await bench.evaluations.RerunEvaluation(
        evaluations.RerunEvaluationRequest(id=started.id), metadata=bench.user
    )
    assert (again.rerun_of_id, again.state) == (started.id, PENDING)
    assert (await bench.play(again)).state == COMPLETED
    old = await bench.get(started.id)
    assert (old.state, old.episodes_done) == (CANCELLED, 1)
    problem = await refusal(
        bench.evaluations.CancelEvaluation(
            evaluations.CancelEvaluationRequest(id=again.id), metadata=bench.user
        )
    )
    assert problem.reason == "ILLEGAL_TRANSITION"
    assert (problem.metadata["current"], problem.metadata["requested"]) == (
        "COMPLETED",
        "CANCELLED",
    )


async def test_a_failed_run_fails_the_evaluation_with_its_reason(bench: Bench) -> None:
    started = await bench.start(await bench.suite(4))
    worker = await bench.worker(started.id)
    await bench.claim(started.id, worker)
    run = bench.peers.executor.run_of(started.id)
    await run_moved(bench, run, run_pb2.RUN_STATE_INTERRUPTED)
    assert (await bench.get(started.id)).state == RUNNING
    await run_moved(bench, run, run_pb2.RUN_STATE_FAILED, "attempt 3: the worker was killed")
    failed = await bench.get(started.id)
    assert failed.state == FAILED
    assert failed.error == "its run failed: attempt 3: the worker was killed"
    await run_moved(bench, run, run_pb2.RUN_STATE_COMPLETED)
    assert outcome_of(await bench.get(started.id)) == outcome_of(failed)


async def test_a_worker_that_cannot_play_says_why(bench: Bench) -> None:
    started = await bench.start(await bench.suite(4))
    worker = await bench.worker(started.id)
    await bench.claim(started.id, worker)
    failed = await bench.finish(started.id, worker, "the weights do not fit the network")
    assert (failed.state, failed.error) == (FAILED, "the weights do not fit the network")
    again = await bench.finish(started.id, worker, "the weights do not fit the network")
    assert outcome_of(again) == outcome_of(failed)


async def test_a_run_that_completed_without_a_word_still_yields_results(bench: Bench) -> None:
    started = await bench.start(await bench.suite(2))
    worker = await bench.worker(started.id)
    await bench.record(started.id, worker, episodes_of(await bench.claim(started.id, worker)))
    run = bench.peers.executor.run_of(started.id)
    await run_moved(bench, run, run_pb2.RUN_STATE_COMPLETED)
    assert (await bench.get(started.id)).state == COMPLETED
    empty = await bench.start(await bench.suite(2))
    await bench.worker(empty.id)
    run = bench.peers.executor.run_of(empty.id)
    await run_moved(bench, run, run_pb2.RUN_STATE_COMPLETED)
    assert (await bench.get(empty.id)).error == "its run ended after 0 of 2 episodes"


async def test_progress_is_streamed_to_the_end_and_resumes(bench: Bench) -> None:
    started = await bench.start(await bench.suite(4))
    request = evaluations.WatchEvaluationRequest(id=started.id)
    watch = bench.evaluations.WatchEvaluation(request, metadata=bench.user)
    stream = aiter(watch)
    updates = [await anext(stream)]
    worker = await bench.worker(started.id)
    episodes = episodes_of(await bench.claim(started.id, worker))
    for episode in episodes:
        await bench.record(started.id, worker, [episode])
    await bench.finish(started.id, worker)
    updates += [update async for update in stream]
    *progress, done = updates
    percents = [update.progress.percent for update in progress]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert done.done.evaluation.state == COMPLETED
    cursors = [int(update.cursor) for update in updates]
    assert cursors == sorted(cursors)
    request.cursor = done.cursor
    resumed = bench.evaluations.WatchEvaluation(request, metadata=bench.user)
    assert [update.WhichOneof("update") async for update in resumed] == ["done"]
    request.cursor = "x"
    problem = await refusal(bench.evaluations.WatchEvaluation(request, metadata=bench.user).read())
    assert problem.field == "cursor"
