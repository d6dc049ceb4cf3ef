"""A worker that does nothing but append metrics as fast as they are taken."""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
from elodrome.executor.v1.lease_service_pb2 import (
    AcquireLeaseRequest,
    HeartbeatRequest,
    ReportOutcomeRequest,
)
from elodrome.executor.v1.lease_service_pb2_grpc import LeaseServiceStub
from elodrome.executor.v1.metric_pb2 import Series
from elodrome.executor.v1.metric_service_pb2 import AppendRequest
from elodrome.executor.v1.metric_service_pb2_grpc import MetricServiceStub
from elodrome.executor.v1.run_pb2 import JOB_OUTCOME_COMPLETED

if TYPE_CHECKING:
    from collections.abc import Iterator

SERIES = 10
POINTS_PER_BATCH = 10_000
BATCHES_PER_STREAM = 10
CLOCK = "sent_time"
"""Series whose value is the moment its batch was sent, in seconds since 1970."""


def main() -> None:
    """Hold the lease, append for BENCH_SECONDS, write what was acknowledged to BENCH_RESULT."""
    with grpc.insecure_channel(os.environ["ELODROME_EXECUTOR_ADDRESS"]) as channel:
        leases = LeaseServiceStub(channel)
        bootstrap = _bearer(os.environ["ELODROME_JOB_TOKEN"])
        token = leases.AcquireLease(AcquireLeaseRequest(), metadata=bootstrap).lease_token
        result = _append(channel, token, float(os.environ["BENCH_SECONDS"]))
        done = ReportOutcomeRequest(outcome=JOB_OUTCOME_COMPLETED)
        leases.ReportOutcome(done, metadata=_bearer(token))
    Path(os.environ["BENCH_RESULT"]).write_text(json.dumps(result), encoding="utf-8")


def _append(channel: grpc.Channel, token: str, seconds: float) -> dict[str, float]:
    metrics = MetricServiceStub(channel)
    leases = LeaseServiceStub(channel)
    batches = _batches()
    stored = duplicates = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        stream = (next(batches) for _ in range(BATCHES_PER_STREAM))
        answer = metrics.Append(stream, metadata=_bearer(token))
        stored += answer.stored_count
        duplicates += answer.duplicate_count
        token = leases.Heartbeat(HeartbeatRequest(), metadata=_bearer(token)).lease_token
    elapsed = time.perf_counter() - begin
    return {"stored": stored, "duplicates": duplicates, "seconds": elapsed}


def _batches() -> Iterator[AppendRequest]:
    length = POINTS_PER_BATCH // SERIES
    noise = np.random.default_rng(0).standard_normal(length)
    for sequence in count(1):
        first = (sequence - 1) * length
        steps = range(first, first + length)
        values = (noise + sequence).tolist()
        series = [Series(name=f"series/{i}", steps=steps, values=values) for i in range(SERIES)]
        series.append(Series(name=CLOCK, steps=[sequence], values=[time.time()]))
        yield AppendRequest(sequence=sequence, series=series)


def _bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


if __name__ == "__main__":
    sys.exit(main())
