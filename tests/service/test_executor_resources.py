"""What a run may ask for, what its workers are given, and what one owner may hold at once."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.executor.v1 import run_pb2, run_service_pb2

from tests.service.executor_bench import refusal, running_executor
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tokens import Tokens

    Environment = Callable[[str], dict[str, Any]]

GIB = 1 << 30
EVALUATION = {"evaluation_id": "5b3f0b52-27fb-4d29-93a1-6b4c4b7f5a10"}


def given(**fields: float) -> run_pb2.Resources:
    return run_pb2.Resources(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"resources": given(cpus=-1)}, "resources.cpus: must lie in 0..1024"),
        ({"resources": given(cpus=float("nan"))}, "resources.cpus: "),
        (
            {"resources": given(memory_bytes=1)},
            f"resources.memory_bytes: must be 0 or at least {64 << 20}",
        ),
        ({"resources": given(gpus=65)}, "resources.gpus: must lie in 0..64"),
        (
            {"resources": given(gpus=1), "type": run_pb2.RUN_TYPE_EVALUATION, "config": EVALUATION},
            "resources.gpus: only TRAINING runs may ask for GPUs",
        ),
        (
            {"resources": given(gpus=3)},
            "resources.gpus: must be at most 2, which is what one owner",
        ),
        (
            {"resources": given(memory_bytes=9 * GIB)},
            f"resources.memory_bytes: must be at most {8 * GIB}",
        ),
        (
            {"resources": given(gpus=1), "config": {"learners": 4, "actors": 4}},
            "resources.gpus: must be at most 2 for 4 workers together",
        ),
    ],
)
async def test_too_much_is_refused_by_name_and_nothing_is_stored(
    service_environment: Environment, tokens: Tokens, asked: dict[str, Any], words: str
) -> None:
    quota = {"owner_gpus": 2, "owner_memory_bytes": 8 * GIB, "worker_memory_bytes": GIB}
    async with running_executor(service_environment, tokens, **quota) as bench:
        refused = await refusal(bench.create(asked.pop("config", {}), **asked))
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.message.startswith(words)
        listed = await bench.runs.ListRuns(run_service_pb2.ListRunsRequest(), metadata=bench.user)
        assert not listed.items


async def test_an_owner_who_holds_all_they_may_waits_and_others_do_not(
    service_environment: Environment, tokens: Tokens
) -> None:
    quota = {"owner_memory_bytes": 4 * GIB, "worker_memory_bytes": GIB, "max_jobs": 100}
    other = tokens.user(str(uuid.uuid4()))
    async with running_executor(service_environment, tokens, **quota) as bench:
        mine = [await bench.create({}, resources=given(memory_bytes=3 * GIB))]
        mine += [await bench.create({}, resources=given(memory_bytes=2 * GIB)) for _ in range(40)]
        mine += [await bench.create({})]
        theirs = await bench.create({}, who=other)

        async def at_work() -> list[int]:
            found = []
            for run in (*mine, theirs):
                who = other if run is theirs else bench.user
                request = run_service_pb2.ListJobsRequest(run_id=run.id)
                answer = await bench.runs.ListJobs(request, metadata=who)
                found.append(answer.items[0].state != run_pb2.JOB_STATE_PENDING)
            return [place for place, is_at_work in enumerate(found) if is_at_work]

        # The small one fits beside the first; those of two do not, however long they have waited.
        async def is_settled() -> bool:
            return await at_work() == [0, 41, 42]

        await eventually(is_settled)
        await bench.verb("CancelRun", mine[0].id)

        async def is_next() -> bool:
            return 1 in await at_work()

        await eventually(is_next)
        # Two and one are held; with another two it would be five.
        assert await at_work() == [0, 1, 41, 42]


async def test_a_run_says_what_its_workers_are_given_and_a_clone_asks_for_the_same(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens) as bench:
        run = await bench.create({"learners": 2}, resources=given(cpus=1.5, memory_bytes=GIB))
        assert run.worker_count == 2
        clone = await bench.verb("CloneRun", run.id)
        assert clone.resources == run.resources == given(cpus=1.5, memory_bytes=GIB)
        assert (await bench.create({})).resources == given()


async def test_a_worker_that_uses_more_memory_than_its_run_asked_for_is_ended(
    service_environment: Environment, tokens: Tokens, place: dict[str, Any]
) -> None:
    async with running_executor(service_environment, tokens, plan="greedy", **place) as bench:
        asked = given(memory_bytes=150 << 20)
        run = await bench.create({}, max_retries=0, resources=asked)
        ended = await bench.reaches(run.id, run_pb2.RUN_STATE_FAILED, within_s=40)
        assert ended.reason == "OUT_OF_MEMORY"
