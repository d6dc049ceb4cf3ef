"""Attempts and leases with real worker processes, here and on a cluster."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.executor.v1 import (
    lease_service_pb2,
    log_service_pb2,
    run_pb2,
)

from services.executor.drivers import processes
from services.executor.drivers.driver import Launch, Phase
from services.executor.drivers.process import ProcessDriver
from tests.service.executor_bench import Bench, batch, refusal, running_executor
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.tokens import Tokens

    Environment = Callable[[str], dict[str, Any]]
    Place = dict[str, Any]

COMPLETED = run_pb2.RUN_STATE_COMPLETED
FAILED = run_pb2.RUN_STATE_FAILED
RUNNING = run_pb2.RUN_STATE_RUNNING
STOPPED = run_pb2.RUN_STATE_STOPPED


async def outcomes(bench: Bench, run_id: str) -> list[str]:
    return [
        run_pb2.JobOutcome.Name(job.outcome).removeprefix("JOB_OUTCOME_")
        for job in await bench.jobs(run_id)
    ]


async def steps_beyond(bench: Bench, run_id: str, step: int) -> run_pb2.Run:
    """Wait until the run has got further; one that has ended never does, and says why."""

    async def arrived() -> run_pb2.Run | None:
        run = await bench.get(run_id)
        if run.progress.step > step:
            return run
        assert not run.HasField("end_time"), f"{run}\n{await bench.jobs(run_id)}"
        return None

    try:
        return await eventually(arrived)
    except AssertionError as error:
        error.add_note(f"{await bench.get(run_id)}\n{await bench.jobs(run_id)}")
        raise


def worker_pids(run_job: run_pb2.Job) -> list[int]:
    return list(processes.marked(f"ELODROME_JOB={run_job.driver_ref}"))


async def test_a_run_completes_with_checkpoint_metrics_and_log(
    service_environment: Environment, tokens: Tokens, place: Place
) -> None:
    async with running_executor(service_environment, tokens, plan="complete", **place) as bench:
        run = await bench.reaches((await bench.create({})).id, COMPLETED)
        assert await outcomes(bench, run.id) == ["COMPLETED"]
        assert (run.attempt, run.checkpoint_count, run.latest_checkpoint.step) == (1, 1, 3)
        assert run.latest_metrics["loss"] == pytest.approx(1 / 3)
        assert run.progress.progress_percent == 100
        assert run.HasField("start_time")
        assert run.HasField("end_time")
        kinds = [message.WhichOneof("update") for message in await bench.watch(run.id)]
        assert kinds.count("metrics") == 3
        assert kinds.count("checkpoint") == 1
        assert kinds[-1] == "done"
        following = bench.logs.WatchLogs(
            log_service_pb2.WatchLogsRequest(run_id=run.id), metadata=bench.user
        )
        log = [message async for message in following]
        assert [message.line.text for message in log[:-1]] == [
            f"attempt 1 step {step}" for step in (1, 2, 3)
        ]
        assert log[-1].done.line_count == 3


async def test_a_crash_is_tried_again_and_counts(
    service_environment: Environment, tokens: Tokens, place: Place
) -> None:
    plan = "crash,unreachable,complete"
    async with running_executor(service_environment, tokens, plan=plan, **place) as bench:
        run = await bench.create({}, max_retries=2)
        once = await bench.create({}, max_retries=0)
        done = await bench.reaches(run.id, COMPLETED)
        assert await outcomes(bench, run.id) == ["CRASH", "PLATFORM", "COMPLETED"]
        assert done.attempt == 3

        async def told() -> bool:
            return any("attempt 3" in line for line in await bench.lines(run.id))

        await eventually(told)
        failed = await bench.reaches(once.id, FAILED)
        assert failed.reason == "CRASH"
        assert failed.last_error == (
            "attempt 1: the worker failed (exit code 1): RuntimeError: the sky fell"
        )
        again = await bench.verb("RetryRun", once.id)
        assert again.state == run_pb2.RUN_STATE_PENDING
        await bench.reaches(once.id, FAILED)
        assert await outcomes(bench, once.id) == ["CRASH", "PLATFORM"]


async def test_a_worker_that_ends_without_a_report_goes_on_from_its_checkpoint(
    service_environment: Environment, tokens: Tokens, place: Place
) -> None:
    plan = "quiet_success,complete"
    async with running_executor(service_environment, tokens, plan=plan, **place) as bench:
        run = await bench.reaches((await bench.create({})).id, COMPLETED)
        assert await outcomes(bench, run.id) == ["PLATFORM", "COMPLETED"]


async def test_stop_saves_a_checkpoint_and_retry_goes_on_from_there(
    service_environment: Environment, tokens: Tokens, place: Place
) -> None:
    async with running_executor(
        service_environment, tokens, plan="work_on,complete", **place
    ) as bench:
        run = await bench.create({})
        await steps_beyond(bench, run.id, 3)
        stopping = await bench.verb("StopRun", run.id)
        assert (stopping.state, stopping.requested_state) == (RUNNING, STOPPED)
        stopped = await bench.reaches(run.id, STOPPED)
        assert stopped.reason == "REQUESTED"
        assert not stopped.last_error
        assert stopped.latest_checkpoint.step == stopped.progress.step
        assert stopped.latest_metrics["loss"] == pytest.approx(1 / stopped.progress.step)
        await bench.verb("RetryRun", run.id)
        await bench.reaches(run.id, COMPLETED)


async def test_pause_frees_the_slot_and_resume_continues_at_the_same_step(
    service_environment: Environment, tokens: Tokens, place: Place
) -> None:
    async with running_executor(
        service_environment, tokens, plan="work_on", max_jobs=1, **place
    ) as bench:
        run = await bench.create({})
        await steps_beyond(bench, run.id, 3)
        await bench.verb("PauseRun", run.id)
        paused = await bench.reaches(run.id, run_pb2.RUN_STATE_PAUSED)
        assert (await bench.get(run.id)).elapsed_s == paused.elapsed_s
        await bench.verb("ResumeRun", run.id)
        resumed = await steps_beyond(bench, run.id, paused.progress.step + 2)
        assert resumed.is_resumed
        assert resumed.steps_lost == 0
        await bench.verb("CancelRun", run.id)
        cancelled = await bench.reaches(run.id, run_pb2.RUN_STATE_CANCELLED)
        log = [message.metrics for message in await bench.watch(run.id)]
        steps = [step for update in log for item in update.series for step in item.steps]
        assert steps == list(range(1, len(steps) + 1))
        assert cancelled.elapsed_s > paused.elapsed_s


async def test_a_worker_that_does_not_end_is_killed_with_everything_it_started(
    service_environment: Environment, tokens: Tokens, place: Place
) -> None:
    async with running_executor(
        service_environment, tokens, plan="stubborn", stop_grace_s=0.5, **place
    ) as bench:
        run = await bench.create({})
        await steps_beyond(bench, run.id, 0)
        job = (await bench.jobs(run.id))[0]
        # The worker, a child in a session of its own, and the shell that is around a process.
        assert len(worker_pids(job)) == (2 if "cluster" in place else 3)
        await bench.verb("StopRun", run.id)
        stopped = await bench.reaches(run.id, STOPPED)
        ended = (await bench.jobs(run.id))[0]
        assert "did not end within 0.5 s" in ended.reason
        assert stopped.attempt == 1
        await eventually(lambda: not worker_pids(job))


async def test_the_time_limit_ends_a_run_with_a_checkpoint(
    service_environment: Environment, tokens: Tokens, place: Place
) -> None:
    async with running_executor(service_environment, tokens, plan="work_on", **place) as bench:
        run = await bench.create({}, time_limit_s=1)
        stopped = await bench.reaches(run.id, STOPPED)
        assert stopped.reason == "TIME_LIMIT"
        assert stopped.checkpoint_count == 1
        assert await outcomes(bench, run.id) == ["TIME_LIMIT"]
        assert stopped.elapsed_s >= 1


async def test_a_killed_worker_is_replaced_by_the_next_attempt(
    service_environment: Environment, tokens: Tokens, place: Place
) -> None:
    async with running_executor(
        service_environment, tokens, plan="work_on,complete", **place
    ) as bench:
        run = await bench.create({}, retry_backoff_s=60)
        await steps_beyond(bench, run.id, 1)
        job = (await bench.jobs(run.id))[0]
        for pid in worker_pids(job):
            os.kill(pid, signal.SIGKILL)
        done = await bench.reaches(run.id, COMPLETED)
        assert await outcomes(bench, run.id) == ["VANISHED", "COMPLETED"]
        assert done.steps_lost > 0
        killed, last = [job.cpu_s for job in await bench.jobs(run.id)]
        assert killed > 0
        assert done.cpu_s == killed + last
        messages = await bench.watch(run.id)
        states = [message.state.state for message in messages if message.HasField("state")]
        assert run_pb2.RUN_STATE_INTERRUPTED in states


async def test_only_the_newest_lease_writes(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens) as bench:
        run = await bench.create({})
        first = await bench.acquire(run)
        assert first.answer.epoch == 1
        await first.append(batch(1, loss={0: 1.0}))
        second = await bench.acquire(run)
        assert second.answer.epoch == 2
        for late in (
            first.heartbeat(step=9),
            first.append(batch(2, loss={9: 9.0})),
            first.report(run_pb2.JOB_OUTCOME_CRASH),
        ):
            assert (await refusal(late)).reason == "STALE_EPOCH"
        await second.append(batch(1, loss={1: 1.0}))
        done = await second.report(run_pb2.JOB_OUTCOME_COMPLETED)
        assert done.state == COMPLETED
        repeated = await second.report(run_pb2.JOB_OUTCOME_COMPLETED)
        assert repeated.state == COMPLETED
        for late in (second.heartbeat(step=9), second.append(batch(2, loss={9: 9.0}))):
            assert (await refusal(late)).reason == "STALE_EPOCH"
        assert (await bench.get(run.id)).latest_metrics == {"loss": 1.0}


async def test_a_bootstrap_token_takes_the_lease_and_nothing_else(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens) as bench:
        run = await bench.create({})
        leased = await bench.acquire(run)
        job_id = leased.answer.job.id
        bootstrap = tokens.worker(run_id=run.id, job_id=job_id, epoch=0)
        beat = lease_service_pb2.HeartbeatRequest()
        assert (await refusal(bench.leases.Heartbeat(beat, metadata=bootstrap))).code in (
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.PERMISSION_DENIED,
        )
        other = lease_service_pb2.AcquireLeaseRequest(job_id=str(uuid.uuid4()))
        error = await refusal(bench.leases.AcquireLease(other, metadata=bootstrap))
        assert error.reason == "WRONG_JOB"


async def test_an_unknown_worker_gets_no_lease(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens) as bench:
        run = await bench.create({})
        stranger = tokens.worker(run_id=run.id, job_id=str(uuid.uuid4()), epoch=0)
        request = lease_service_pb2.AcquireLeaseRequest()
        error = await refusal(bench.leases.AcquireLease(request, metadata=stranger))
        assert error.reason == "JOB_NOT_FOUND"


async def test_a_silent_script_is_interrupted_and_goes_on_when_heard(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens, external_expiry_s=0.5) as bench:
        run = await bench.create({}, type=run_pb2.RUN_TYPE_EXTERNAL)
        silent = await bench.reaches(run.id, run_pb2.RUN_STATE_INTERRUPTED)
        assert silent.reason == "LEASE_EXPIRED"


async def test_logs_are_safe_to_show_and_workers_know_no_secret(
    service_environment: Environment, tokens: Tokens, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELODROME_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("ELODROME_NATS_PASSWORD", "secret")
    async with running_executor(service_environment, tokens, plan="leak", **place) as bench:
        run = await bench.reaches((await bench.create({})).id, COMPLETED)

        async def complete() -> list[str]:
            lines = await bench.lines(run.id)
            return lines if lines and lines[-1].startswith("env:") else []

        lines = await eventually(complete)
        assert lines[0] == "my token is [redacted]"
        assert lines[1] == r"\x1b[31mred\x1b[0m"
        assert len(lines[2]) == 8192
        assert lines[2].endswith("(cut)")
        assert lines[3] == "bad \ufffd\ufffd bytes \\x00 here"
        known = set(lines[4].removeprefix("env: ").split(","))
        assert known <= {
            "ELODROME_EVALUATOR_ADDRESS",
            "ELODROME_EXECUTOR_ADDRESS",
            "ELODROME_JOB",
            "ELODROME_JOB_TOKEN",
            "ELODROME_REGISTRY_ADDRESS",
            "ELODROME_WORK_DIR",
            "FAKE_POD",
            "HOME",
            "LANG",
            "LC_CTYPE",
            "PATH",
            "PWD",
            "OLDPWD",
            "PYTHONPATH",
            "PYTHONUNBUFFERED",
            "TMPDIR",
            "TRACEPARENT",
            "TZ",
            "WORKER_PLAN",
        }


async def test_a_restarted_executor_adopts_its_workers(
    service_environment: Environment, tokens: Tokens, place: Place
) -> None:
    environment = service_environment("executor")
    async with running_executor(
        service_environment,
        tokens,
        plan="work_on",
        environment=environment,
        leaves_workers=True,
        **place,
    ) as bench:
        run = await bench.create({})
        before = await steps_beyond(bench, run.id, 1)
        user_id, port = bench.user_id, bench.running.port
        pids = worker_pids((await bench.jobs(run.id))[0])
    environment["grpc_port"] = port
    async with running_executor(
        service_environment, tokens, plan="work_on", environment=environment, **place
    ) as bench:
        bench.user = tokens.user(user_id)
        await steps_beyond(bench, run.id, before.progress.step + 3)
        jobs = await bench.jobs(run.id)
        assert len(jobs) == 1
        assert worker_pids(jobs[0]) == pids
        await bench.verb("StopRun", run.id)
        await bench.reaches(run.id, STOPPED)

        async def whole_log() -> list[str]:
            lines = await bench.lines(run.id)
            last = (await bench.get(run.id)).progress.step
            return lines if lines[-1:] == [f"attempt 1 step {last}"] else []

        lines = await eventually(whole_log)
        assert lines == [f"attempt 1 step {step}" for step in range(1, len(lines) + 1)]


async def test_launching_an_attempt_twice_starts_one_worker(tmp_path: Path) -> None:
    driver = ProcessDriver(tmp_path / "jobs")
    script = f"echo started >> {tmp_path}/starts; sleep 0.3; exit 7"
    launch = Launch("job-a1", ["/bin/sh", "-c", script], {})
    await asyncio.gather(*[driver.launch(launch) for _ in range(5)])

    async def exited() -> bool:
        return (await driver.observe(["job-a1"]))["job-a1"].phase is Phase.EXITED

    await eventually(exited)
    assert (await driver.observe(["job-a1"]))["job-a1"].exit_code == 7
    assert (tmp_path / "starts").read_text() == "started\n"
    # Another driver on the same directory, as after a restart, knows as much and starts nothing.
    heir = ProcessDriver(tmp_path / "jobs")
    await heir.launch(launch)
    assert (await heir.observe(["job-a1"]))["job-a1"].exit_code == 7
    await eventually(lambda: heir.reap("job-a1"))
    assert (tmp_path / "starts").read_text() == "started\n"


async def test_a_command_that_does_not_exist_is_a_worker_that_failed(tmp_path: Path) -> None:
    driver = ProcessDriver(tmp_path)
    await driver.launch(Launch("job-a1", ["/does/not/exist"], {}))

    async def exit_code() -> int | None:
        return (await driver.observe(["job-a1"]))["job-a1"].exit_code

    assert await eventually(exit_code) == 127
    assert "not found" in (await driver.observe(["job-a1"]))["job-a1"].last_words
