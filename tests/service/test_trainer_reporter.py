"""The real trainer under a real executor and a real registry."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from elodrome.executor.v1 import (
    lease_service_pb2,
    lease_service_pb2_grpc,
    metric_service_pb2,
    metric_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
)
from elodrome.registry.v1 import checkpoint_service_pb2, checkpoint_service_pb2_grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from safetensors import safe_open

from kit import server
from services.executor.__main__ import build as build_executor
from services.executor.settings import ExecutorSettings
from services.registry.__main__ import build as build_registry
from services.registry.settings import RegistrySettings
from tests.service.registry_service import messages
from tests.waiting import eventually
from trainer import checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from elodrome.registry.v1.checkpoint_pb2 import Checkpoint

    from tests.tokens import Tokens

SHORT = {
    "algorithm": "DQN",
    "scenario": "basic",
    "seed": 7,
    "games": 2,
    "rollout_steps": 4,
    "hidden": 32,
    "max_iterations": 60,
    "learning_starts": 64,
    "start_decay": 0,
    "stop_decay": 400,
    "metrics_interval": 15,
    "checkpoint_interval": 20,
    "eval_episodes": 1,
    "replay_capacity": 300,
}
WINDOW = 8  # Steps of an iteration.
LONG = {**SHORT, "max_iterations": 1_000_000, "checkpoint_interval": 1_000_000}


class Platform:
    """An executor and a registry in this process; the executor can be restarted in place."""

    def __init__(self, environment: Callable[[str], dict[str, Any]], tokens: Tokens) -> None:
        self.registry_settings = RegistrySettings(**environment("registry"))
        self.executor_values = {
            **environment("executor"),
            "heartbeat_s": 0.2,
            "lease_expiry_s": 20.0,
        }
        self.tokens = tokens
        self.user_id = str(uuid.uuid4())
        self.user = tokens.user(self.user_id)
        self._executor = AsyncExitStack()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Platform]:
        async with server.running(self.registry_settings, build_registry) as registry:
            self.checkpoints = checkpoint_service_pb2_grpc.CheckpointServiceStub(registry.channel)
            self.executor_values["addresses"] = {"registry": registry.address}
            async with self._executor:
                await self.start_executor()
                yield self

    async def start_executor(self, *, port: int = 0) -> None:
        settings = ExecutorSettings(**{**self.executor_values, "grpc_port": port})
        running = await self._executor.enter_async_context(server.running(settings, build_executor))
        settings.addresses["executor"] = running.address
        self.addresses = settings.addresses
        self.worker_environment = settings.worker_environment
        self.port = running.port
        self.runs = run_service_pb2_grpc.RunServiceStub(running.channel)
        self.leases = lease_service_pb2_grpc.LeaseServiceStub(running.channel)
        self.metrics = metric_service_pb2_grpc.MetricServiceStub(running.channel)

    async def stop_executor(self) -> None:
        await self._executor.aclose()

    async def create(self, config: dict[str, Any], **fields: Any) -> run_pb2.Run:
        values = {
            "config": ParseDict(config, Struct()),
            "retry_backoff_s": 0.01,
            "max_retries": 3,
            **fields,
        }
        return await self.runs.CreateRun(
            run_service_pb2.CreateRunRequest(**values), metadata=self.user
        )

    async def get(self, run_id: str) -> run_pb2.Run:
        return await self.runs.GetRun(run_service_pb2.GetRunRequest(id=run_id), metadata=self.user)

    async def jobs(self, run_id: str) -> list[run_pb2.Job]:
        request = run_service_pb2.ListJobsRequest(run_id=run_id)
        answer = await self.runs.ListJobs(request, metadata=self.user)
        return sorted(answer.items, key=lambda job: job.attempt)

    async def reaches(self, run_id: str, state: int, *, within_s: float = 180) -> run_pb2.Run:
        async def arrived() -> run_pb2.Run | None:
            run = await self.get(run_id)
            return run if run.state == state else None

        return await eventually(arrived, within_s=within_s)

    async def trains(self, run_id: str, *, beyond: int = 0) -> run_pb2.Run:
        """Wait until the run has updated its network and said so."""

        async def moved() -> run_pb2.Run | None:
            run = await self.get(run_id)
            is_learning = run.progress.phase == "training"
            return run if is_learning and run.progress.current_iteration > beyond else None

        return await eventually(moved, within_s=180)

    async def saved(self, run_id: str) -> list[Checkpoint]:
        answer = await self.checkpoints.ListCheckpoints(
            checkpoint_service_pb2.ListCheckpointsRequest(run_id=run_id), metadata=self.user
        )
        return sorted(answer.items, key=lambda checkpoint: checkpoint.iteration)

    async def certified(self, run_id: str, *, seed: int) -> run_pb2.Certificate:
        """Have a run certified; answers what comes of it."""
        request = run_service_pb2.CertifyRunRequest(id=run_id, seed=seed)
        asked = await self.runs.CertifyRun(request, metadata=self.user)
        proof_id = asked.certificate.certification_run_id
        await self.reaches(proof_id, run_pb2.RUN_STATE_COMPLETED)
        return (await self.get(run_id)).certificate

    async def plant(self, run_id: str, directory: Path, *, iteration: int) -> None:
        """Commit a checkpoint that the run never wrote: its last one under another iteration."""
        last = (await self.saved(run_id))[-1]
        worker = self.tokens.worker(
            run_id=run_id, job_id=last.job_id, epoch=last.epoch + 1, user_id=self.user_id
        )
        path = directory / "planted.safetensors"
        download = checkpoint_service_pb2.DownloadCheckpointRequest(id=last.id)
        pieces = self.checkpoints.DownloadCheckpoint(download, metadata=worker)
        path.write_bytes(b"".join([piece.data async for piece in pieces]))
        manifest = replace(checkpoint.read_manifest(path), iteration=iteration)
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sha256 = checkpoint.write(path, manifest, tensors)
        planted = await self.checkpoints.UploadCheckpoint(
            messages(path.read_bytes(), run_id, sha256), metadata=worker
        )
        commit = checkpoint_service_pb2.CommitCheckpointRequest(id=planted.id, iteration=iteration)
        await self.checkpoints.CommitCheckpoint(commit, metadata=worker)

    async def history(self, run_id: str) -> dict[str, dict[int, float]]:
        answer = await self.metrics.GetMetricHistory(
            metric_service_pb2.GetMetricHistoryRequest(run_id=run_id), metadata=self.user
        )
        return {
            series.name: dict(zip(series.steps, series.values, strict=True))
            for series in answer.series
            if series.name != "steps_per_s"
        }


@pytest.fixture
def platform(service_environment: Callable[[str], dict[str, Any]], tokens: Tokens) -> Platform:
    return Platform(service_environment, tokens)


async def test_a_run_reports_metrics_and_checkpoints_and_survives_a_kill_exactly(
    platform: Platform,
) -> None:
    async with platform.running():
        whole = await platform.create(SHORT)
        done = await platform.reaches(whole.id, run_pb2.RUN_STATE_COMPLETED)
        checkpoints = await platform.saved(whole.id)
        metrics = await platform.history(whole.id)

        platform.worker_environment["ELODROME_FAILPOINT"] = "after-upload-before-commit:kill@2"
        killed = await platform.create(SHORT)
        again = await platform.reaches(killed.id, run_pb2.RUN_STATE_COMPLETED)
        resumed = await platform.saved(killed.id)
        jobs = await platform.jobs(killed.id)
        assert await platform.history(killed.id) == metrics
    assert [item.iteration for item in checkpoints] == [20, 40, 60]
    assert all(item.signature.action_count == 5 for item in checkpoints)
    assert sum(item.is_best for item in checkpoints) == 1
    assert set(metrics["eval_return"]) == {20 * WINDOW, 40 * WINDOW, 60 * WINDOW}
    assert set(metrics["epsilon"]) == {at * WINDOW for at in (15, 20, 30, 40, 45, 60)}
    assert (done.progress.current_iteration, done.progress.step) == (60, 60 * WINDOW)
    assert done.latest_checkpoint.checkpoint_id == checkpoints[-1].id
    assert done.latest_metrics["eval_return"] == metrics["eval_return"][60 * WINDOW]

    # Each attempt commits one checkpoint and dies before it commits the next.
    assert [job.exit_code for job in jobs] == [137, 137, 0]
    assert again.is_resumed
    assert again.steps_lost > 0
    assert [item.artifact.sha256 for item in resumed] == [
        item.artifact.sha256 for item in checkpoints
    ]


async def test_a_paused_run_goes_on_from_where_it_stood(platform: Platform) -> None:
    async with platform.running():
        run = await platform.create(LONG)
        # There is no loss before it has learned.
        await platform.trains(run.id, beyond=2 * LONG["learning_starts"] // WINDOW)
        await platform.runs.PauseRun(
            run_service_pb2.PauseRunRequest(id=run.id), metadata=platform.user
        )
        paused = await platform.reaches(run.id, run_pb2.RUN_STATE_PAUSED)
        (checkpoint,) = await platform.saved(run.id)
        assert max((await platform.history(run.id))["loss"]) == checkpoint.steps
        assert paused.latest_checkpoint.step == checkpoint.steps

        await platform.runs.ResumeRun(
            run_service_pb2.ResumeRunRequest(id=run.id), metadata=platform.user
        )
        await platform.trains(run.id, beyond=checkpoint.iteration)
        await platform.runs.StopRun(
            run_service_pb2.StopRunRequest(id=run.id), metadata=platform.user
        )
        stopped = await platform.reaches(run.id, run_pb2.RUN_STATE_STOPPED)
        first, last = await platform.saved(run.id)
    assert stopped.is_resumed
    assert stopped.steps_lost == 0
    assert first.id == checkpoint.id
    assert last.steps > first.steps
    assert stopped.latest_checkpoint.checkpoint_id == last.id


async def test_a_trainer_survives_a_restart_of_the_executor_and_yields_to_a_newer_lease(
    platform: Platform,
) -> None:
    async with platform.running():
        run = await platform.create(LONG, max_retries=0)
        before = await platform.trains(run.id)
        port = platform.port
        await platform.stop_executor()
        await platform.start_executor(port=port)
        await platform.trains(run.id, beyond=before.progress.current_iteration + 50)
        (job,) = await platform.jobs(run.id)
        assert job.state == run_pb2.JOB_STATE_RUNNING
        # Metrics come after the heartbeat that says how far the run is.
        reached = (before.progress.current_iteration + 50) * WINDOW

        async def delivered() -> list[int] | None:
            steps = sorted((await platform.history(run.id)).get("epsilon", ()))
            return steps if steps and steps[-1] > reached else None

        steps = await eventually(delivered)
        assert steps == list(range(15 * WINDOW, steps[-1] + 1, 15 * WINDOW))

        thief = platform.tokens.worker(
            run_id=run.id, job_id=job.id, epoch=0, user_id=platform.user_id
        )
        await platform.leases.AcquireLease(lease_service_pb2.AcquireLeaseRequest(), metadata=thief)

        async def ended() -> run_pb2.Job | None:
            (job,) = await platform.jobs(run.id)
            return job if job.HasField("exit_code") else None

        assert (await eventually(ended, within_s=60)).exit_code == 79
        assert await platform.saved(run.id) == []


async def test_a_run_is_certified_by_a_replay_and_refuted_where_a_checkpoint_was_planted(
    platform: Platform, tmp_path: Path
) -> None:
    async with platform.running():
        run = await platform.create(SHORT)
        done = await platform.reaches(run.id, run_pb2.RUN_STATE_COMPLETED)
        assert done.cpu_s > 0
        made_of = await platform.runs.GetProvenance(
            run_service_pb2.GetProvenanceRequest(run_id=run.id), metadata=platform.user
        )
        assert made_of.packages["vizdoom"] == importlib.metadata.version("vizdoom")

        certified = await platform.certified(run.id, seed=1)
        assert certified.state == run_pb2.CERTIFICATE_STATE_CERTIFIED
        assert (certified.start_checkpoint.iteration, certified.end_checkpoint.iteration) == (
            40,
            60,
        )

        await platform.plant(run.id, tmp_path, iteration=50)
        refuted = await platform.certified(run.id, seed=1)
        assert refuted.state == run_pb2.CERTIFICATE_STATE_REFUTED
        assert interval_of(refuted) == (40, 50)


def interval_of(certificate: run_pb2.Certificate) -> tuple[int, int]:
    return certificate.start_checkpoint.iteration, certificate.end_checkpoint.iteration


async def test_a_run_that_reaches_its_target_ends_with_the_checkpoint_that_did(
    platform: Platform,
) -> None:
    async with platform.running():
        # Nothing that can happen in an episode of basic scores below this.
        run = await platform.create({**SHORT, "target_return": -1000}, max_retries=0)
        done = await platform.reaches(run.id, run_pb2.RUN_STATE_COMPLETED)
        (checkpoint,) = await platform.saved(run.id)
    assert done.reason == "TARGET_REACHED"
    assert (checkpoint.iteration, checkpoint.is_best) == (20, True)
    assert done.latest_checkpoint.checkpoint_id == checkpoint.id


async def test_a_run_that_does_not_fit_into_memory_says_so(platform: Platform) -> None:
    too_much = {**SHORT, "height": 480, "width": 640, "replay_capacity": 2_000_000}
    async with platform.running():
        run = await platform.create(too_much, max_retries=0)
        failed = await platform.reaches(run.id, run_pb2.RUN_STATE_FAILED)
        (job,) = await platform.jobs(run.id)
    assert (job.outcome, job.exit_code) == (run_pb2.JOB_OUTCOME_OUT_OF_MEMORY, 70)
    assert "Unable to allocate" in failed.last_error


async def test_a_call_that_is_refused_ends_the_run_after_its_retries_and_is_told(
    platform: Platform,
) -> None:
    async with platform.running():
        # A server that knows nothing of checkpoints.
        platform.addresses["registry"] = platform.addresses["executor"]
        run = await platform.create(SHORT, max_retries=1)
        failed = await platform.reaches(run.id, run_pb2.RUN_STATE_FAILED)
        jobs = await platform.jobs(run.id)
    ends = [(job.outcome, job.exit_code) for job in jobs]
    assert ends == [(run_pb2.JOB_OUTCOME_CRASH, 70)] * 2
    assert failed.last_error.startswith("attempt 2: claiming the run: UNIMPLEMENTED")


@pytest.mark.parametrize("program", ["trainer", "referee"])
async def test_a_worker_that_is_refused_a_lease_says_so_in_one_line(
    platform: Platform, tokens: Tokens, tmp_path: Path, program: str
) -> None:
    stranger = tokens.worker(run_id=str(uuid.uuid4()), job_id=str(uuid.uuid4()), epoch=0)
    async with platform.running():
        environment = {
            **os.environ,
            "ELODROME_EXECUTOR_ADDRESS": platform.addresses["executor"],
            "ELODROME_REGISTRY_ADDRESS": platform.addresses["registry"],
            "ELODROME_JOB_TOKEN": stranger[0][1].removeprefix("Bearer "),
            "ELODROME_WORK_DIR": str(tmp_path),
        }
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            program,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await worker.communicate()
    assert worker.returncode == 70
    (line,) = said.decode().splitlines()
    assert "refused: acquiring the lease: NOT_FOUND RUN_NOT_FOUND" in line
