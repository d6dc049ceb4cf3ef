"""Metrics in and out, and what watchers see of them."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from elodrome.executor.v1 import (
    metric_pb2,
    metric_service_pb2,
    run_pb2,
    run_service_pb2,
    training_service_pb2,
)

from tests.service.executor_bench import Bench, Leased, batch, refusal, running_executor
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.tokens import Tokens


@pytest.fixture
async def bench(
    service_environment: Callable[[str], dict[str, Any]], tokens: Tokens
) -> AsyncIterator[Bench]:
    async with running_executor(service_environment, tokens) as bench:
        yield bench


@pytest.fixture
async def worker(bench: Bench) -> Leased:
    return await bench.acquire(await bench.create({}))


async def history(bench: Bench, run_id: str, **fields: Any) -> dict[str, dict[int, float]]:
    request = metric_service_pb2.GetMetricHistoryRequest(run_id=run_id, **fields)
    answer = await bench.metrics.GetMetricHistory(request, metadata=bench.user)
    return {
        series.name: dict(zip(series.steps, series.values, strict=True)) for series in answer.series
    }


async def test_batches_are_stored_once_however_often_they_are_sent(
    bench: Bench, worker: Leased
) -> None:
    first, second = batch(1, loss={0: 1.0, 1: 0.5}), batch(2, loss={2: 0.25}, reward={2: 7.0})
    answer = await worker.append(first, second)
    assert (answer.acknowledged_sequence, answer.stored_count) == (2, 4)
    again = await worker.append(first, second, batch(3, loss={3: 0.1}))
    assert (again.acknowledged_sequence, again.stored_count, again.duplicate_count) == (3, 1, 4)
    assert await history(bench, worker.run_id) == {
        "loss": {0: 1.0, 1: 0.5, 2: 0.25, 3: 0.1},
        "reward": {2: 7.0},
    }


async def test_the_first_value_of_a_step_wins(bench: Bench, worker: Leased) -> None:
    await worker.append(batch(1, loss={10: 1.0, 20: 2.0, 30: 3.0}))
    overlapping = await worker.append(batch(2, loss={5: 5.0, 20: 9.0, 25: 2.5}))
    assert (overlapping.stored_count, overlapping.duplicate_count) == (2, 1)
    twice = metric_service_pb2.AppendRequest(
        sequence=3, series=[metric_pb2.Series(name="loss", steps=[40, 40], values=[4.0, 9.0])]
    )
    await worker.append(twice)
    assert await history(bench, worker.run_id) == {
        "loss": {5: 5.0, 10: 1.0, 20: 2.0, 25: 2.5, 30: 3.0, 40: 4.0}
    }


async def test_a_missing_batch_is_noticed(worker: Leased) -> None:
    await worker.append(batch(1, loss={0: 1.0}))
    error = await refusal(worker.append(batch(3, loss={2: 1.0})))
    assert (error.reason, error.metadata["expected"]) == ("SEQUENCE_GAP", "2")
    answer = await worker.append(batch(2, loss={1: 1.0}))
    assert answer.acknowledged_sequence == 2


async def test_nan_and_infinity_are_values(bench: Bench, worker: Leased) -> None:
    await worker.append(batch(1, loss={0: math.nan, 1: math.inf, 2: 2.0, 3: 4.0, 4: math.nan}))
    stored = (await history(bench, worker.run_id))["loss"]
    assert math.isnan(stored[0])
    assert stored[1] == math.inf
    latest = await bench.metrics.GetLatestMetrics(
        metric_service_pb2.GetLatestMetricsRequest(run_id=worker.run_id), metadata=bench.user
    )
    loss = latest.series[0]
    assert (loss.step, loss.count, loss.nonfinite_count) == (4, 5, 3)
    assert math.isnan(loss.value)
    assert (loss.min, loss.max, loss.mean) == (2.0, 4.0, 3.0)
    assert math.isnan((await bench.get(worker.run_id)).latest_metrics["loss"])


async def test_impossible_steps_are_left_out_and_listed(bench: Bench, worker: Leased) -> None:
    steps = [-1, 0, 2**60, 1]
    series = [metric_pb2.Series(name="loss", steps=steps, values=[9.0, 0.0, 9.0, 1.0])]
    answer = await worker.append(metric_service_pb2.AppendRequest(sequence=1, series=series))
    assert (answer.stored_count, answer.rejected_count) == (2, 2)
    assert [(item.name, item.index) for item in answer.rejected] == [("loss", 0), ("loss", 2)]
    assert await history(bench, worker.run_id) == {"loss": {0: 0.0, 1: 1.0}}


@pytest.mark.parametrize(
    ("series", "field"),
    [
        (metric_pb2.Series(name="a b", steps=[1], values=[1]), "series[0].name"),
        (metric_pb2.Series(name="x" * 129, steps=[1], values=[1]), "series[0].name"),
        (metric_pb2.Series(name="loss", steps=[1, 2], values=[1]), "series[0]"),
        (metric_pb2.Series(name="loss", steps=range(50_001), values=[0.0] * 50_001), "series"),
    ],
)
async def test_malformed_batches_are_refused_whole(
    bench: Bench, worker: Leased, series: metric_pb2.Series, field: str
) -> None:
    request = metric_service_pb2.AppendRequest(sequence=1, series=[series])
    error = await refusal(worker.append(request))
    assert (error.code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert await history(bench, worker.run_id) == {}


async def test_a_run_has_a_limited_number_of_series(bench: Bench, worker: Leased) -> None:
    many = {f"series_{number}": {0: 1.0} for number in range(1000)}
    assert (await worker.append(batch(1, **many))).stored_count == 1000
    error = await refusal(worker.append(batch(2, one_more={0: 1.0})))
    assert error.reason == "TOO_MANY_SERIES"


async def test_a_token_writes_for_its_own_run_only(bench: Bench, worker: Leased) -> None:
    other = await bench.create({})
    request = batch(1, loss={0: 1.0})
    request.run_id = other.id
    assert (await refusal(worker.append(request))).reason == "WRONG_RUN"
    as_user = bench.metrics.Append(iter([batch(1, loss={0: 1.0})]), metadata=bench.user)
    assert (await refusal(as_user)).code is grpc.StatusCode.PERMISSION_DENIED


async def test_thinned_history_keeps_the_extremes(bench: Bench, worker: Leased) -> None:
    values = np.sin(np.arange(20_000) / 500)
    values[[4321, 17_000]] = [50.0, -60.0]
    values[9000] = math.nan
    await worker.append(batch(1, loss=dict(enumerate(values.tolist()))))
    thinned = (await history(bench, worker.run_id, max_points=100))["loss"]
    assert len(thinned) <= 100
    assert (thinned[4321], thinned[17_000]) == (50.0, -60.0)
    assert math.isnan(thinned[9000])
    assert {0, 19_999} <= set(thinned)
    part = (await history(bench, worker.run_id, first_step=10, last_step=12))["loss"]
    assert list(part) == [10, 11, 12]


async def test_a_watch_gives_everything_in_order_and_ends(bench: Bench, worker: Leased) -> None:
    watching = asyncio.create_task(bench.watch(worker.run_id))
    await worker.append(batch(1, loss={0: 1.0, 1: 0.5}, reward={1: 3.0}))
    await worker.heartbeat(current_iteration=5, max_iterations=10, step=20)
    await worker.append(batch(2, loss={2: 0.25}))
    await worker.report(run_pb2.JOB_OUTCOME_COMPLETED)
    messages = await watching
    kinds = [message.WhichOneof("update") for message in messages]
    assert kinds == ["state", "state", "metrics", "progress", "metrics", "state", "done"]
    first = messages[2].metrics
    assert (first.step, dict(first.values)) == (1, {"loss": 0.5, "reward": 3.0})
    assert {item.name: list(item.steps) for item in first.series} == {"loss": [0, 1], "reward": [1]}
    assert messages[3].progress.progress_percent == 50
    assert messages[-1].done.state == run_pb2.RUN_STATE_COMPLETED


async def test_a_watch_resumes_at_any_cursor_without_gap_or_duplicate(
    bench: Bench, worker: Leased
) -> None:
    for number in range(1, 8):
        await worker.append(batch(number, loss={number: float(number)}))
    await worker.report(run_pb2.JOB_OUTCOME_COMPLETED)
    whole = await bench.watch(worker.run_id)
    for place in range(len(whole) - 1):
        rest = await bench.watch(worker.run_id, whole[place].cursor)
        assert [item.cursor for item in rest] == [item.cursor for item in whole[place + 1 :]]
    other = await bench.create({})
    error = await refusal(
        bench.runs.WatchRun(
            run_service_pb2.WatchRunRequest(id=other.id, cursor=whole[0].cursor),
            metadata=bench.user,
        ).read()
    )
    assert error.field == "cursor"


async def test_history_and_watch_join_at_the_cursor(bench: Bench, worker: Leased) -> None:
    await worker.append(batch(1, loss={0: 1.0}))
    request = metric_service_pb2.GetMetricHistoryRequest(run_id=worker.run_id)
    before = await bench.metrics.GetMetricHistory(request, metadata=bench.user)
    await worker.append(batch(2, loss={1: 2.0}))
    await worker.report(run_pb2.JOB_OUTCOME_COMPLETED)
    after = await bench.watch(worker.run_id, before.cursor)
    steps = [list(item.metrics.series[0].steps) for item in after if item.HasField("metrics")]
    assert steps == [[1]]


async def test_concurrent_writers_and_watchers_agree(bench: Bench, worker: Leased) -> None:
    watchers = [asyncio.create_task(bench.watch(worker.run_id)) for _ in range(5)]
    await asyncio.gather(
        *[worker.heartbeat(current_iteration=number, step=number) for number in range(10)],
        worker.append(*[batch(number, loss={number: 1.0}) for number in range(1, 51)]),
    )
    await worker.report(run_pb2.JOB_OUTCOME_COMPLETED)
    for watcher in watchers:
        messages = await watcher
        steps = [
            step
            for message in messages
            if message.HasField("metrics")
            for step in message.metrics.series[0].steps
        ]
        assert steps == list(range(1, 51))
        assert sum(message.HasField("progress") for message in messages) == 10


async def test_the_training_log_adds_up(bench: Bench, worker: Leased) -> None:
    losses = {0: 4.0, 10: 1.0, 20: math.nan, 30: 2.0}
    await worker.append(batch(1, loss=losses, reward={10: 5.0}))
    log = await bench.training.GetTrainingLog(
        training_service_pb2.GetTrainingLogRequest(run_id=worker.run_id), metadata=bench.user
    )
    assert [entry.step for entry in log.iterations] == [0, 10, 20, 30]
    assert dict(log.iterations[1].values) == {"loss": 1.0, "reward": 5.0}
    assert (log.max_loss, log.min_loss, log.final_loss) == (4.0, 1.0, 2.0)
    assert log.mean_loss == pytest.approx(7 / 3)


async def test_a_live_point_reaches_a_waiting_watcher(bench: Bench, worker: Leased) -> None:
    stream = bench.runs.WatchRun(
        run_service_pb2.WatchRunRequest(id=worker.run_id), metadata=bench.user
    )
    seen: list[Any] = []

    async def follow() -> None:
        async for message in stream:
            kind = message.WhichOneof("update")
            seen.append(kind)

    following = asyncio.create_task(follow())
    await eventually(lambda: len(seen) == 2)
    await worker.append(batch(1, loss={0: 1.0}))
    await eventually(lambda: seen[-1] == "metrics")
    following.cancel()


async def test_answers_stay_below_the_size_of_a_message(bench: Bench, worker: Leased) -> None:
    names = [f"series_{number}" for number in range(400)]
    for sequence in range(1, 8):
        steps = range(sequence * 100, sequence * 100 + 100)
        await worker.append(batch(sequence, **{name: dict.fromkeys(steps, 1.0) for name in names}))
    stored = await history(bench, worker.run_id, max_points=10_000)
    assert len(stored) == 400
    assert all(len(points) <= 500 for points in stored.values())
    error = await refusal(
        bench.training.GetTrainingLog(
            training_service_pb2.GetTrainingLogRequest(run_id=worker.run_id), metadata=bench.user
        )
    )
    assert error.reason == "TOO_LARGE"
