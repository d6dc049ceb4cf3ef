"""A reporter to the platform: one lease, one stream of metrics, one store of checkpoints."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elodrome.executor.v1.run_pb2 import CheckpointRef

from trainer import checkpoint
from trainer.reporter import Request

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path

    from elodrome.registry.v1.checkpoint_pb2 import Checkpoint

    from trainer.checkpoint import Manifest, Tensors
    from trainer.checkpoint_store import CheckpointStore
    from trainer.lease import Lease
    from trainer.metric_stream import MetricStream

logger = logging.getLogger("trainer.online")


class OnlineReporter:
    """Tells the platform everything; `told_to_end` is set when this process gets a SIGTERM."""

    def __init__(
        self,
        lease: Lease,
        metrics: MetricStream,
        store: CheckpointStore,
        *,
        work_dir: Path,
        max_iterations: int,
        told_to_end: threading.Event,
    ) -> None:
        """Write files to `work_dir`, which exists and belongs to this attempt alone."""
        self._lease = lease
        self._metrics = metrics
        self._store = store
        self._work_dir = work_dir
        self._max_iterations = max_iterations
        self._told_to_end = told_to_end

    def request(self) -> Request:
        """Tell what the platform, or whoever may end this process, asks for."""
        request = self._lease.request()
        if request is Request.GO_ON and self._told_to_end.is_set():
            return Request.STOP
        return request

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        """Report with the next heartbeat."""
        self._lease.progress(
            iteration=iteration, max_iterations=self._max_iterations, step=step, phase=phase
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Deliver in the background."""
        self._metrics.log(step, values)

    def save(self, manifest: Manifest, tensors: Tensors, metrics: Mapping[str, float]) -> None:
        """Write, upload and commit; durable on return."""
        path = self._work_dir / "checkpoint.safetensors"
        sha256 = checkpoint.write(path, manifest, tensors)
        # Whoever resumes here logs nothing of before again.
        self._metrics.flush()
        committed = self._store.save(path, sha256, iteration=manifest.iteration, metrics=metrics)
        self._lease.committed(reference(committed))
        path.unlink()
        logger.info("checkpoint at iteration %d: %s %s", manifest.iteration, sha256, dict(metrics))


def reference(committed: Checkpoint) -> CheckpointRef:
    """Name a checkpoint as the executor does."""
    return CheckpointRef(
        checkpoint_id=committed.id, iteration=committed.iteration, step=committed.steps
    )
