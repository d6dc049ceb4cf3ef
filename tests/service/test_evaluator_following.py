"""What the evaluator does by itself: events over a real bus, and the reconciler without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from elodrome.evaluator.v1 import evaluation_pb2
from elodrome.evaluator.v1 import evaluation_service_pb2 as evaluations
from elodrome.executor.v1 import events_pb2 as executor_events
from elodrome.executor.v1 import run_pb2
from sqlalchemy import text

from tests.service.evaluator_bench import Bench, running_bench
from tests.service.evaluator_peers import saved
from tests.service.publishing import publish
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from deploy.laptop.broker import RunningBroker
    from tests.tokens import Tokens

FAILED = evaluation_pb2.EVALUATION_STATE_FAILED


@pytest.fixture
async def bench(
    service_environment: Callable[[str], dict[str, Any]], keys_dir: Path, tokens: Tokens
) -> AsyncIterator[Bench]:
    async with running_bench(service_environment, keys_dir, tokens) as running:
        yield running


async def backdate(bench: Bench, evaluation_id: str, seconds: int) -> None:
    """Let an evaluation have been created, and have stood still, for some time."""
    statement = text(
        "UPDATE evaluations SET create_time = create_time - make_interval(secs => :s),"
        " update_time = update_time - make_interval(secs => :s) WHERE id = :id"
    )
    async with bench.running.context.sessions.begin() as session:
        await session.execute(statement, {"s": seconds, "id": evaluation_id})


async def test_events_over_the_bus_start_and_end_evaluations(
    bench: Bench, nats_server: RunningBroker
) -> None:
    await bench.suite(2, auto_evaluate={"every": 1})
    checkpoint = bench.peers.registry.add_checkpoint(bench.user_id)
    event = saved(checkpoint)
    for event_id in ("once", "once", "again"):
        await publish(nats_server, "registry", event, about=checkpoint.id, event_id=event_id)

    async def listed() -> list[evaluation_pb2.Evaluation]:
        request = evaluations.ListEvaluationsRequest(checkpoint_id=checkpoint.id)
        answer = await bench.evaluations.ListEvaluations(request, metadata=bench.user)
        return list(answer.items)

    (queued,) = await eventually(listed)
    await bench.worker(queued.id)
    run = bench.peers.executor.run_of(queued.id)
    failed = executor_events.RunStateChanged(
        run_id=run.id,
        type=run.type,
        state=run_pb2.RUN_STATE_FAILED,
        last_error="no checkpoint could be read",
        owner_id=run.owner_id,
        request_id=run.request_id,
    )
    await publish(nats_server, "executor", failed, about=run.id)
    ended = await bench.in_state(queued.id, FAILED)
    assert ended.error == "its run failed: no checkpoint could be read"
    assert len(await listed()) == 1


async def test_without_events_the_reconciler_finds_out_how_a_run_ended(bench: Bench) -> None:
    started = await bench.start(await bench.suite(2))
    await bench.claim(started.id, await bench.worker(started.id))
    run = bench.peers.executor.run_of(started.id)
    run.state = run_pb2.RUN_STATE_FAILED
    run.last_error = "the worker was silent"
    await backdate(bench, started.id, 60)
    ended = await bench.in_state(started.id, FAILED)
    assert ended.error == "its run failed: the worker was silent"


async def test_a_deleted_run_fails_its_evaluation(bench: Bench) -> None:
    started = await bench.start(await bench.suite(2))
    await bench.worker(started.id)
    bench.peers.executor.runs.clear()
    await backdate(bench, started.id, 60)
    assert (await bench.in_state(started.id, FAILED)).error == (
        "its run failed: the run was deleted"
    )


async def test_an_evaluation_that_used_up_its_time_fails_and_stops_its_run(bench: Bench) -> None:
    started = await bench.start(await bench.suite(2), time_limit_s=100)
    await bench.claim(started.id, await bench.worker(started.id))
    run = bench.peers.executor.run_of(started.id)
    assert run.time_limit_s == 100
    await backdate(bench, started.id, 101)
    ended = await bench.in_state(started.id, FAILED)
    assert ended.error == "its 100 s were over after 0 of 2 episodes"
    await eventually(lambda: run.state == run_pb2.RUN_STATE_CANCELLED)
