"""Metrics on their way: numbered batches, kept until the platform says they are durable."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from elodrome.executor.v1.metric_pb2 import Series
from elodrome.executor.v1.metric_service_pb2 import AppendRequest
from elodrome.executor.v1.metric_service_pb2_grpc import MetricServiceStub

from trainer import failpoint
from trainer.platform import CALL_TIMEOUT_S, Retry, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc
    from elodrome.executor.v1.metric_service_pb2 import AppendResponse

    from trainer.platform import Credential

SEND_INTERVAL_S = 0.5
MAX_BATCH_POINTS = 10_000
# Hours of training at the usual pace; beyond it the training waits rather than lose points.
MAX_WAITING_POINTS = 500_000

logger = logging.getLogger("trainer.metric_stream")


class MetricStream:
    """Takes points from the training at once and delivers them from a thread of its own."""

    def __init__(self, executor: grpc.Channel, credential: Credential) -> None:
        """Begin with batch 1, as every lease does."""
        self._stub = MetricServiceStub(executor)
        self._credential = credential
        self._retry = Retry()
        self._changed = threading.Condition()
        self._points: list[tuple[str, int, float]] = []
        self._unacknowledged: deque[AppendRequest] = deque()
        self._unacknowledged_points = 0
        self._last_sequence = 0
        self._is_closing = False
        self._is_flushing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._deliver, name="metrics", daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take one point of each series; waits while too many are on their way.

        Raises what ended the delivery, if something did.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._waiting() < MAX_WAITING_POINTS)
            self._raise_failure()
            self._points.extend((name, step, value) for name, value in values.items())

    def flush(self, *, within_s: float = 5.0) -> None:
        """Make the points logged so far durable; raises what prevents that.

        Gives up after `within_s` seconds: while the executor is away, a checkpoint is worth more
        than the latest points, which stay on their way.
        """
        with self._changed:
            self._is_flushing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._failure or not self._waiting(), within_s)
            self._is_flushing = False
            self._raise_failure()

    def close(self) -> None:
        """Return once every point is durable; raises what prevents that."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _waiting(self) -> int:
        return len(self._points) + self._unacknowledged_points

    def _deliver(self) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_closing or self._is_flushing, SEND_INTERVAL_S
                )
                is_last = self._is_closing
                self._cut_batches()
            if not self._unacknowledged:
                continue
            try:
                answer = self._retry("sending metrics", self._append)
            except Exception as error:
                logger.exception("metrics cannot be delivered")
                self._end(error)
                return
            failpoint.hit("after-metrics-before-ack")
            self._forget(answer.acknowledged_sequence)
            if self._unacknowledged:
                self._end(UnreachableError("sending metrics: not all of them were taken"))
                return

    def _cut_batches(self) -> None:
        """Give what was logged its numbers; from here on a batch never changes."""
        while self._points:
            taken = self._points[:MAX_BATCH_POINTS]
            del self._points[:MAX_BATCH_POINTS]
            self._last_sequence += 1
            self._unacknowledged.append(
                AppendRequest(sequence=self._last_sequence, series=_series(taken))
            )
            self._unacknowledged_points += len(taken)

    def _append(self) -> AppendResponse:
        """Send everything that is not known to be durable, in a stream of its own."""
        return self._stub.Append(
            iter(list(self._unacknowledged)),
            timeout=CALL_TIMEOUT_S,
            metadata=self._credential.metadata(recorded=False),
        )

    def _forget(self, acknowledged: int) -> None:
        with self._changed:
            while self._unacknowledged and self._unacknowledged[0].sequence <= acknowledged:
                batch = self._unacknowledged.popleft()
                self._unacknowledged_points -= sum(len(series.steps) for series in batch.series)
            self._changed.notify_all()

    def _end(self, failure: Exception) -> None:
        with self._changed:
            self._failure = failure
            self._changed.notify_all()


def _series(points: list[tuple[str, int, float]]) -> list[Series]:
    by_name: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    for name, step, value in points:
        by_name[name][0].append(step)
        by_name[name][1].append(value)
    return [
        Series(name=name, steps=steps, values=values) for name, (steps, values) in by_name.items()
    ]
