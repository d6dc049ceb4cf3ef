"""A running executor as its owners and workers use it."""

from __future__ import annotations

import asyncio
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.executor.v1 import (
    lease_service_pb2,
    lease_service_pb2_grpc,
    log_service_pb2,
    log_service_pb2_grpc,
    metric_pb2,
    metric_service_pb2,
    metric_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    training_service_pb2_grpc,
)
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from kit import errors, server
from services.executor.__main__ import build
from services.executor.drivers.process import ProcessDriver
from services.executor.settings import ExecutorSettings
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.cluster.cluster import Cluster
    from tests.tokens import Metadata, Tokens

WORKER = Path(__file__).with_name("executor_worker.py")
GENERATED = str(Path(__file__).parents[2] / "gen")
NO_WORKER = ["/bin/sh", "-c", "sleep 600"]
"""A command that starts and never takes its lease, for tests that play the worker themselves."""


async def refusal(call: Awaitable[object]) -> errors.RpcError:
    """Return how a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return errors.from_call(caught.value)


class Bench:
    """Calls as one user, and as the worker of a run."""

    def __init__(self, running: server.Running, tokens: Tokens, user_id: str) -> None:
        self.running = running
        self.sessions = running.context.sessions
        self.tokens = tokens
        self.user_id = user_id
        self.user = tokens.user(user_id)
        self.runs = run_service_pb2_grpc.RunServiceStub(running.channel)
        self.training = training_service_pb2_grpc.TrainingServiceStub(running.channel)
        self.logs = log_service_pb2_grpc.LogServiceStub(running.channel)
        self.leases = lease_service_pb2_grpc.LeaseServiceStub(running.channel)
        self.metrics = metric_service_pb2_grpc.MetricServiceStub(running.channel)

    async def create(
        self, config: dict[str, Any] | None = None, *, who: Metadata | None = None, **fields: Any
    ) -> run_pb2.Run:
        values = {"config": ParseDict(config or {}, Struct()), "retry_backoff_s": 0.05, **fields}
        request = run_service_pb2.CreateRunRequest(**values)
        return await self.runs.CreateRun(request, metadata=who or self.user)

    async def get(self, run_id: str) -> run_pb2.Run:
        return await self.runs.GetRun(run_service_pb2.GetRunRequest(id=run_id), metadata=self.user)

    async def jobs(self, run_id: str) -> list[run_pb2.Job]:
        request = run_service_pb2.ListJobsRequest(run_id=run_id)
        answer = await self.runs.ListJobs(request, metadata=self.user)
        return list(answer.items)[::-1]

    async def reaches(self, run_id: str, state: int, *, within_s: float = 20) -> run_pb2.Run:
        """Wait for a state; a settled run that is in another one will not get there."""

        async def arrived() -> run_pb2.Run | None:
            run = await self.get(run_id)
            return run if run.state == state else None

        return await eventually(arrived, within_s=within_s)

    async def verb(self, rpc: str, run_id: str, /, **fields: Any) -> run_pb2.Run:
        request = getattr(run_service_pb2, f"{rpc}Request")(id=run_id, **fields)
        return await getattr(self.runs, rpc)(request, metadata=self.user)

    async def lines(self, run_id: str) -> list[str]:
        request = log_service_pb2.ListLogLinesRequest(run_id=run_id, page_size=200)
        answer = await self.logs.ListLogLines(request, metadata=self.user)
        return [line.text for line in answer.items]

    async def watch(self, run_id: str, cursor: str = "") -> list[Any]:
        """Return every update from a cursor to the end of the run."""
        request = run_service_pb2.WatchRunRequest(id=run_id, cursor=cursor)
        return [message async for message in self.runs.WatchRun(request, metadata=self.user)]

    async def acquire(self, run: run_pb2.Run) -> Leased:
        """Take the lease of a run's first job, as its worker would."""
        job = await eventually(lambda: self._starting(run.id))
        bootstrap = self.tokens.worker(run_id=run.id, job_id=job.id, epoch=0, user_id=self.user_id)
        answer = await self.leases.AcquireLease(
            lease_service_pb2.AcquireLeaseRequest(), metadata=bootstrap
        )
        return Leased(self, answer)

    async def _starting(self, run_id: str) -> run_pb2.Job | None:
        job = (await self.jobs(run_id))[-1]
        is_at_work = job.state in (run_pb2.JOB_STATE_STARTING, run_pb2.JOB_STATE_RUNNING)
        return job if is_at_work else None


