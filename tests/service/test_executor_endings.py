"""Runs that end before their last iteration, with real worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from elodrome.executor.v1 import run_pb2

from tests.service.executor_bench import on_cluster, running_executor
from tests.service.test_executor_jobs import (
    COMPLETED,
    FAILED,
    STOPPED,
    outcomes,
    steps_beyond,
    worker_pids,
)
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.cluster import Cluster
    from tests.tokens import Tokens

    Environment = Callable[[str], dict[str, Any]]
    Place = dict[str, Any]


async def test_the_cpu_budget_ends_a_run_with_a_checkpoint_and_a_retry_gets_a_fresh_one(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens, plan="work_on,complete") as bench:
        run = await bench.create({}, cpu_limit_s=6)
        stopped = await bench.reaches(run.id, STOPPED)
        assert (stopped.reason, stopped.cpu_limit_s) == ("BUDGET", 6)
        assert stopped.cpu_s >= 6
        assert stopped.checkpoint_count == 1
        assert not stopped.last_error
        assert await outcomes(bench, run.id) == ["BUDGET"]
        await bench.verb("RetryRun", run.id)
        await bench.reaches(run.id, COMPLETED)


async def test_a_run_that_reached_its_target_is_completed_and_says_so(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens, plan="reach_target") as bench:
        run = await bench.reaches((await bench.create({})).id, COMPLETED)
        assert (run.reason, run.last_error) == ("TARGET_REACHED", "")
        (job,) = await bench.jobs(run.id)
        assert job.state == run_pb2.JOB_STATE_SUCCEEDED
        assert job.reason == "eval_return 76 has reached 75 at step 1"
        assert (await bench.watch(run.id))[-1].done.reason == "TARGET_REACHED"


async def test_a_diverged_run_fails_at_once_and_names_the_metric_and_the_step(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens, plan="diverge") as bench:
        run = await bench.reaches((await bench.create({}, max_retries=5)).id, FAILED)
        assert run.reason == "DIVERGED"
        assert run.last_error == "attempt 1: loss is nan at step 1"
        assert await outcomes(bench, run.id) == ["DIVERGED"]


@pytest.mark.parametrize(
    "fault",
    [
        ("refuse", "USER_ERROR", "gamma: must be less than 1"),
        ("greedy", "OUT_OF_MEMORY", "more memory"),
        ("memory_error", "OUT_OF_MEMORY", "more memory"),
        ("suicide", "VANISHED", "killed (SIGKILL)"),
        ("vanish", "VANISHED", "the worker was killed"),
        ("fenced", "FENCED", "another one holds the lease"),
        ("silent", "LEASE_EXPIRED", "silent for 1.5 s"),
    ],
)
async def test_every_fault_has_its_own_reason(
    service_environment: Environment, tokens: Tokens, place: Place, fault: tuple[str, str, str]
) -> None:
    plan, expected, words = fault
    limits = {"lease_expiry_s": 1.5 if plan == "silent" else 30, "worker_memory_bytes": 150 << 20}
    async with running_executor(service_environment, tokens, plan=plan, **limits, **place) as bench:
        run = await bench.reaches((await bench.create({}, max_retries=0)).id, FAILED)
        assert run.reason == expected
        assert words in run.last_error
        assert await outcomes(bench, run.id) == [expected]
        jobs = await bench.jobs(run.id)
        await eventually(lambda: not worker_pids(jobs[0]))


@pytest.mark.parametrize("plan", ["obey,complete", "work_on,complete"])
async def test_an_evicted_run_says_by_whom_and_goes_on(
    service_environment: Environment, tokens: Tokens, cluster: Cluster, plan: str
) -> None:
    """Whether its worker just ends or first saves and reports."""
    async with running_executor(service_environment, tokens, plan=plan, cluster=cluster) as bench:
        run = await bench.create({}, max_retries=0)
        await steps_beyond(bench, run.id, 0)
        [job] = await bench.jobs(run.id)
        cluster.evict(f"elo-{job.driver_ref}", "PreemptionByScheduler", "for run 7 of team b")
        done = await bench.reaches(run.id, COMPLETED, within_s=40)
        assert await outcomes(bench, run.id) == ["EVICTED", "COMPLETED"]
        evicted = (await bench.jobs(run.id))[0]
        said = "PreemptionByScheduler: for run 7 of team b"
        assert evicted.reason == f"the worker lost its place: {said}"
        assert evicted.reason in done.last_error


async def test_a_run_whose_image_is_not_there_fails_with_that_reason(
    service_environment: Environment, tokens: Tokens, cluster: Cluster
) -> None:
    cluster.broken_images.add(on_cluster(cluster)["worker_image"])
    async with running_executor(
        service_environment, tokens, plan="complete", cluster=cluster, start_timeout_s=0.5
    ) as bench:
        run = await bench.reaches((await bench.create({}, max_retries=0)).id, FAILED)
        assert run.reason == "IMAGE_PULL"
        assert "Back-off pulling image" in run.last_error


async def test_a_cluster_that_is_away_ends_no_run(
    service_environment: Environment, tokens: Tokens, cluster: Cluster
) -> None:
    async with running_executor(
        service_environment, tokens, plan="work_on,complete", cluster=cluster, start_timeout_s=30
    ) as bench:
        run = await bench.create({}, max_retries=0)
        seen = await steps_beyond(bench, run.id, 1)
        cluster.api.go_down()
        late = await bench.create({}, max_retries=0)
        await steps_beyond(bench, run.id, seen.progress.step + 20)
        assert (await bench.get(late.id)).state == run_pb2.RUN_STATE_PENDING
        cluster.api.come_back()
        await steps_beyond(bench, late.id, 0)
        for each in (run, late):
            await bench.verb("StopRun", each.id)
            await bench.reaches(each.id, STOPPED, within_s=40)
            assert await outcomes(bench, each.id) == ["REQUESTED"]


async def test_a_run_goes_on_when_its_job_is_deleted_by_hand(
    service_environment: Environment, tokens: Tokens, cluster: Cluster
) -> None:
    async with running_executor(
        service_environment, tokens, plan="obey,complete", cluster=cluster
    ) as bench:
        run = await bench.create({})
        await steps_beyond(bench, run.id, 0)
        [job] = await bench.jobs(run.id)
        cluster.delete("jobs", f"elo-{job.driver_ref}", {})
        await bench.reaches(run.id, COMPLETED, within_s=40)
