"""The executor tells queue, slots and what is out of line as its tables have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elodrome.executor.v1 import run_pb2
from prometheus_client import REGISTRY
from sqlalchemy import text

from services.executor import gauges
from tests.service.executor_bench import running_executor
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.service.executor_bench import Bench
    from tests.tokens import Tokens

Environment = "Callable[[str], dict[str, Any]]"
# It does as it is told only when it is killed.
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def measured(bench: Bench, max_jobs: int) -> None:
    async with bench.sessions() as session:
        await gauges.measure(max_jobs)(session)


async def counted(bench: Bench, statement: str) -> int:
    async with bench.sessions() as session:
        return await session.scalar(text(statement)) or 0


async def test_the_queue_is_told_as_it_stands(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens, max_jobs=1) as bench:
        runs = [await bench.create() for _ in range(3)]

        async def one_at_work() -> bool:
            await measured(bench, 1)
            return value("elodrome_jobs", state="STARTING") == 1

        await eventually(one_at_work)
        waiting = await counted(bench, "SELECT count(*) FROM jobs WHERE state = 'PENDING'")
        assert waiting == 2
        assert value("elodrome_jobs", state="PENDING") == waiting
        assert value("elodrome_queue_waiting", queue="jobs") == waiting
        assert value("elodrome_queue_oldest_seconds", queue="jobs") > 0
        assert value("elodrome_job_slots") == 1
        assert value("elodrome_runs", state="PENDING") == len(runs)
        for run in runs[1:]:
            await bench.verb("CancelRun", run.id)
        await measured(bench, 1)
        assert value("elodrome_queue_waiting", queue="jobs") == 0
        assert value("elodrome_queue_oldest_seconds", queue="jobs") == 0


async def test_a_retry_that_is_not_due_is_not_in_the_queue(
    service_environment: Environment, tokens: Tokens
) -> None:
    fails = ["/bin/sh", "-c", "exit 1"]
    async with running_executor(service_environment, tokens, trainer_command=fails) as bench:
        run = await bench.create(retry_backoff_s=3600)
        await bench.reaches(run.id, run_pb2.RUN_STATE_INTERRUPTED)
        await measured(bench, 2)
        assert value("elodrome_jobs", state="PENDING") == 1
        assert value("elodrome_queue_waiting", queue="jobs") == 0


async def test_lapsed_leases_are_counted_as_they_are_stored(
    service_environment: Environment, tokens: Tokens
) -> None:
    before = value("elodrome_jobs_ended_total", outcome="LEASE_EXPIRED")
    async with running_executor(service_environment, tokens, lease_expiry_s=0.5) as bench:
        run = await bench.create(max_retries=0)
        await bench.acquire(run)
        await bench.reaches(run.id, run_pb2.RUN_STATE_FAILED)
        lapsed = "SELECT count(*) FROM jobs WHERE outcome = 'LEASE_EXPIRED'"
        assert await counted(bench, lapsed) == 1
        assert value("elodrome_jobs_ended_total", outcome="LEASE_EXPIRED") == before + 1


async def test_a_stop_that_is_not_carried_out_grows_old(
    service_environment: Environment, tokens: Tokens
) -> None:
    settings: dict[str, Any] = {"trainer_command": STUBBORN, "cancel_grace_s": 0}
    async with running_executor(service_environment, tokens, **settings) as bench:
        run = await bench.create()
        await bench.acquire(run)
        await measured(bench, 2)
        assert value("elodrome_divergence_oldest_seconds", loop="reconciler") == 0
        await bench.verb("StopRun", run.id)

        async def is_old() -> bool:
            await measured(bench, 2)
            return value("elodrome_divergence_oldest_seconds", loop="reconciler") > 0.2

        await eventually(is_old)
        await bench.verb("CancelRun", run.id)
        await bench.reaches(run.id, run_pb2.RUN_STATE_CANCELLED)

        async def is_mended() -> bool:
            await measured(bench, 2)
            return value("elodrome_divergence_oldest_seconds", loop="reconciler") == 0

        await eventually(is_mended)
