"""Runs listed by filter and in order, through gRPC, with nobody at work."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from elodrome.executor.v1 import metric_service_pb2, run_pb2, run_service_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from tests.service.executor_bench import Bench, refusal, running_executor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.tokens import Tokens

ListRunsRequest = run_service_pb2.ListRunsRequest
EXTERNAL = run_pb2.RUN_TYPE_EXTERNAL


@pytest.fixture
async def bench(
    service_environment: Callable[[str], dict[str, Any]], tokens: Tokens
) -> AsyncIterator[Bench]:
    # One slot, taken at once: what is created waits in the queue.
    async with running_executor(service_environment, tokens, max_jobs=1) as bench:
        yield bench


async def test_filters_narrow_the_list(bench: Bench) -> None:
    tagged = await bench.create({}, tags=["red", "blue"], group="colours", name="one")
    await bench.create({}, tags=["red"])

    async def found(**filters: Any) -> list[str]:
        request = run_service_pb2.ListRunsRequest(**filters)
        answer = await bench.runs.ListRuns(request, metadata=bench.user)
        return [run.id for run in answer.items]

    assert await found(tags=["red", "blue"]) == [tagged.id]
    assert len(await found(tags=["red"])) == 2
    assert await found(group="colours") == [tagged.id]
    assert await found(name="one") == [tagged.id]
    assert await found(states=[run_pb2.RUN_STATE_COMPLETED]) == []
    assert await found(type=EXTERNAL) == []


async def test_every_combination_of_filters_equals_a_search_by_hand(bench: Bench) -> None:
    for number in range(6):
        await bench.create(
            {"scenario": "basic" if number % 2 else "take_cover"},
            name=f"n{number}",
            tags=["even"] if number % 2 == 0 else [],
            priority=number % 3,
        )
    every = list((await bench.runs.ListRuns(ListRunsRequest(), metadata=bench.user)).items)
    times = sorted(run.create_time.ToNanoseconds() for run in every)
    start, end = (Timestamp(), Timestamp())
    start.FromNanoseconds(times[1])
    end.FromNanoseconds(times[5])
    filters: dict[str, tuple[Any, Callable[[run_pb2.Run], bool]]] = {
        "tags": (["even"], lambda run: "even" in run.tags),
        "map_id": (every[0].map_id, lambda run: run.map_id == every[0].map_id),
        "game": ("doom", lambda run: run.game == "doom"),
        "created_from": (start, lambda run: run.create_time.ToNanoseconds() >= times[1]),
        "created_before": (end, lambda run: run.create_time.ToNanoseconds() < times[5]),
    }
    for size in range(len(filters) + 1):
        for chosen in itertools.combinations(filters, size):
            request = ListRunsRequest(**{name: filters[name][0] for name in chosen})
            answer = await bench.runs.ListRuns(request, metadata=bench.user)
            expected = [run.id for run in every if all(filters[name][1](run) for name in chosen)]
            assert [run.id for run in answer.items] == expected, chosen
            assert answer.total == len(expected)


@pytest.mark.parametrize("column", ["create_time", "update_time", "priority", "step"])
@pytest.mark.parametrize("direction", ["", " desc"])
async def test_pages_follow_the_order_asked_for(bench: Bench, column: str, direction: str) -> None:
    for number in range(5):
        await bench.create({}, priority=number % 3)
    found: list[run_pb2.Run] = []
    token = ""
    while True:
        request = ListRunsRequest(order_by=column + direction, page_size=2, page_token=token)
        answer = await bench.runs.ListRuns(request, metadata=bench.user)
        found += answer.items
        token = answer.next_page_token
        if not token:
            break
    assert len({run.id for run in found}) == 5
    values = [_place(run, column) for run in found]
    assert values == sorted(values, reverse=bool(direction))


def _place(run: run_pb2.Run, column: str) -> int:
    if column == "step":
        return run.progress.step
    value = getattr(run, column)
    return value if isinstance(value, int) else value.ToNanoseconds()


async def test_an_order_or_a_moment_that_makes_no_sense_is_refused(bench: Bench) -> None:
    for request, field in (
        (ListRunsRequest(order_by="name"), "order_by"),
        (ListRunsRequest(order_by="step asc"), "order_by"),
        (ListRunsRequest(created_from=Timestamp(seconds=10**15)), "created_from"),
        (ListRunsRequest(map_id="x"), "map_id"),
    ):
        refused = await refusal(bench.runs.ListRuns(request, metadata=bench.user))
        assert refused.field == field


async def test_a_filter_of_a_million_items_costs_nothing(bench: Bench) -> None:
    run = await bench.create({}, tags=["red"])
    request = run_service_pb2.ListRunsRequest(states=[run_pb2.RUN_STATE_PENDING] * 1_000_000)
    async with asyncio.timeout(5):
        answer = await bench.runs.ListRuns(request, metadata=bench.user)
    assert [item.id for item in answer.items] == [run.id]
    many = run_service_pb2.ListRunsRequest(tags=["red"] * 500_000)
    assert (await refusal(bench.runs.ListRuns(many, metadata=bench.user))).field == "tags"
    names = metric_service_pb2.GetMetricHistoryRequest(run_id=run.id, names=["x"] * 500_000)
    refused = await refusal(bench.metrics.GetMetricHistory(names, metadata=bench.user))
    assert refused.field == "names"