class Leased:
    """A worker's calls under one lease."""

    def __init__(self, bench: Bench, answer: lease_service_pb2.AcquireLeaseResponse) -> None:
        self.bench = bench
        self.answer = answer
        self.run_id = answer.run.id
        self.metadata = [("authorization", f"Bearer {answer.lease_token}")]

    async def heartbeat(self, **fields: Any) -> lease_service_pb2.HeartbeatResponse:
        request = lease_service_pb2.HeartbeatRequest(**fields)
        return await self.bench.leases.Heartbeat(request, metadata=self.metadata)

    async def report(self, outcome: int, **fields: Any) -> run_pb2.Run:
        request = lease_service_pb2.ReportOutcomeRequest(outcome=outcome, **fields)
        answer = await self.bench.leases.ReportOutcome(request, metadata=self.metadata)
        return answer.run

    async def append(
        self, *batches: metric_service_pb2.AppendRequest
    ) -> metric_service_pb2.AppendResponse:
        return await self.bench.metrics.Append(iter(batches), metadata=self.metadata)


def batch(sequence: int, **series: dict[int, float]) -> metric_service_pb2.AppendRequest:
    """Return a batch with `name={step: value}` for each series."""
    return metric_service_pb2.AppendRequest(
        sequence=sequence,
        series=[
            metric_pb2.Series(name=name, steps=list(points), values=list(points.values()))
            for name, points in series.items()
        ],
    )


@asynccontextmanager
async def running_executor(
    service_environment: Callable[[str], dict[str, Any]],
    tokens: Tokens,
    *,
    plan: str = "",
    environment: dict[str, Any] | None = None,
    leaves_workers: bool = False,
    cluster: Cluster | None = None,
    **settings: Any,
) -> AsyncIterator[Bench]:
    """Run an executor whose workers follow `plan`; without one, nobody takes the leases."""
    command = [sys.executable, str(WORKER)] if plan else NO_WORKER
    values = {
        **(environment or service_environment("executor")),
        "heartbeat_s": 0.2,
        "worker_environment": {"WORKER_PLAN": plan, "PYTHONPATH": GENERATED},
        "trainer_command": command,
        "referee_command": command,
        **(on_cluster(cluster) if cluster else {}),
        **settings,
    }
    async with with_own_address(ExecutorSettings(**values)) as running:
        yield Bench(running, tokens, str(uuid.uuid4()))
    if not leaves_workers and cluster is None:
        await end_workers(values["home"] / "jobs")


def on_cluster(cluster: Cluster) -> dict[str, Any]:
    """Return the settings with which workers run on a cluster."""
    return {
        "driver": "kubernetes",
        "kube_config": cluster.kubeconfig(),
        "kube_namespace": cluster.namespace,
        "kube_queries_per_s": 1000,
        "worker_image": "example.org/worker:1",
    }


async def end_workers(directory: Path) -> None:
    """End what an executor leaves running by design when it ends itself."""
    driver = ProcessDriver(directory)
    for place in await asyncio.to_thread(lambda: list(directory.glob("*"))):

        async def is_gone(name: str = place.name) -> bool:
            return await driver.reap(name)

        await eventually(is_gone)


@asynccontextmanager
async def with_own_address(settings: ExecutorSettings) -> AsyncIterator[server.Running]:
    """Run an executor that tells its workers the free port it has got."""
    async with server.running(settings, build) as running:
        settings.addresses["executor"] = running.address
        yield running
