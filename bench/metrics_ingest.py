"""Points per second through `Append`, and how soon a Watch stream shows them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

from elodrome.executor.v1.run_service_pb2 import WatchRunRequest
from elodrome.executor.v1.run_service_pb2_grpc import RunServiceStub

from bench import metrics_peers
from bench.install import running
from bench.metrics_worker import CLOCK
from bench.report import Row, percentile

if TYPE_CHECKING:
    from bench.install import Install

SECONDS = 30
WATCH_LIMIT_S = 120


def measure() -> list[Row]:
    """Measure ours and the peers' on the Postgres of one install, one after the other."""
    worker = [sys.executable, "-m", "bench.metrics_worker"]
    with running(
        ELODROME_TRAINER_COMMAND=json.dumps(worker),
        ELODROME_WORKER_ENVIRONMENT=json.dumps(
            {"BENCH_SECONDS": str(SECONDS), "BENCH_RESULT": "result.json"}
        ),
    ) as install:
        return asyncio.run(_ours(install)) + asyncio.run(metrics_peers.measure(install))


async def _ours(install: Install) -> list[Row]:
    admin = await install.admin()
    run = await admin.json("POST", "/api/v1/runs", {"type": "TRAINING", "name": "ingest"})
    delays = await _watch(install, run["id"], admin.token)
    result = json.loads(next(install.home.glob("**/result.json")).read_text(encoding="utf-8"))
    rate = result["stored"] / result["seconds"]
    detail: dict[str, float | int | str] = {
        "points": result["stored"],
        "duplicates": result["duplicates"],
        "seconds": result["seconds"],
    }
    delay = {"p50 s": percentile(delays, 0.5), "max s": max(delays), "updates": len(delays)}
    return [
        Row(
            "metrics through Append", rate, "points/s", 100_000, more_is_better=True, detail=detail
        ),
        Row("metrics visible in a Watch, p95", percentile(delays, 0.95), "s", 2, detail={**delay}),
    ]


async def _watch(install: Install, run_id: str, token: str) -> list[float]:
    delays: list[float] = []
    async with install.channel("executor") as channel:
        metadata = [("authorization", f"Bearer {token}")]
        request = WatchRunRequest(id=run_id)
        stream = RunServiceStub(channel).WatchRun(request, metadata=metadata, timeout=WATCH_LIMIT_S)
        async for update in stream:
            sent = update.metrics.values.get(CLOCK)
            delays += [time.time() - sent] if sent else []
    return delays
