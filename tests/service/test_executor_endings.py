"""Runs that end before their last iteration, with real worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elodrome.executor.v1 import run_pb2

from tests.service.executor_bench import running_executor
from tests.service.test_executor_jobs import COMPLETED, FAILED, STOPPED, outcomes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tokens import Tokens

    Environment = Callable[[str], dict[str, Any]]


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
