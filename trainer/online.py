"""A reporter to the platform: one lease, one stream of metrics, one store of checkpoints."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elodrome.executor.v1.run_pb2 import CheckpointRef

from trainer import checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elodrome.registry.v1.checkpoint_pb2 import Checkpoint

    from trainer.attempt import Attempt
    from trainer.checkpoint import Manifest, Tensors
    from trainer.checkpoint_store import CheckpointStore
    from trainer.metric_stream import MetricStream
    from trainer.reporter import Request

logger = logging.getLogger("trainer.online")


class OnlineReporter:
    """Tells the platform everything; writes files to the attempt's own directory."""

    def __init__(
        self,
        attempt: Attempt,
        metrics: MetricStream,
        store: CheckpointStore,
        *,
        max_iterations: int,
    ) -> None:
        self._attempt = attempt
        self._metrics = metrics
        self._store = store
        self._max_iterations = max_iterations
        self._durable_iteration: int | None = None

    def resumed(self, last: Checkpoint) -> None:
        """Tell what this attempt goes on from."""
        self._durable_iteration = last.iteration
        self._attempt.lease.resumed(reference(last))

    def request(self) -> Request:
        """Tell what is asked of the attempt."""
        return self._attempt.request()

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        """Report with the next heartbeat."""
        self._attempt.lease.progress(
            iteration=iteration, max_iterations=self._max_iterations, step=step, phase=phase
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Deliver in the background."""
        self._metrics.log(step, values)

    def save(self, manifest: Manifest, tensors: Tensors, metrics: Mapping[str, float]) -> None:
        """Write, upload and commit; durable on return. Once an iteration: the first has metrics."""
        if manifest.iteration == self._durable_iteration:
            return
        path = self._attempt.work_dir / "checkpoint.safetensors"
        sha256 = checkpoint.write(path, manifest, tensors)
        # Whoever resumes here logs nothing of before again.
        self._metrics.flush()
        committed = self._store.save(path, sha256, iteration=manifest.iteration, metrics=metrics)
        self._attempt.lease.committed(reference(committed))
        self._durable_iteration = manifest.iteration
        path.unlink()
        logger.info("checkpoint at iteration %d: %s %s", manifest.iteration, sha256, dict(metrics))


def reference(committed: Checkpoint) -> CheckpointRef:
    """Name a checkpoint as the executor does."""
    return CheckpointRef(
        checkpoint_id=committed.id, iteration=committed.iteration, step=committed.steps
    )
