"""The executor on a cluster: how fast it fills one, and whether a storm of events keeps it busy.

The API server is a process of its own that checks nothing and runs no pod, so what is measured is
the executor, its Postgres, and what HTTP costs on both sides.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil

from bench.report import Row
from deploy.laptop.postgres import start_postgres
from kit import auth, log, migrate, server
from services.executor.drivers.kube_api import KubeApi
from services.executor.drivers.kube_job import Placement
from services.executor.drivers.kubernetes import KubernetesDriver
from services.executor.log_tails import LogTails
from services.executor.models.job import Job
from services.executor.models.run import Run
from services.executor.models.update import RunHead
from services.executor.reconciler import Reconciler
from services.executor.settings import ExecutorSettings
from services.executor.states import JobState, RunType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.ext.asyncio import AsyncSession

PENDING = 10_000
LAUNCHED = 2_000
PASSES = 5
EVENTS_PER_S, STORM_S = 5_000, 30
LAG_PERIOD_S = 0.01
_BATCH = 1000


@dataclass
class ApiProcess:
    """The API server's process, and the file that leads to it."""

    process: subprocess.Popen[str]
    kubeconfig: Path

    def ask(self, order: str) -> str:
        """Send an order and return the line that it is answered with."""
        self.tell(order)
        return self.hear()

    def tell(self, order: str) -> None:
        """Send an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Return the next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="elodrome-bench-") as directory:
        home = Path(directory)
        postgres = start_postgres(home, settings={"max_connections": "100"})
        try:
            url = postgres.url("executor")
            migrate.upgrade(url, "executor")
            auth.generate_keys(home / "keys")
            log.configure("executor", level="WARNING")
            with an_api_server(home) as api:
                return asyncio.run(_measure(home, url, api))
        finally:
            postgres.stop()


@contextmanager
def an_api_server(home: Path) -> Iterator[ApiProcess]:
    command = [sys.executable, "-m", "bench.k8s_server"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        api = ApiProcess(process, home / "kubeconfig")
        api.kubeconfig.write_text(
            "{apiVersion: v1, kind: Config, current-context: here,"
            f" clusters: [{{name: here, cluster: {{server: '{api.hear()}'}}}}],"
            " contexts: [{name: here, context: {cluster: here, user: me}}],"
            " users: [{name: me, user: {}}]}"
        )
        yield api
        process.terminate()


async def _measure(home: Path, url: str, api: ApiProcess) -> list[Row]:
    values: dict[str, Any] = {
        "database_url": url,
        "keys_dir": home / "keys",
        "home": home,
        "grpc_port": 0,
        "metrics_port": 0,
        "driver": "kubernetes",
        "kube_namespace": "workloads",
        "worker_image": "example.org/worker:1",
    }
    full = ExecutorSettings(**values, max_jobs=1)
    roomy = ExecutorSettings(**values, max_jobs=1 + LAUNCHED)
    await _create_runs(full)
    async with a_reconciler(full, api) as waiting:
        await waiting.step()
        pending = [await _seconds(waiting) for _ in range(PASSES)]
    async with a_reconciler(roomy, api) as filling:
        before = created = await _job_count(api)
        launch_s = 0.0
        # A pass gives slots away for some seconds.
        while created - before < LAUNCHED:
            launch_s += await _seconds(filling)
            created = await _job_count(api)
        created -= before
        at_work = [await _seconds(filling) for _ in range(PASSES)]
    storm = await _storm(roomy, api)
    return [
        Row(f"reconcile pass, {PENDING:,} runs pending", median(pending), "s", 1),
        Row(
            f"Jobs created, {PENDING:,} runs pending",
            created / launch_s,
            "Jobs/s",
            200,
            more_is_better=True,
            detail={"Jobs": created, "seconds": launch_s},
        ),
        Row(f"reconcile pass, {LAUNCHED:,} workers starting", median(at_work), "s"),
        *storm,
    ]


@asynccontextmanager
async def a_reconciler(settings: ExecutorSettings, api: ApiProcess) -> AsyncIterator[Reconciler]:
    """Return a reconciler that takes its steps when told to."""
    async with server.opened(settings) as context:
        driver = _driver(settings, api)
        following = asyncio.create_task(driver.run())
        tails = LogTails(settings, context.sessions, driver)
        yield Reconciler(
            settings=settings,
            sessions=context.sessions,
            signer=context.signer,
            driver=driver,
            tails=tails,
        )
        following.cancel()


def _driver(settings: ExecutorSettings, api: ApiProcess) -> KubernetesDriver:
    kube = KubeApi(kubeconfig=api.kubeconfig, queries_per_s=10_000, connections=64)
    placement = Placement(namespace=settings.kube_namespace, image=settings.worker_image)
    return KubernetesDriver(kube, placement, settings.home / "jobs")


async def _create_runs(settings: ExecutorSettings) -> None:
    """Store runs as a creator would have left them, each with its first attempt pending."""
    owners = [str(uuid.uuid4()) for _ in range(50)]
    async with server.opened(settings) as context:
        for first in range(0, PENDING + 1, _BATCH):
            async with context.sessions.begin() as session:
                await _add_runs(session, range(first, min(first + _BATCH, PENDING + 1)), owners)


async def _add_runs(session: AsyncSession, numbers: range, owners: list[str]) -> None:
    runs = [
        Run(
            id=str(uuid.uuid4()),
            name=f"run {number}",
            type=RunType.TRAINING,
            owner_id=owners[number % len(owners)],
            config={"algorithm": "PPO", "game": "doom", "scenario": "basic"},
            seed=number,
            attempt=1,
            max_retries=2,
            retry_backoff_s=60,
            time_limit_s=1500,
        )
        for number in numbers
    ]
    session.add_all(runs)
    await session.flush()
    session.add_all([RunHead(run_id=run.id) for run in runs])
    session.add_all([Job(run_id=run.id, attempt=1, state=JobState.PENDING) for run in runs])


async def _job_count(api: ApiProcess) -> int:
    return json.loads(await asyncio.to_thread(api.ask, "jobs"))["count"]


async def _seconds(reconciler: Reconciler) -> float:
    began = time.perf_counter()
    await reconciler.step()
    return time.perf_counter() - began


async def _storm(settings: ExecutorSettings, api: ApiProcess) -> list[Row]:
    """Have a driver hear of pods as fast as an unruly cluster tells, beside a reconciler."""
    lags: list[float] = []
    async with a_reconciler(settings, api) as reconciler:
        looking = asyncio.create_task(reconciler.run())
        await reconciler.step()
        # As a service does once it has started: what stays is not looked at again.
        gc.collect()
        gc.freeze()
        process = psutil.Process()
        before = process.memory_info().rss
        watching = asyncio.create_task(_watch_the_loop(lags))
        api.tell(f"storm {EVENTS_PER_S} {STORM_S}")
        sent = int(await asyncio.to_thread(api.hear))
        watching.cancel()
        looking.cancel()
        grown = process.memory_info().rss - before
    rate = sent / STORM_S
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [
        Row(
            "event loop, longest lag in a storm",
            max(lags) * 1000,
            "ms",
            100,
            detail={"events/s": rate, "seconds": STORM_S, "median ms": median(lags) * 1000},
        ),
        Row("memory that the storm costs", grown / 1e6, "MB", 100, detail={"peak MB": peak / 1e3}),
    ]


async def _watch_the_loop(lags: list[float]) -> None:
    """Note by how much later than asked the loop wakes a task."""
    while True:
        due = time.perf_counter() + LAG_PERIOD_S
        await asyncio.sleep(LAG_PERIOD_S)
        lags.append(time.perf_counter() - due)
